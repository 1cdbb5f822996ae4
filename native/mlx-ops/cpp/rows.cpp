// See rows.h.
#include "rows.h"

#include <memory>

#include "kernels.h"
#include "primitive.h"

namespace mlx_ops {

namespace {

using mlx::core::Shape;
using mlx::core::Stream;

class RmsNorm : public CpuPrimitive {
 public:
  RmsNorm(Stream stream, float eps) : CpuPrimitive(stream), eps_(eps) {}

  const char* name() const override {
    return "rms_norm";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    const int width = inputs[1].shape(0);
    launch([out = allocate(outputs[0]), x = RowsOf(inputs[0]), weight = RowsOf(inputs[1]), width, eps = eps_,
            num_rows = inputs[0].size() / width] {
      std::vector<float> x_copy, weight_copy;
      const float* rows = x.dense(x_copy);
      const Norm norm = {weight.dense(weight_copy), width, eps};
      for (size_t at = 0; at < num_rows * width; at += width) {
        rms_norm_row(out + at, rows + at, norm);
      }
    });
  }

 private:
  float eps_;
};

class AddRmsNorm : public CpuPrimitive {
 public:
  AddRmsNorm(Stream stream, float eps) : CpuPrimitive(stream), eps_(eps) {}

  const char* name() const override {
    return "add_rms_norm";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    const int width = inputs[2].shape(0);
    launch([sums = allocate(outputs[0]), out = allocate(outputs[1]), x = RowsOf(inputs[0]), y = RowsOf(inputs[1]),
            weight = RowsOf(inputs[2]), width, eps = eps_, num_rows = inputs[0].size() / width] {
      std::vector<float> x_copy, y_copy, weight_copy;
      const float* xs = x.dense(x_copy);
      const float* ys = y.dense(y_copy);
      const Norm norm = {weight.dense(weight_copy), width, eps};
      for (size_t at = 0; at < num_rows * width; at += width) {
        add_row(sums + at, xs + at, ys + at, width);
        rms_norm_row(out + at, sums + at, norm);
      }
    });
  }

 private:
  float eps_;
};

class Swiglu : public CpuPrimitive {
 public:
  using CpuPrimitive::CpuPrimitive;

  const char* name() const override {
    return "swiglu";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    const int half = outputs[0].shape(-1);
    launch([out = allocate(outputs[0]), x = RowsOf(inputs[0]), half, num_rows = outputs[0].size() / half] {
      std::vector<float> copy;
      const float* rows = x.dense(copy);
      for (size_t row = 0; row < num_rows; row++) {
        swiglu_row(out + row * half, rows + row * 2 * half, half);
      }
    });
  }
};

void check_norm(const array& x, const array& weight, const char* name) {
  require_floats(x, name);
  require_floats(weight, name);
  require(x.ndim() >= 1 && x.size() > 0, name, "the input must have rows");
  require(
      weight.ndim() == 1 && weight.shape(0) == x.shape(-1), name, "the weight must be as long as a row of the input");
}

} // namespace

array rms_norm(const array& x, const NormOf& norm, Stream stream) {
  check_norm(x, norm.weight, "rms_norm");
  return array(x.shape(), mlx::core::float32, std::make_shared<RmsNorm>(stream, norm.eps), {x, norm.weight});
}

std::pair<array, array> add_rms_norm(const array& x, const array& y, const NormOf& norm, Stream stream) {
  check_norm(x, norm.weight, "add_rms_norm");
  require_floats(y, "add_rms_norm");
  require(x.shape() == y.shape(), "add_rms_norm", "the inputs must have the same shape");
  auto outputs = array::make_arrays(
      {x.shape(), x.shape()}, {mlx::core::float32, mlx::core::float32}, std::make_shared<AddRmsNorm>(stream, norm.eps),
      {x, y, norm.weight});
  return {outputs[0], outputs[1]};
}

array swiglu(const array& gate_up, Stream stream) {
  require_floats(gate_up, "swiglu");
  require(gate_up.ndim() >= 1 && gate_up.size() > 0, "swiglu", "the input must have rows");
  require(gate_up.shape(-1) % 2 == 0, "swiglu", "a row must have an even number of columns");
  Shape shape = gate_up.shape();
  shape.back() /= 2;
  return array(std::move(shape), mlx::core::float32, std::make_shared<Swiglu>(stream), {gate_up});
}

} // namespace mlx_ops
