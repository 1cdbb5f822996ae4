// See kv_store.h.
#include "kv_store.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace mlx_ops {

Block::Block(const KvShape& shape, ByteCount bytes) : shape_(shape), bytes_(std::move(bytes)) {
  // Zeroed, because whole tiles are read: lanes that are not written yet must be finite.
  floats_ = static_cast<float*>(std::calloc(shape_.block_floats(), sizeof(float)));
  if (!floats_) {
    throw std::bad_alloc();
  }
  *bytes_ += shape_.block_floats() * sizeof(float);
}

Block::Block(const Block& other) : Block(other.shape_, other.bytes_) {
  std::memcpy(floats_, other.floats_, shape_.block_floats() * sizeof(float));
}

Block::~Block() {
  *bytes_ -= shape_.block_floats() * sizeof(float);
  std::free(floats_);
}

float* Block::keys(int head) const {
  return floats_ + static_cast<size_t>(head) * kBlockPositions * shape_.head_dim;
}

float* Block::values(int head) const {
  return keys(shape_.num_kv_heads + head);
}

Sequence::Sequence(const KvShape& shape, ByteCount bytes)
    : shape_(shape), bytes_(std::move(bytes)), layers_(shape.num_layers) {}

const Layer& Sequence::grow(int layer, int start, int count) {
  Layer& grown = layers_.at(layer);
  if (start > grown.written) {
    throw std::runtime_error(
        "[kv_store] position " + std::to_string(start) + " follows position " +
        std::to_string(grown.written) + ": an earlier step was not evaluated");
  }
  for (int block = start / kBlockPositions; block * kBlockPositions < start + count; block++) {
    if (block == static_cast<int>(grown.blocks.size())) {
      grown.blocks.push_back(std::make_shared<Block>(shape_, bytes_));
    } else if (grown.blocks[block].use_count() > 1) {
      grown.blocks[block] = std::make_shared<Block>(*grown.blocks[block]);
    }
  }
  // A block is written only after the other sequences that shared it have released it.
  std::atomic_thread_fence(std::memory_order_acquire);
  grown.written = start + count;
  return grown;
}

void Sequence::adopt(Sequence& source, int count) {
  std::lock_guard lock(source.mutex);
  const int num_blocks = (count + kBlockPositions - 1) / kBlockPositions;
  for (size_t i = 0; i < layers_.size(); i++) {
    const Layer& from = source.layers_[i];
    if (from.written < count) {
      throw std::invalid_argument(
          "[kv_store] " + std::to_string(count) + " positions to share, but " + std::to_string(from.written) +
          " are written");
    }
    layers_[i].blocks.assign(from.blocks.begin(), from.blocks.begin() + num_blocks);
    layers_[i].written = count;
  }
  planned = count;
}

void Sequence::export_block(int block, float* out, size_t count) {
  std::lock_guard lock(mutex);
  const size_t floats = shape_.block_floats();
  if (block < 0 || count != floats * layers_.size()) {
    throw std::invalid_argument("[kv_store] a block of another size is read");
  }
  for (const Layer& layer : layers_) {
    if (layer.written / kBlockPositions <= block) {
      throw std::invalid_argument("[kv_store] block " + std::to_string(block) + " is not written to its end");
    }
  }
  for (const Layer& layer : layers_) {
    std::memcpy(out, layer.blocks[block]->all(), floats * sizeof(float));
    out += floats;
  }
}

void Sequence::import_block(const float* floats, size_t count) {
  std::lock_guard lock(mutex);
  const size_t each = shape_.block_floats();
  if (count != each * layers_.size()) {
    throw std::invalid_argument("[kv_store] a block of another size is written");
  }
  const int end = planned + kBlockPositions;
  if (planned % kBlockPositions != 0 || end > shape_.max_positions) {
    throw std::invalid_argument("[kv_store] a block is written behind " + std::to_string(planned) + " positions");
  }
  for (const Layer& layer : layers_) {
    if (layer.written != planned) {
      throw std::invalid_argument("[kv_store] a block is written before a step was evaluated");
    }
  }
  for (Layer& layer : layers_) {
    layer.blocks.resize(planned / kBlockPositions);
    layer.blocks.push_back(std::make_shared<Block>(shape_, bytes_));
    std::memcpy(layer.blocks.back()->all(), floats, each * sizeof(float));
    layer.written = end;
    floats += each;
  }
  planned = end;
}

KvStore::KvStore(const KvShape& shape)
    : shape_(shape), bytes_(std::make_shared<std::atomic<size_t>>(0)) {}

void KvStore::create(uint64_t id) {
  add(id, std::make_shared<Sequence>(shape_, bytes_));
}

void KvStore::fork(uint64_t source, uint64_t id, int count) {
  auto sequence = std::make_shared<Sequence>(shape_, bytes_);
  sequence->adopt(*find(source), count);
  add(id, std::move(sequence));
}

void KvStore::export_block(uint64_t id, int block, float* out, size_t count) const {
  find(id)->export_block(block, out, count);
}

void KvStore::import_block(uint64_t id, const float* floats, size_t count) {
  find(id)->import_block(floats, count);
}

void KvStore::add(uint64_t id, std::shared_ptr<Sequence> sequence) {
  if (!sequences_.emplace(id, std::move(sequence)).second) {
    throw std::invalid_argument("[kv_store] sequence " + std::to_string(id) + " exists already");
  }
}

void KvStore::drop(uint64_t id) {
  if (sequences_.erase(id) == 0) {
    throw std::invalid_argument("[kv_store] there is no sequence " + std::to_string(id));
  }
}

std::shared_ptr<Sequence> KvStore::find(uint64_t id) const {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) {
    throw std::invalid_argument("[kv_store] there is no sequence " + std::to_string(id));
  }
  return found->second;
}

} // namespace mlx_ops
