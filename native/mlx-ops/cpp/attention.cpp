// See attention.h.
#include "attention.h"

#include <algorithm>
#include <mutex>

#include "kernels.h"

namespace mlx_ops {

namespace {

// One layer of one step, row by row, in the order of the segments.
class Pass {
 public:
  Pass(const Step& step, const AttentionLayer& layer, const float* qkv, float* out)
      : step_(step),
        layer_(layer),
        qkv_(qkv),
        out_(out),
        num_heads_(layer.num_heads),
        num_kv_heads_(step.shape.num_kv_heads),
        dim_(step.shape.head_dim),
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
  // A head of a row: query heads come first, then key heads, then value heads.
  const float* head_of(size_t row, int head) const {
    return qkv_ + (row * (num_heads_ + 2 * num_kv_heads_) + head) * dim_;
  }

  // Writes the keys and values of one row to its position.
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

  // The cache of one key head. The number of positions that a query sees is set for each row.
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

  // Computes attention for every row of a segment, with the query heads that share the key head of the view.
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

  const Step& step_;
  const AttentionLayer& layer_;
  const float* qkv_;
  float* out_;
  int num_heads_;
  int num_kv_heads_;
  int dim_;
  int kv_head_ = 0;
  // Scratch memory, reused for all rows.
  std::vector<float> rotated_;
  std::vector<float> scores_;
  std::vector<const float*> keys_;
  std::vector<const float*> values_;
};

} // namespace

void attend(const Step& step, const AttentionLayer& layer, const float* qkv, float* out) {
  Pass(step, layer, qkv, out).run();
}

} // namespace mlx_ops
