// Attention over sequences of different lengths, packed row by row.
//
// Owns its place in MLX's graph and which row meets which keys. Memory is in kv_store.h, arithmetic in kernels.h.
#pragma once

#include <memory>

#include "mlx/array.h"
#include "mlx/stream.h"
#include "step.h"

namespace mlx_ops {

struct AttentionLayer {
  std::shared_ptr<const Step> step;
  int index;
  // Multiplies every score; positive.
  float scale;
};

// qkv [rows of the step, (H + 2 Hkv) * D]: all query heads, then all key heads, then all value heads -> [rows, H * D].
mlx::core::array ragged_attention(const mlx::core::array& qkv, AttentionLayer layer, mlx::core::Stream stream);

} // namespace mlx_ops
