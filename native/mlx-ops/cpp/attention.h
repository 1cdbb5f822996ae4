// Attention over sequences of different lengths, packed row by row.
//
// This file decides which row sees which keys. Memory is in kv_store.h, arithmetic in kernels.h.
#pragma once

#include "step.h"

namespace mlx_ops {

struct AttentionLayer {
  int index;
  // Multiplies every score.
  float scale;
  int num_heads;
};

// qkv [rows of the step][(num_heads + 2 Hkv) * D]: all query heads, then all key heads, then all value heads -> out [rows
// of the step][num_heads * D]. Throws if an earlier step of a sequence has not run.
void attend(const Step& step, const AttentionLayer& layer, const float* qkv, float* out);

} // namespace mlx_ops
