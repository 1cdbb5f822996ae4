// Aligned memory for floats.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mlx_ops {

// Bytes of the widest register and of a cache line. A load from a multiple of it touches one line.
constexpr size_t kAlignment = 64;
// Bytes of a huge page of x86-64, and of most arm64.
constexpr size_t kHugePage = size_t{2} << 20;

struct FreeFloats {
  void operator()(float* floats) const {
    std::free(floats);
  }
};

using Floats = std::unique_ptr<float[], FreeFloats>;

// Not initialized: pages that are never written take no memory.
inline Floats allocate_floats(size_t count, size_t alignment = kAlignment) {
  void* floats = nullptr;
  if (posix_memalign(&floats, alignment, count * sizeof(float)) != 0) {
    throw std::bad_alloc();
  }
  return Floats(static_cast<float*>(floats));
}

// The same for long-lived memory that is read from front to back. It asks Linux for huge pages, on which a processor
// translates 500 times fewer addresses. A rest that does not fill a huge page is on small pages.
inline Floats allocate_lasting_floats(size_t count) {
  const size_t whole = count * sizeof(float) / kHugePage * kHugePage;
  Floats floats = allocate_floats(count, whole == 0 ? kAlignment : kHugePage);
#if defined(__linux__)
  if (whole > 0) {
    madvise(floats.get(), whole, MADV_HUGEPAGE);
  }
#endif
  return floats;
}

} // namespace mlx_ops
