// See linear.h.
#include "linear.h"

#include <algorithm>
#include <memory>

#include "gemm.h"
#include "primitive.h"

namespace mlx_ops {

namespace {

using mlx::core::Stream;

// What the sums start from: zeros, or one row for all, or a row for each.
struct Start {
  const float* values;
  size_t stride;
};

void fill(const Product& product, const Start& start) {
  const size_t width = product.outputs;
  for (int row = 0; row < product.rows; row++) {
    float* out = product.out + row * width;
    if (start.values == nullptr) {
      std::fill_n(out, width, 0.0f);
    } else {
      std::copy_n(start.values + row * start.stride, width, out);
    }
  }
}

class Linear : public CpuPrimitive {
 public:
  Linear(Stream stream, Multiply multiply) : CpuPrimitive(stream), multiply_(multiply) {}

  const char* name() const override {
    return "linear";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    std::optional<RowsOf> onto;
    size_t onto_stride = 0;
    if (inputs.size() > 2) {
      onto.emplace(inputs[2]);
      onto_stride = inputs[2].ndim() == 1 ? 0 : outputs[0].shape(1);
    }
    launch([multiply = multiply_, onto = std::move(onto), onto_stride, out = allocate(outputs[0]),
            x = RowsOf(inputs[0]), panels = RowsOf(inputs[1]), rows = inputs[0].shape(0), num_inputs = inputs[0].shape(1),
            num_outputs = outputs[0].shape(1)] {
      std::vector<float> x_copy, panels_copy, onto_copy;
      const Product product = {out, x.dense(x_copy), panels.dense(panels_copy), rows, num_inputs, num_outputs};
      fill(product, {onto ? onto->dense(onto_copy) : nullptr, onto_stride});
      multiply(product);
    });
  }

 private:
  Multiply multiply_;
};

void check(const array& x, const Packed& weight, const std::optional<array>& onto) {
  constexpr const char* kName = "linear";
  require_floats(x, kName);
  require_floats(weight.panels, kName);
  require(x.ndim() == 2 && x.size() > 0, kName, "the input must have rows");
  require(weight.panels.ndim() == 3 && weight.panels.shape(2) == kPanel, kName, "the weight must be packed");
  require(weight.panels.shape(1) == x.shape(1), kName, "a row of the input must have the weight's number of inputs");
  require(weight.outputs >= 1 && weight.panels.shape(0) == (weight.outputs - 1) / kPanel + 1, kName,
          "the weight must have a panel for every output");
  if (onto) {
    require_floats(*onto, kName);
    const bool is_row = onto->ndim() == 1 && onto->shape(0) == weight.outputs;
    const bool is_matrix = onto->ndim() == 2 && onto->shape(0) == x.shape(0) && onto->shape(1) == weight.outputs;
    require(is_row || is_matrix, kName, "what the result is added to must be as large as the result, or a row of it");
  }
}

} // namespace

array linear(const array& x, const Packed& weight, const std::optional<array>& onto, Stream stream) {
  check(x, weight, onto);
  const Multiply version = multiply(weight.version);
  require(version != nullptr, "linear", "this processor has no such version of the product");
  std::vector<array> inputs = {x, weight.panels};
  if (onto) {
    inputs.push_back(*onto);
  }
  return array({x.shape(0), weight.outputs}, mlx::core::float32, std::make_shared<Linear>(stream, version),
               std::move(inputs));
}

} // namespace mlx_ops
