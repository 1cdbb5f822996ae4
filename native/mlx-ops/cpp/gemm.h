// Products of rows with a weight that is stored in panels.
//
// This file has the arithmetic and its order, on plain memory without MLX. The sums of a row add its inputs in order, one by
// one, whatever the number of rows. So the result of a row is the same to the last bit in any batch.
#pragma once

#include <cstddef>

namespace mlx_ops {

// The number of outputs in a panel.
constexpr int kPanel = 16;

// out += x . weight^T. The last panel is padded; the padding may have any value.
struct Product {
  float* out;          // [rows][outputs]
  const float* x;      // [rows][inputs]
  const float* panels; // [outputs / kPanel, rounded up][inputs][kPanel]
  int rows;
  int inputs;
  int outputs;
};

using Multiply = void (*)(const Product&);

// Version `index` of the product for this processor, fastest first; null beyond the last one.
Multiply multiply(size_t index);

} // namespace mlx_ops
