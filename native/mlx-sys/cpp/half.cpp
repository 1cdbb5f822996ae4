// The four half-precision functions that mlx-c leaves out where the compiler has no half types, as on x86-64.
//
// Owns their definitions only. Values cross as their 16 bits; src/half.rs declares the Rust side.
#include <cstdint>
#include <exception>

#include "mlx/c/error.h"
#include "mlx/c/half.h"
#include "mlx/c/private/mlx.h"

namespace {

template <typename Half>
int item(uint16_t* result, mlx_array source) {
  try {
    const Half value = mlx_array_get_(source).item<Half>();
    static_assert(sizeof(value) == sizeof(*result));
    std::memcpy(result, &value, sizeof(value));
    return 0;
  } catch (const std::exception& error) {
    mlx_error("%s", error.what());
    return 1;
  }
}

template <typename Half>
const uint16_t* data(mlx_array source) {
  try {
    return reinterpret_cast<const uint16_t*>(mlx_array_get_(source).data<Half>());
  } catch (const std::exception& error) {
    mlx_error("%s", error.what());
    return nullptr;
  }
}

} // namespace

#ifndef HAS_FLOAT16
extern "C" int mlx_array_item_float16(uint16_t* result, mlx_array source) {
  return item<mlx::core::float16_t>(result, source);
}
extern "C" const uint16_t* mlx_array_data_float16(mlx_array source) {
  return data<mlx::core::float16_t>(source);
}
#endif

#ifndef HAS_BFLOAT16
extern "C" int mlx_array_item_bfloat16(uint16_t* result, mlx_array source) {
  return item<mlx::core::bfloat16_t>(result, source);
}
extern "C" const uint16_t* mlx_array_data_bfloat16(mlx_array source) {
  return data<mlx::core::bfloat16_t>(source);
}
#endif
