// See packed.h.
#include "packed.h"

#include <stdexcept>
#include <utility>

#include "gemm.h"
#include "mlx/ops.h"

namespace mlx_ops {

std::shared_ptr<const PackedWeight> pack(const mlx::core::array& weight, mlx::core::Stream stream) {
  if (weight.ndim() != 2 || weight.size() == 0 || weight.dtype() != mlx::core::float32) {
    throw std::invalid_argument("[pack] a weight must be a matrix of float32");
  }
  auto whole = mlx::core::contiguous(weight, false, stream);
  whole.eval();
  const float* from = whole.data<float>();
  const int outputs = weight.shape(0), inputs = weight.shape(1);
  const size_t num_panels = (outputs - 1) / kPanel + 1;
  Floats panels = allocate_lasting_floats(num_panels * inputs * kPanel);
  float* to = panels.get();
  for (size_t panel = 0; panel < num_panels; panel++) {
    for (int input = 0; input < inputs; input++) {
      for (size_t output = panel * kPanel; output < (panel + 1) * kPanel; output++) {
        *to++ = output < static_cast<size_t>(outputs) ? from[output * inputs + input] : 0.0f;
      }
    }
  }
  return std::make_shared<PackedWeight>(PackedWeight{inputs, outputs, std::move(panels)});
}

} // namespace mlx_ops
