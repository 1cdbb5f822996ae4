// See chain.h.
#include "chain.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>

#include "attention.h"
#include "floats.h"
#include "kernels.h"
#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "rows_of.h"

namespace mlx_ops {

namespace {

using mlx::core::array;
using mlx::core::Stream;

// Throws an error for the caller.
void require(bool holds, const char* expected) {
  if (!holds) {
    throw std::invalid_argument("[chain] " + std::string(expected));
  }
}

void require_floats(const array& x) {
  require(x.dtype() == mlx::core::float32, "arrays must be float32");
}

// The number of query heads in a row of this width.
int num_heads_of(const Attention& attention, int width) {
  return width / attention.shape.head_dim - 2 * attention.shape.num_kv_heads;
}

// Computes the width of a row after each stage.
struct Fit {
  int width;
  // The width of the kept rows; 0 if no rows are kept.
  int kept = 0;
  // Whether the current rows are the kept ones, in the same memory.
  bool is_kept = false;

  void operator()(const RmsNorm& norm) {
    require(norm.weight.shape() == mlx::core::Shape{width}, "the weight of a norm must be as long as a row");
  }

  void operator()(const Linear& linear) {
    require(linear.weight->inputs == width, "a row must have the weight's number of inputs");
    width = linear.weight->outputs;
    require(!linear.bias || linear.bias->shape() == mlx::core::Shape{width},
            "a bias must have a number for every output");
    require(linear.multiply != nullptr, "this processor has no such version of the product");
    if (linear.onto_kept) {
      require(kept == width && !is_kept, "a result can be added only to rows of its width that were kept before");
      kept = 0;
    }
  }

  void operator()(const Attention& attention) {
    const KvShape& shape = attention.shape;
    require(attention.layer >= 0 && attention.layer < shape.num_layers, "there is no such layer");
    require(attention.scale > 0, "the scale must be positive");
    const int num_heads = num_heads_of(attention, width);
    require(width % shape.head_dim == 0 && num_heads >= 1 && num_heads % shape.num_kv_heads == 0,
            "a row must hold the query heads, a multiple of the key heads, then the key heads, then the value heads");
    width = num_heads * shape.head_dim;
  }

  void operator()(const Swiglu&) {
    require(width % 2 == 0, "a row that is gated must have an even number of columns");
    width /= 2;
  }

  void operator()(const Keep&) {
    require(kept == 0, "rows are kept already");
    kept = width;
  }
};

// The rows of one run on their way through the stages: first in the caller's memory, then in one of three buffers. Kept rows
// are in another buffer, so that there is always a free one for the result of the next stage.
class Passage {
 public:
  Passage(const float* x, int rows, int width, const Step* step, int widest)
      : rows_(x), num_rows_(rows), width_(width), step_(step), room_(static_cast<size_t>(rows) * widest) {}

  void operator()(const RmsNorm& norm) {
    const int place = free_place();
    const Norm values = {norm.weight.data(), width_, norm.eps};
    for (size_t at = 0; at < size(); at += width_) {
      rms_norm_row(in(place) + at, rows_ + at, values);
    }
    move_to(place, width_);
  }

  void operator()(const Linear& linear) {
    const int place = linear.onto_kept ? std::exchange(kept_, kNowhere) : free_place();
    float* out = in(place);
    const PackedWeight& weight = *linear.weight;
    const Product product = {out, rows_, weight.panels.get(), num_rows_, width_, weight.outputs};
    move_to(place, weight.outputs);
    if (!linear.onto_kept) {
      std::fill_n(out, size(), 0.0f);
    }
    if (linear.bias) {
      for (size_t at = 0; at < size(); at += width_) {
        add_row(out + at, out + at, linear.bias->data(), width_);
      }
    }
    linear.multiply(product);
  }

  void operator()(const Attention& attention) {
    const int place = free_place();
    const int num_heads = num_heads_of(attention, width_);
    attend(*step_, {attention.layer, attention.scale, num_heads}, rows_, in(place));
    move_to(place, num_heads * attention.shape.head_dim);
  }

  void operator()(const Swiglu&) {
    const int place = free_place();
    const int half = width_ / 2;
    for (int row = 0; row < num_rows_; row++) {
      swiglu_row(in(place) + static_cast<size_t>(row) * half, rows_ + static_cast<size_t>(row) * width_, half);
    }
    move_to(place, half);
  }

  void operator()(const Keep&) {
    if (place_ == kNowhere) {
      // The caller's memory is read-only.
      const int place = free_place();
      std::copy_n(rows_, size(), in(place));
      move_to(place, width_);
    }
    kept_ = place_;
  }

  void copy_to(float* out) const {
    std::copy_n(rows_, size(), out);
  }

 private:
  static constexpr int kNowhere = -1;

  size_t size() const {
    return static_cast<size_t>(num_rows_) * width_;
  }

  int free_place() const {
    int place = 0;
    while (place == place_ || place == kept_) {
      place++;
    }
    return place;
  }

  // Memory for the widest rows.
  float* in(int place) {
    Floats& floats = places_[place];
    if (!floats) {
      floats = allocate_floats(room_);
    }
    return floats.get();
  }

  void move_to(int place, int width) {
    place_ = place;
    rows_ = in(place);
    width_ = width;
  }

  const float* rows_;
  int num_rows_;
  int width_;
  const Step* step_;
  size_t room_;
  std::array<Floats, 3> places_;
  int place_ = kNowhere;
  int kept_ = kNowhere;
};

// The primitive of a chain in MLX's graph.
class Run : public mlx::core::Primitive {
 public:
  Run(Stream stream, std::shared_ptr<const Chain> chain, std::shared_ptr<const Step> step)
      : Primitive(stream), chain_(std::move(chain)), step_(std::move(step)) {}

  const char* name() const override {
    return "chain";
  }

  // The task holds the chain, the step and thereby the sequences, as they may be dropped before it runs. An exception
  // becomes the error of the evaluation.
  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    outputs[0].set_data(mlx::core::allocator::malloc(outputs[0].nbytes()));
    mlx::core::cpu::get_command_encoder(stream()).dispatch(
        [chain = chain_, step = step_, x = RowsOf(inputs[0]), rows = inputs[0].shape(0),
         out = outputs[0].data<float>()] {
          std::vector<float> copy;
          chain->run(x.dense(copy), rows, step.get(), out);
        });
  }

  void eval_gpu(const std::vector<array>&, std::vector<array>&) override {
    throw std::runtime_error("[chain] there is no GPU implementation");
  }

 private:
  std::shared_ptr<const Chain> chain_;
  std::shared_ptr<const Step> step_;
};

} // namespace

Constant::Constant(const array& values, Stream stream) : values_(mlx::core::contiguous(values, false, stream)) {
  require_floats(values);
  values_.eval();
}

Chain::Chain(int width, std::vector<Stage> stages) : width_(width), widest_(width), stages_(std::move(stages)) {
  require(width >= 1, "a row must have numbers");
  require(!stages_.empty(), "there must be a stage");
  Fit fit = {width};
  for (const Stage& stage : stages_) {
    std::visit(fit, stage);
    fit.is_kept = std::holds_alternative<Keep>(stage);
    widest_ = std::max(widest_, fit.width);
  }
  result_width_ = fit.width;
}

void Chain::check(int rows, const Step* step) const {
  for (const Stage& stage : stages_) {
    if (const auto* attention = std::get_if<Attention>(&stage)) {
      require(step != nullptr && step->num_rows == rows, "there must be a row for each row of the step");
      require(step->shape == attention->shape, "the step must be of a store of the sizes that the chain is for");
    }
  }
}

void Chain::run(const float* x, int rows, const Step* step, float* out) const {
  Passage passage(x, rows, width_, step, widest_);
  for (const Stage& stage : stages_) {
    std::visit(passage, stage);
  }
  passage.copy_to(out);
}

array run(std::shared_ptr<const Chain> chain, const array& x, std::shared_ptr<const Step> step, Stream stream) {
  require_floats(x);
  require(x.ndim() == 2 && x.shape(0) >= 1 && x.shape(1) == chain->width(),
          "the input must have rows of the width that the chain is for");
  chain->check(x.shape(0), step.get());
  mlx::core::Shape shape = {x.shape(0), chain->result_width()};
  auto node = std::make_shared<Run>(stream, std::move(chain), std::move(step));
  return array(std::move(shape), mlx::core::float32, std::move(node), {x});
}

} // namespace mlx_ops
