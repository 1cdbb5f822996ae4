// See step.h.
#include "step.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace mlx_ops {

namespace {

[[noreturn]] void reject(const SegmentName& name, const std::string& reason) {
  throw std::invalid_argument(
      "[step] sequence " + std::to_string(name.sequence) + ", positions " + std::to_string(name.start) + " to " +
      std::to_string(static_cast<int64_t>(name.start) + name.count) + ": " + reason);
}

void check(const SegmentName& name, int planned, const KvShape& shape) {
  if (name.count < 1) {
    reject(name, "a segment has at least one row");
  }
  if (name.start < 0 || name.start > planned) {
    reject(name, "the sequence has " + std::to_string(planned) + " positions so far");
  }
  if (name.count > shape.max_positions - name.start) {
    reject(name, "the limit is " + std::to_string(shape.max_positions) + " positions");
  }
}

void append_rope(std::vector<float>& rope, int position, const std::vector<float>& inverse_frequencies) {
  for (const float frequency : inverse_frequencies) {
    rope.push_back(std::cos(static_cast<float>(position) * frequency));
  }
  for (const float frequency : inverse_frequencies) {
    rope.push_back(std::sin(static_cast<float>(position) * frequency));
  }
}

} // namespace

std::shared_ptr<const Step> make_step(
    KvStore& store,
    const std::vector<SegmentName>& names,
    const std::vector<float>& inverse_frequencies) {
  auto step = std::make_shared<Step>();
  step->shape = store.shape();
  if (static_cast<int>(inverse_frequencies.size()) * 2 != step->shape.head_dim) {
    throw std::invalid_argument("[step] there must be head_dim / 2 inverse frequencies");
  }
  // All or nothing: the lengths change only after every segment was checked. A sequence may appear twice.
  std::unordered_map<Sequence*, int> planned;
  for (const SegmentName& name : names) {
    auto sequence = store.find(name.sequence);
    int& length = planned.try_emplace(sequence.get(), sequence->planned).first->second;
    check(name, length, step->shape);
    length = name.start + name.count;
    step->num_rows += name.count;
    for (int position = name.start; position < length; position++) {
      append_rope(step->rope, position, inverse_frequencies);
    }
    step->segments.push_back({std::move(sequence), name.start, name.count});
  }
  for (const auto& [sequence, length] : planned) {
    sequence->planned = length;
  }
  return step;
}

} // namespace mlx_ops
