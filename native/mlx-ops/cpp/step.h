// The rows of one step: the sequence and position of each, and the rotation of each position.
//
// The description is checked once and used by every layer. attention.h runs it.
#pragma once

#include <memory>
#include <vector>

#include "kv_store.h"

namespace mlx_ops {

// Consecutive rows with consecutive positions of one sequence.
struct Segment {
  std::shared_ptr<Sequence> sequence;
  int start;
  int count;
};

// A segment as the caller describes it, with the same layout as in src/step.rs.
struct SegmentName {
  uint64_t sequence;
  int32_t start;
  int32_t count;
};

struct Step {
  KvShape shape;
  std::vector<Segment> segments;
  // For each row head_dim / 2 cosines, then head_dim / 2 sines.
  std::vector<float> rope;
  int num_rows = 0;

  const float* rope_of(int row) const {
    return rope.data() + static_cast<size_t>(row) * shape.head_dim;
  }
};

// Throws if a sequence does not exist, or if a position is skipped or exceeds the limit.
std::shared_ptr<const Step> make_step(
    KvStore& store,
    const std::vector<SegmentName>& names,
    const std::vector<float>& inverse_frequencies);

} // namespace mlx_ops
