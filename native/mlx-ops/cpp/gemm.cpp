// See gemm.h. A tile of outputs stays in registers while the inputs are read, as in BLIS (Van Zee and van de Geijn, 2015).
// A BLAS copies the weight into panels for every product, which costs as much as multiplying some tens of rows. Here the
// weight is stored in panels. Compiled for three levels of x86-64; the processor is detected once.
#include "gemm.h"

#include <iterator>

#include "lanes.h"

namespace mlx_ops {

namespace {

// Rows and inputs of a block. The block's part of the rows (256 KiB) stays in the level 2 cache while it is multiplied by all
// panels.
constexpr int kBlockRows = 128;
constexpr int kBlockInputs = 512;
// The number of inputs after which the next tile uses the same panels. It is small enough that all tiles but the first find
// the panels in the level 1 cache, while the processor fetches the next ones.
constexpr int kTurn = 64;

// One register of a processor.
template <int kWidth>
struct Floats {
  typedef float Register __attribute__((vector_size(4 * kWidth)));
  typedef float Loose __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));
};

// A part of a product: `depth` inputs of some rows, with adjacent panels.
struct Part {
  float* out;
  size_t out_stride;
  const float* x;
  size_t x_stride;
  const float* panels;
  size_t panel_stride;
  // The next part of the same panels, or of the panels after them.
  const float* next;
  int rows;
  int depth;
};

MLX_OPS_INLINE int smaller(int a, int b) {
  return a < b ? a : b;
}

// With `kAhead` another panel is prefetched meanwhile. Past the last panel the prefetch has no effect.
template <int kWidth, int kRows, int kPanels, bool kAhead>
MLX_OPS_INLINE void multiply_tile(const Part& part) {
  using Register = typename Floats<kWidth>::Register;
  using Loose = typename Floats<kWidth>::Loose;
  constexpr int kPerPanel = kPanel / kWidth;
  constexpr int kPerRow = kPanels * kPerPanel;
  Register sums[kRows][kPerRow];
  for (int row = 0; row < kRows; row++) {
    for (int i = 0; i < kPerRow; i++) {
      sums[row][i] = *reinterpret_cast<const Loose*>(part.out + row * part.out_stride + i * kWidth);
    }
  }
  const float* panels = part.panels;
  for (int input = 0; input < part.depth; input++, panels += kPanel) {
    if constexpr (kAhead) {
      __builtin_prefetch(part.next + input * kPanel);
    }
    Register weights[kPerRow];
    for (int i = 0; i < kPerRow; i++) {
      const float* panel = panels + i / kPerPanel * part.panel_stride;
      weights[i] = *reinterpret_cast<const Loose*>(panel + i % kPerPanel * kWidth);
    }
    for (int row = 0; row < kRows; row++) {
      for (int i = 0; i < kPerRow; i++) {
        sums[row][i] += part.x[row * part.x_stride + input] * weights[i];
      }
    }
  }
  for (int row = 0; row < kRows; row++) {
    for (int i = 0; i < kPerRow; i++) {
      *reinterpret_cast<Loose*>(part.out + row * part.out_stride + i * kWidth) = sums[row][i];
    }
  }
}

// A tile of `rows` rows, at most `kMost`.
template <int kWidth, int kMost, int kPanels, bool kAhead>
MLX_OPS_INLINE void multiply_tile_of(int rows, const Part& part) {
  if constexpr (kMost > 0) {
    if (rows == kMost) {
      return multiply_tile<kWidth, kMost, kPanels, kAhead>(part);
    }
    multiply_tile_of<kWidth, kMost - 1, kPanels, kAhead>(rows, part);
  }
}

// One round: as few tiles as possible, of about equal numbers of rows. The last tiles prefetch the panels of the next round,
// one panel each: a processor waits for few cache lines at a time, so one tile with all of them would stall.
template <int kWidth, int kRows, int kPanels>
MLX_OPS_INLINE void multiply_tiles(Part part) {
  const float* next = part.next;
  for (int left = (part.rows - 1) / kRows + 1; left > 0; left--) {
    const int rows = (part.rows - 1) / left + 1;
    if (left <= kPanels) {
      part.next = next + (left - 1) * part.panel_stride;
      multiply_tile_of<kWidth, kRows, kPanels, true>(rows, part);
    } else {
      multiply_tile_of<kWidth, kRows, kPanels, false>(rows, part);
    }
    part.x += rows * part.x_stride;
    part.out += rows * part.out_stride;
    part.rows -= rows;
  }
}

// Any number of rows with `kPanels` panels.
template <int kWidth, int kRows, int kPanels>
MLX_OPS_INLINE void multiply_rows(Part part) {
  if (part.rows <= kRows) {
    return multiply_tile_of<kWidth, kRows, kPanels, false>(part.rows, part);
  }
  const float* next_panels = part.panels + kPanels * part.panel_stride;
  for (int left = part.depth; left > 0; left -= kTurn) {
    part.depth = smaller(left, kTurn);
    part.next = left > kTurn ? part.panels + kTurn * kPanel : next_panels;
    multiply_tiles<kWidth, kRows, kPanels>(part);
    part.x += kTurn;
    part.panels += kTurn * kPanel;
  }
}

// A panel of which only the first `num_outputs` are used.
template <int kWidth, int kRows>
MLX_OPS_INLINE void multiply_edge(const Part& part, int num_outputs) {
  float sums[kBlockRows * kPanel] = {};
  for (int row = 0; row < part.rows; row++) {
    for (int i = 0; i < num_outputs; i++) {
      sums[row * kPanel + i] = part.out[row * part.out_stride + i];
    }
  }
  Part edge = part;
  edge.out = sums;
  edge.out_stride = kPanel;
  multiply_rows<kWidth, kRows, 1>(edge);
  for (int row = 0; row < part.rows; row++) {
    for (int i = 0; i < num_outputs; i++) {
      part.out[row * part.out_stride + i] = sums[row * kPanel + i];
    }
  }
}

MLX_OPS_INLINE void advance(Part& part, int num_panels) {
  part.panels += num_panels * part.panel_stride;
  part.out += num_panels * kPanel;
}

// All panels.
template <int kWidth, int kRows, int kPanels>
MLX_OPS_INLINE void multiply_panels(Part part, int num_outputs) {
  for (; num_outputs >= kPanels * kPanel; num_outputs -= kPanels * kPanel) {
    multiply_rows<kWidth, kRows, kPanels>(part);
    advance(part, kPanels);
  }
  for (; num_outputs >= kPanel; num_outputs -= kPanel) {
    multiply_rows<kWidth, kRows, 1>(part);
    advance(part, 1);
  }
  if (num_outputs > 0) {
    multiply_edge<kWidth, kRows>(part, num_outputs);
  }
}

// A product in tiles of up to `kRows` rows and `kPanels` panels.
template <int kWidth, int kRows, int kPanels>
MLX_OPS_INLINE void multiply_all(const Product& product) {
  const size_t inputs = product.inputs, outputs = product.outputs;
  for (int row = 0; row < product.rows; row += kBlockRows) {
    for (int input = 0; input < product.inputs; input += kBlockInputs) {
      const Part part = {
          .out = product.out + row * outputs,
          .out_stride = outputs,
          .x = product.x + row * inputs + input,
          .x_stride = inputs,
          .panels = product.panels + static_cast<size_t>(input) * kPanel,
          .panel_stride = inputs * kPanel,
          .next = nullptr,
          .rows = smaller(product.rows - row, kBlockRows),
          .depth = smaller(product.inputs - input, kBlockInputs),
      };
      multiply_panels<kWidth, kRows, kPanels>(part, product.outputs);
    }
  }
}

void multiply_anywhere(const Product& product) {
  multiply_all<4, 2, 1>(product);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
__attribute__((target("arch=x86-64-v3"))) void multiply_v3(const Product& product) {
  multiply_all<8, 3, 2>(product);
}

__attribute__((target("arch=x86-64-v4"))) void multiply_v4(const Product& product) {
  multiply_all<16, 8, 3>(product);
}

size_t missing_versions() {
  return __builtin_cpu_supports("x86-64-v4") ? 0 : __builtin_cpu_supports("x86-64-v3") ? 1 : 2;
}

constexpr Multiply kVersions[] = {multiply_v4, multiply_v3, multiply_anywhere};
#else
size_t missing_versions() {
  return 0;
}

constexpr Multiply kVersions[] = {multiply_anywhere};
#endif

} // namespace

Multiply multiply(size_t index) {
  static const size_t first = missing_versions();
  return index < std::size(kVersions) - first ? kVersions[first + index] : nullptr;
}

} // namespace mlx_ops
