// Primitives that treat each row by itself: norms and the gated activation.
//
// Owns their place in MLX's graph; the arithmetic is in kernels.h.
#pragma once

#include <utility>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

struct NormOf {
  mlx::core::array weight;
  float eps;
};

// x [..., D], weight [D] -> [..., D].
mlx::core::array rms_norm(const mlx::core::array& x, const NormOf& norm, mlx::core::Stream stream);

// x, y [..., D], weight [D] -> x + y and its rms_norm.
std::pair<mlx::core::array, mlx::core::array> add_rms_norm(
    const mlx::core::array& x,
    const mlx::core::array& y,
    const NormOf& norm,
    mlx::core::Stream stream);

// gate_up [..., 2 I] -> [..., I].
mlx::core::array swiglu(const mlx::core::array& gate_up, mlx::core::Stream stream);

} // namespace mlx_ops
