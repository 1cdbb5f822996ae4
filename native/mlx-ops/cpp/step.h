// The rows of one step: which sequence and which positions each belongs to, and how far each position turns a head.
//
// Owns that description, checked once and used by every layer. Does not run anything: attention.h does.
#pragma once

#include <memory>
#include <vector>

#include "kv_store.h"

namespace mlx_ops {

// Consecutive rows that are consecutive positions of one sequence.
struct Segment {
  std::shared_ptr<Sequence> sequence;
  int start;
  int count;
};

// A segment as the caller names it. Crosses the C border: src/step.rs has its twin.
struct SegmentName {
  uint64_t sequence;
  int32_t start;
  int32_t count;
};

struct Step {
  KvShape shape;
  std::vector<Segment> segments;
  // For each row, head_dim / 2 cosines, then as many sines.
  std::vector<float> rope;
  int num_rows = 0;

  const float* rope_of(int row) const {
    return rope.data() + static_cast<size_t>(row) * shape.head_dim;
  }
};

// Throws if a sequence is not there, a position would be skipped, or one would lie past the limit.
std::shared_ptr<const Step> make_step(
    KvStore& store,
    const std::vector<SegmentName>& names,
    const std::vector<float>& inverse_frequencies);

} // namespace mlx_ops
