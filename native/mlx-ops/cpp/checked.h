// Sampled tokens, checked for the host.
//
// This file checks that their logits are numbers. It does not sample.
#pragma once

#include <cstdint>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

// Replaces the token of a row with invalid logits.
constexpr uint32_t kNoToken = UINT32_MAX;

// tokens [rows] of logits [rows, width], with kNoToken if a logit of the row is NaN or positive infinity, or if the logit of
// the token is negative infinity, which means that all are.
mlx::core::array checked(const mlx::core::array& logits, const mlx::core::array& tokens, mlx::core::Stream stream);

} // namespace mlx_ops
