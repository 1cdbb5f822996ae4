// Memory for numbers that registers are loaded from.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace mlx_ops {

// Bytes of the widest register and of a cache line: a load that begins at a multiple of it touches one line.
constexpr size_t kAlignment = 64;

struct FreeFloats {
  void operator()(float* floats) const {
    std::free(floats);
  }
};

using Floats = std::unique_ptr<float[], FreeFloats>;

// Not filled: what is never written to takes no memory.
inline Floats allocate_floats(size_t count) {
  const size_t bytes = (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  Floats floats(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
  if (!floats) {
    throw std::bad_alloc();
  }
  return floats;
}

} // namespace mlx_ops
