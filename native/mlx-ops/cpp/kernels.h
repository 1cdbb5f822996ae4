// The arithmetic of the primitives, on plain memory.
//
// This file has the loops and the order of every sum, on plain memory without MLX. Callers check limits. The result of a row
// depends on that row only, so it is the same to the last bit in any batch.
#pragma once

namespace mlx_ops {

// The number of keys that are scored together. A tile has 32 numbers of one dimension, then 32 of the next.
constexpr int kTile = 32;

struct Norm {
  const float* weight;
  int width;
  float eps;
};

// out[i] = x[i] / rms(x) * weight[i], for one row.
void rms_norm_row(float* out, const float* x, const Norm& norm);

// out[i] = x[i] + y[i], for one row of `width`.
void add_row(float* out, const float* x, const float* y, int width);

// out[i] = silu(gate_up[i]) * gate_up[half + i], for one row.
void swiglu_row(float* out, const float* gate_up, int half);

// Rotates one head by its position: `table` has dim / 2 cosines, then dim / 2 sines.
void rope_head(float* out, const float* x, const float* table, int dim);

// The keys and values that one query sees: the first `count` positions of one head, in blocks of `block_positions`.
// `keys[b]` points to tiles of [dim][kTile], `values[b]` to rows of [dim]. Scores are multiplied by `scale`, which is
// positive.
struct View {
  const float* const* keys;
  const float* const* values;
  int block_positions;
  int dim;
  int count;
  float scale;
};

// out = softmax(query . keys) . values. `scores` has room for `count` floats, rounded up to kTile.
void attend_head(float* out, const float* query, const View& view, float* scores);

} // namespace mlx_ops
