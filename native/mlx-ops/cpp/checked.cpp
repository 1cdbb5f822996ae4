// See checked.h.
#include "checked.h"

#include <bit>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"
#include "rows_of.h"

namespace mlx_ops {

namespace {

using mlx::core::array;

// Whether no number is NaN or positive infinity. It compares bits, so that the compiler can vectorize it, which it cannot for
// a sum of floats.
bool are_numbers(const float* row, int width) {
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr uint32_t kMinusInfinity = 0xff800000;
  uint32_t is_bad = 0;
  for (int i = 0; i < width; i++) {
    const auto bits = std::bit_cast<uint32_t>(row[i]);
    is_bad |= static_cast<uint32_t>(static_cast<int32_t>(bits) >= kInfinity) | static_cast<uint32_t>(bits > kMinusInfinity);
  }
  return is_bad == 0;
}

uint32_t check(const float* logits, int width, uint32_t token) {
  const bool is_token = token < static_cast<uint32_t>(width);
  return is_token && !std::isinf(logits[token]) && are_numbers(logits, width) ? token : kNoToken;
}

// The primitive of the check in MLX's graph.
class Checked : public mlx::core::Primitive {
 public:
  explicit Checked(mlx::core::Stream stream) : Primitive(stream) {}

  const char* name() const override {
    return "checked";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    outputs[0].set_data(mlx::core::allocator::malloc(outputs[0].nbytes()));
    mlx::core::cpu::get_command_encoder(stream()).dispatch(
        [logits = RowsOf(inputs[0]), tokens = inputs[1].data<uint32_t>(), stride = inputs[1].strides(0),
         rows = inputs[0].shape(0), width = inputs[0].shape(1), out = outputs[0].data<uint32_t>()] {
          std::vector<float> copy;
          const float* row = logits.dense(copy);
          for (int i = 0; i < rows; i++, row += width) {
            out[i] = check(row, width, tokens[i * stride]);
          }
        });
  }

  void eval_gpu(const std::vector<array>&, std::vector<array>&) override {
    throw std::runtime_error("[checked] there is no GPU implementation");
  }
};

} // namespace

array checked(const array& logits, const array& tokens, mlx::core::Stream stream) {
  const bool fits = logits.ndim() == 2 && logits.dtype() == mlx::core::float32 && tokens.ndim() == 1 &&
      tokens.dtype() == mlx::core::uint32 && tokens.shape(0) == logits.shape(0);
  if (!fits) {
    throw std::invalid_argument("[checked] there must be a token, uint32, for each row of logits, float32");
  }
  return array(tokens.shape(), mlx::core::uint32, std::make_shared<Checked>(stream), {logits, tokens});
}

} // namespace mlx_ops
