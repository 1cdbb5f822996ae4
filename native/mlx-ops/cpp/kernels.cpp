// See kernels.h. Each public function is compiled twice for x86-64 by gcc, and the processor picks at load time.
#include "kernels.h"

#include "lanes.h"

// A microarchitecture level. The name of a processor would match only that processor.
#if defined(__x86_64__) && defined(__ELF__) && !defined(__clang__) && __GNUC__ >= 12
#define MLX_OPS_KERNEL __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define MLX_OPS_KERNEL
#endif

namespace mlx_ops {

namespace {

constexpr IntLanes kIndex = {0, 1, 2, 3, 4, 5, 6, 7};

// Sums over `width` go lane by lane, then over the rest, so that the order depends on the width only.
MLX_OPS_INLINE float sum_of_squares(const float* x, int width) {
  Lanes total = {};
  int i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    total += load(x + i) * load(x + i);
  }
  float rest = 0.0f;
  for (; i < width; i++) {
    rest += x[i] * x[i];
  }
  return sum(total) + rest;
}

// Computes the scores of one tile of keys into `scores`, lane by lane.
MLX_OPS_INLINE void score_tile(float* scores, const float* query, const float* keys, int dim) {
  Lanes s0 = {}, s1 = {}, s2 = {}, s3 = {};
  for (int d = 0; d < dim; d++, keys += kTile) {
    s0 += query[d] * load(keys);
    s1 += query[d] * load(keys + 8);
    s2 += query[d] * load(keys + 16);
    s3 += query[d] * load(keys + 24);
  }
  store(scores, s0);
  store(scores + 8, s1);
  store(scores + 16, s2);
  store(scores + 24, s3);
}

MLX_OPS_INLINE void score_all(float* scores, const float* query, const View& view) {
  for (int first = 0; first < view.count; first += kTile) {
    const float* block = view.keys[first / view.block_positions];
    const float* tile = block + (first % view.block_positions) * view.dim;
    score_tile(scores + first, query, tile, view.dim);
  }
}

// True for those of the eight positions from `first` on that are below `count`.
MLX_OPS_INLINE IntLanes before(int first, int count) {
  return (kIndex + first) < (IntLanes{} + count);
}

MLX_OPS_INLINE float largest(const float* scores, int count) {
  Lanes top = all(scores[0]);
  for (int i = 0; i < count; i += kLanes) {
    top = larger(top, before(i, count) ? load(scores + i) : top);
  }
  float largest = top[0];
  for (int lane = 1; lane < kLanes; lane++) {
    largest = largest < top[lane] ? top[lane] : largest;
  }
  return largest;
}

// Turns scores into weights and returns their sum. Lanes past the last position get the weight zero.
MLX_OPS_INLINE float weigh(float* scores, const View& view) {
  const float top = largest(scores, view.count);
  Lanes total = {};
  for (int i = 0; i < view.count; i += kLanes) {
    const Lanes weight = exponential((load(scores + i) - top) * view.scale);
    const Lanes kept = before(i, view.count) ? weight : Lanes{};
    store(scores + i, kept);
    total += kept;
  }
  return sum(total);
}

// out[from .. from + 8 * N] = sum over positions, in order, of weight times value.
template <int N>
MLX_OPS_INLINE void mix_panel(float* out, const float* weights, const View& view, int from) {
  Lanes mixed[N] = {};
  for (int first = 0; first < view.count; first += view.block_positions) {
    const float* value = view.values[first / view.block_positions] + from;
    const int left = view.count - first;
    const int end = first + (left < view.block_positions ? left : view.block_positions);
    for (int position = first; position < end; position++, value += view.dim) {
      for (int n = 0; n < N; n++) {
        mixed[n] += weights[position] * load(value + n * kLanes);
      }
    }
  }
  for (int n = 0; n < N; n++) {
    store(out + from + n * kLanes, mixed[n]);
  }
}

MLX_OPS_INLINE void mix(float* out, const float* weights, const View& view) {
  int from = 0;
  for (; from + 8 * kLanes <= view.dim; from += 8 * kLanes) {
    mix_panel<8>(out, weights, view, from);
  }
  for (; from + 4 * kLanes <= view.dim; from += 4 * kLanes) {
    mix_panel<4>(out, weights, view, from);
  }
  for (; from < view.dim; from += kLanes) {
    mix_panel<1>(out, weights, view, from);
  }
}

MLX_OPS_INLINE Lanes swiglu_lanes(Lanes gate, Lanes up) {
  return gate / (1.0f + exponential(-gate)) * up;
}

} // namespace

MLX_OPS_KERNEL
void rms_norm_row(float* out, const float* x, const Norm& norm) {
  const float scale = 1.0f / __builtin_sqrtf(sum_of_squares(x, norm.width) / norm.width + norm.eps);
  for (int i = 0; i < norm.width; i++) {
    out[i] = x[i] * scale * norm.weight[i];
  }
}

MLX_OPS_KERNEL
void add_row(float* out, const float* x, const float* y, int width) {
  for (int i = 0; i < width; i++) {
    out[i] = x[i] + y[i];
  }
}

MLX_OPS_KERNEL
void swiglu_row(float* out, const float* gate_up, int half) {
  const float* up = gate_up + half;
  int i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    store(out + i, swiglu_lanes(load(gate_up + i), load(up + i)));
  }
  for (; i < half; i++) {
    out[i] = swiglu_lanes(all(gate_up[i]), all(up[i]))[0];
  }
}

MLX_OPS_KERNEL
void rope_head(float* out, const float* x, const float* table, int dim) {
  const int half = dim / 2;
  for (int i = 0; i < half; i++) {
    out[i] = x[i] * table[i] - x[half + i] * table[half + i];
    out[half + i] = x[i] * table[half + i] + x[half + i] * table[i];
  }
}

MLX_OPS_KERNEL
void attend_head(float* out, const float* query, const View& view, float* scores) {
  score_all(scores, query, view);
  const float total = weigh(scores, view);
  mix(out, scores, view);
  for (int d = 0; d < view.dim; d++) {
    out[d] /= total;
  }
}

} // namespace mlx_ops
