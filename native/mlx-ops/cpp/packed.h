// The weight of a linear layer, in the order in which a product reads it.
//
// This file has the memory. gemm.h defines the order and computes the product.
#pragma once

#include <memory>

#include "floats.h"
#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

struct PackedWeight {
  int inputs;
  int outputs;
  Floats panels;
};

// A copy of a weight [outputs, inputs]. Throws if it is not a matrix of floats.
std::shared_ptr<const PackedWeight> pack(const mlx::core::array& weight, mlx::core::Stream stream);

} // namespace mlx_ops
