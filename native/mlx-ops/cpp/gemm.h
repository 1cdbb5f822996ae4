// Products of rows with a weight that lies in panels.
//
// Owns the arithmetic and its order. Knows neither MLX nor who owns the memory. A row's sums run over its inputs in their
// order, one by one, whatever the number of rows: its result is the same to the bit in any batch.
#pragma once

#include <cstddef>

namespace mlx_ops {

// Outputs that lie side by side in a panel.
constexpr int kPanel = 16;

// out += x . weight^T. The last panel is filled up: what belongs to no output may be anything.
struct Product {
  float* out;          // [rows][outputs]
  const float* x;      // [rows][inputs]
  const float* panels; // [outputs / kPanel, rounded up][inputs][kPanel]
  int rows;
  int inputs;
  int outputs;
};

using Multiply = void (*)(const Product&);

// Version `index` of the product for this processor, the fastest first; null if it has no more.
Multiply multiply(size_t index);

} // namespace mlx_ops
