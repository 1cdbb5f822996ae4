// Tokens that were drawn, as the host reads them.
//
// Owns the check that their logits are numbers. How a token is drawn is not known here.
#pragma once

#include <cstdint>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

// Stands for the token of a row whose logits are not sound.
constexpr uint32_t kNoToken = UINT32_MAX;

// tokens [rows] of logits [rows, width], with kNoToken where a logit is NaN or positive infinity, or where that of the
// token is negative infinity: then all are.
mlx::core::array checked(const mlx::core::array& logits, const mlx::core::array& tokens, mlx::core::Stream stream);

} // namespace mlx_ops
