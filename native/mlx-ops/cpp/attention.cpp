// See attention.h.
#include "attention.h"

#include <algorithm>
#include <mutex>

#include "kernels.h"
#include "primitive.h"

namespace mlx_ops {

namespace {

using mlx::core::Stream;

// One layer of one step, row by row, in the order the segments were named.
class Pass {
 public:
  Pass(const AttentionLayer& layer, const float* qkv, float* out, int num_heads)
      : layer_(layer),
        step_(*layer.step),
        qkv_(qkv),
        out_(out),
        num_heads_(num_heads),
        num_kv_heads_(step_.shape.num_kv_heads),
        dim_(step_.shape.head_dim),
        rotated_(dim_) {}

  void run() {
    int row = 0;
    for (const Segment& segment : step_.segments) {
      std::lock_guard lock(segment.sequence->mutex);
      const Layer& cached = segment.sequence->grow(layer_.index, segment.start, segment.count);
      scores_.resize(std::max(scores_.size(), cached.blocks.size() * kBlockPositions));
      for (int i = 0; i < segment.count; i++) {
        write(cached, segment.start + i, row + i);
      }
      for (int head = 0; head < num_kv_heads_; head++) {
        attend(view_of(cached, head), segment, row);
      }
      row += segment.count;
    }
  }

 private:
  // A head of a row: query heads first, then key heads, then value heads.
  const float* head_of(size_t row, int head) const {
    return qkv_ + (row * (num_heads_ + 2 * num_kv_heads_) + head) * dim_;
  }

  // Puts one row's keys and values where its position says.
  void write(const Layer& cached, int position, int row) {
    const Block& block = *cached.blocks[position / kBlockPositions];
    const size_t place = position % kBlockPositions;
    for (int head = 0; head < num_kv_heads_; head++) {
      rope_head(rotated_.data(), head_of(row, num_heads_ + head), step_.rope_of(row), dim_);
      float* lane = block.keys(head) + place / kTile * kTile * dim_ + place % kTile;
      for (int d = 0; d < dim_; d++) {
        lane[d * kTile] = rotated_[d];
      }
      std::copy_n(head_of(row, num_heads_ + num_kv_heads_ + head), dim_, block.values(head) + place * dim_);
    }
  }

  // What one key head has cached; how much of it a query sees is set for each row.
  View view_of(const Layer& cached, int kv_head) {
    keys_.clear();
    values_.clear();
    for (const auto& block : cached.blocks) {
      keys_.push_back(block->keys(kv_head));
      values_.push_back(block->values(kv_head));
    }
    kv_head_ = kv_head;
    return {keys_.data(), values_.data(), kBlockPositions, dim_, 0, layer_.scale};
  }

  // Lets every row of a segment attend with the query heads that share the view's key head.
  void attend(View view, const Segment& segment, size_t first_row) {
    const int group = num_heads_ / num_kv_heads_;
    for (size_t row = first_row; row < first_row + segment.count; row++) {
      view.count = segment.start + static_cast<int>(row - first_row) + 1;
      for (int head = kv_head_ * group; head < (kv_head_ + 1) * group; head++) {
        rope_head(rotated_.data(), head_of(row, head), step_.rope_of(row), dim_);
        attend_head(out_ + (row * num_heads_ + head) * dim_, rotated_.data(), view, scores_.data());
      }
    }
  }

  const AttentionLayer& layer_;
  const Step& step_;
  const float* qkv_;
  float* out_;
  int num_heads_;
  int num_kv_heads_;
  int dim_;
  int kv_head_ = 0;
  // Scratch, kept from row to row.
  std::vector<float> rotated_;
  std::vector<float> scores_;
  std::vector<const float*> keys_;
  std::vector<const float*> values_;
};

class RaggedAttention : public CpuPrimitive {
 public:
  RaggedAttention(Stream stream, AttentionLayer layer) : CpuPrimitive(stream), layer_(std::move(layer)) {}

  const char* name() const override {
    return "ragged_attention";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    const int num_heads = outputs[0].shape(1) / layer_.step->shape.head_dim;
    // The task holds the step, and through it the sequences: they may be dropped before it runs.
    launch([layer = layer_, num_heads, out = allocate(outputs[0]), qkv = RowsOf(inputs[0])] {
      std::vector<float> copy;
      Pass(layer, qkv.dense(copy), out, num_heads).run();
    });
  }

 private:
  AttentionLayer layer_;
};

} // namespace

array ragged_attention(const array& qkv, AttentionLayer layer, Stream stream) {
  constexpr const char* kName = "ragged_attention";
  const KvShape& shape = layer.step->shape;
  require_floats(qkv, kName);
  require(qkv.ndim() == 2 && qkv.shape(0) == layer.step->num_rows, kName,
          "the input must have one row for each row of the step");
  require(layer.index >= 0 && layer.index < shape.num_layers, kName, "there is no such layer");
  require(layer.scale > 0, kName, "the scale must be positive");
  const int num_heads = qkv.shape(1) / shape.head_dim - 2 * shape.num_kv_heads;
  require(qkv.shape(1) % shape.head_dim == 0 && num_heads >= 1 && num_heads % shape.num_kv_heads == 0, kName,
          "a row must hold the query heads, a multiple of the key heads, then the key heads, then the value heads");
  return array({qkv.shape(0), num_heads * shape.head_dim}, mlx::core::float32,
               std::make_shared<RaggedAttention>(stream, std::move(layer)), {qkv});
}

} // namespace mlx_ops
