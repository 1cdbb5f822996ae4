// What the primitives here have in common: they run on the CPU, take floats, and say so otherwise.
//
// Owns checks of arrays and the launch of a task on MLX's stream. Does not compute.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"
#include "rows_of.h"

namespace mlx_ops {

using mlx::core::array;

// Throws what a caller of `name` may act on.
inline void require(bool holds, const char* name, const char* expected) {
  if (!holds) {
    throw std::invalid_argument("[" + std::string(name) + "] " + expected);
  }
}

inline void require_floats(const array& x, const char* name) {
  require(x.dtype() == mlx::core::float32, name, "arrays must be float32");
}

class CpuPrimitive : public mlx::core::Primitive {
 public:
  using Primitive::Primitive;

  void eval_gpu(const std::vector<array>&, std::vector<array>&) override {
    throw std::runtime_error("[" + std::string(name()) + "] has no GPU implementation");
  }

 protected:
  // Allocates an output; its memory may be written to by a task launched here.
  static float* allocate(array& out) {
    out.set_data(mlx::core::allocator::malloc(out.nbytes()));
    return out.data<float>();
  }

  // Runs `task` once the inputs are computed. What it throws becomes the error of the evaluation.
  template <typename Task>
  void launch(Task task) {
    mlx::core::cpu::get_command_encoder(stream()).dispatch(std::move(task));
  }
};

} // namespace mlx_ops
