// Kernels that run one after another as one operation of MLX's graph.
//
// Owns which kernels run in which order, the check that each fits the one before it, and where results lie in between.
// The arithmetic is in kernels.h, gemm.h and attention.h.
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

// An array that is computed and whose rows lie whole in memory; it stays as long as this does.
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

// Each row divided by its root mean square, times the weight.
struct RmsNorm {
  Constant weight; // [width]
  float eps;
};

// Each row times a weight [outputs, inputs], plus the bias. With `onto_kept` the result is added to
// the rows that were kept, which are gone then.
struct Linear {
  std::shared_ptr<const PackedWeight> weight;
  std::optional<Constant> bias; // [outputs]
  Multiply multiply;
  bool onto_kept;
};

// Queries and keys rotated by position, keys and values appended to their sequence, and attention over it. A row has all
// query heads, then all key heads, then all value heads; the result has a row of query heads.
struct Attention {
  int layer;
  // Multiplies every score; positive.
  float scale;
  KvShape shape;
};

// silu(left half of a row) * right half.
struct Swiglu {};

// Remembers the rows as they are for a linear layer that is added to them.
struct Keep {};

using Stage = std::variant<RmsNorm, Linear, Attention, Swiglu, Keep>;

class Chain {
 public:
  // For rows of `width` numbers. Throws if there is no stage, or if one does not fit the one before it.
  Chain(int width, std::vector<Stage> stages);

  int width() const {
    return width_;
  }

  int result_width() const {
    return result_width_;
  }

  // Throws if `rows` rows of `step`, which may be null, cannot run through the stages.
  void check(int rows, const Step* step) const;

  // x [rows, width] -> out [rows, result_width]. The two may not overlap.
  void run(const float* x, int rows, const Step* step, float* out) const;

 private:
  int width_;
  int result_width_;
  // The longest row at any place.
  int widest_;
  std::vector<Stage> stages_;
};

// x [rows, width] through a chain. A chain with attention needs the step that the rows are of.
mlx::core::array run(
    std::shared_ptr<const Chain> chain,
    const mlx::core::array& x,
    std::shared_ptr<const Step> step,
    mlx::core::Stream stream);

} // namespace mlx_ops
