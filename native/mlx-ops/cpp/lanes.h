// Eight floats at a time, and the exponential of them.
//
// The arithmetic uses the compiler's vector types and no intrinsics, so that it compiles for every target. Every function is
// inlined into a kernel, which determines the processors it is compiled for. This file includes only fixed-width integers: an
// inline function of the C++ library that is compiled for a newer processor could replace its copy elsewhere in the program.
#pragma once

#include <cstdint>

namespace mlx_ops {

constexpr int kLanes = 8;

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t IntLanes __attribute__((vector_size(32)));
typedef float LooseLanes __attribute__((vector_size(32), aligned(4), may_alias));

#define MLX_OPS_INLINE static inline __attribute__((always_inline))

MLX_OPS_INLINE Lanes load(const float* from) {
  return *reinterpret_cast<const LooseLanes*>(from);
}

MLX_OPS_INLINE void store(float* to, Lanes value) {
  *reinterpret_cast<LooseLanes*>(to) = value;
}

MLX_OPS_INLINE Lanes all(float value) {
  return Lanes{} + value;
}

// Sums pairwise, in the same order on every processor.
MLX_OPS_INLINE float sum(Lanes x) {
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

MLX_OPS_INLINE Lanes larger(Lanes a, Lanes b) {
  return a < b ? b : a;
}

// e^x to within two units in the last place; beyond the range of float the nearest finite value, NaN for NaN.
// x = n ln 2 + r with whole n, then e^r by its Taylor series, |r| <= ln 2 / 2, and 2^n by its bits.
MLX_OPS_INLINE Lanes exponential(Lanes x) {
  constexpr float kShift = 12582912.0f; // 1.5 * 2^23: adding it rounds to a whole number
  x = x < all(-87.0f) ? all(-87.0f) : x;
  x = x > all(88.0f) ? all(88.0f) : x;
  Lanes shifted = x * 1.44269504f + kShift;
  Lanes n = shifted - kShift;
  Lanes r = x - n * 0.693145752f;
  r = r - n * 1.42860677e-6f; // the rest of ln 2
  Lanes series = all(1.0f / 5040.0f);
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  IntLanes exponent = __builtin_convertvector(n, IntLanes) + 127;
  return series * reinterpret_cast<Lanes>(exponent << 23);
}

} // namespace mlx_ops
