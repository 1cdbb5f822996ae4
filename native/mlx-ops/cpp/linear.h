// A linear layer whose weight lies in panels.
//
// Owns its place in MLX's graph; the arithmetic is in gemm.h.
#pragma once

#include <optional>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

// A weight [outputs, inputs] as [outputs / kPanel, rounded up, inputs, kPanel].
struct Packed {
  mlx::core::array panels;
  int outputs;
  // Which version of the product: see `multiply`.
  size_t version;
};

// x [N, inputs] -> [N, outputs]; added to `onto`, [N, outputs] or [outputs], if there is one.
mlx::core::array linear(
    const mlx::core::array& x,
    const Packed& weight,
    const std::optional<mlx::core::array>& onto,
    mlx::core::Stream stream);

} // namespace mlx_ops
