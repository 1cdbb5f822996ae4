// Kernels that run one after another as one operation of MLX's graph.
//
// This file has the order of the kernels, the check that each fits the one before it, and the memory of intermediate
// results. The arithmetic is in kernels.h, gemm.h and attention.h.
#pragma once

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "gemm.h"
#include "mlx/array.h"
#include "mlx/stream.h"
#include "packed.h"
#include "step.h"

namespace mlx_ops {

// An evaluated array with contiguous rows, which lives as long as this object.
class Constant {
 public:
  Constant(const mlx::core::array& values, mlx::core::Stream stream);

  const float* data() const {
    return values_.data<float>();
  }

  const mlx::core::Shape& shape() const {
    return values_.shape();
  }

 private:
  mlx::core::array values_;
};

// Divides each row by its root mean square, and multiplies by the weight.
struct RmsNorm {
  Constant weight; // [width]
  float eps;
};

// Multiplies each row by a weight [outputs, inputs], and adds the bias. With `onto_kept` the result is added to the kept
// rows, which are used up then.
struct Linear {
  std::shared_ptr<const PackedWeight> weight;
  std::optional<Constant> bias; // [outputs]
  Multiply multiply;
  bool onto_kept;
};

// Rotates queries and keys by position, appends keys and values to their sequence, and computes attention over it. A row has
// all query heads, then all key heads, then all value heads. A row of the result has the query heads.
struct Attention {
  int layer;
  // Multiplies every score; positive.
  float scale;
  KvShape shape;
};

// silu(left half of a row) * right half.
struct Swiglu {};

// Keeps a copy of the rows for a later linear layer with `onto_kept`.
struct Keep {};

using Stage = std::variant<RmsNorm, Linear, Attention, Swiglu, Keep>;

class Chain {
 public:
  // For rows of `width` numbers. Throws if there is no stage, or if a stage does not fit the one before it.
  Chain(int width, std::vector<Stage> stages);

  int width() const {
    return width_;
  }

  int result_width() const {
    return result_width_;
  }

  // Throws if `rows` rows of `step`, which may be null, cannot run through the stages.
  void check(int rows, const Step* step) const;

  // x [rows, width] -> out [rows, result_width]. They must not overlap.
  void run(const float* x, int rows, const Step* step, float* out) const;

 private:
  int width_;
  int result_width_;
  // The widest row after any stage.
  int widest_;
  std::vector<Stage> stages_;
};

// Runs x [rows, width] through a chain. A chain with attention needs the step of the rows.
mlx::core::array run(
    std::shared_ptr<const Chain> chain,
    const mlx::core::array& x,
    std::shared_ptr<const Step> step,
    mlx::core::Stream stream);

} // namespace mlx_ops
