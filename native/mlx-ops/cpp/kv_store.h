// Keys and values of running sequences, kept from step to step.
//
// Owns their memory and the check that nothing is read before it is written or written past the end. Does not own which
// sequences exist or how long they may wait: that is the caller's plan. Arithmetic is in kernels.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "kernels.h"

namespace mlx_ops {

// Positions by which a sequence's memory grows. A multiple of kTile.
constexpr int kBlockPositions = 256;
static_assert(kBlockPositions % kTile == 0);

struct KvShape {
  int num_layers;
  int num_kv_heads;
  int head_dim;
  int max_positions;

  size_t block_floats() const {
    return 2 * static_cast<size_t>(num_kv_heads) * kBlockPositions * head_dim;
  }

  bool operator==(const KvShape&) const = default;
};

using ByteCount = std::shared_ptr<std::atomic<size_t>>;

// Keys and values of kBlockPositions positions in one layer, all heads. Shared by sequences with the same beginning;
// written to only while it has one owner.
class Block {
 public:
  Block(const KvShape& shape, ByteCount bytes);
  Block(const Block& other);
  ~Block();
  Block& operator=(const Block&) = delete;

  // The tiles of [head_dim][kTile] that hold a head's keys.
  float* keys(int head) const;
  // The rows of [head_dim] that hold a head's values.
  float* values(int head) const;

 private:
  KvShape shape_;
  ByteCount bytes_;
  float* floats_;
};

// What one sequence has cached in one layer.
struct Layer {
  std::vector<std::shared_ptr<Block>> blocks;
  int written = 0;
};

class Sequence {
 public:
  Sequence(const KvShape& shape, ByteCount bytes);

  // Makes positions [start, start + count) of a layer writable. Throws if positions before `start` were never written.
  const Layer& grow(int layer, int start, int count);

  const Layer& layer(int index) const {
    return layers_.at(index);
  }

  // Shares what `source` has of its first `count` positions. Throws if it has not that many in every layer.
  void adopt(Sequence& source, int count);

  // Held while a step runs on this sequence: graphs may be evaluated on any stream.
  std::mutex mutex;

  // The length once every step made so far has run. Touched only where steps are made.
  int planned = 0;

 private:
  KvShape shape_;
  ByteCount bytes_;
  std::vector<Layer> layers_;
};

class KvStore {
 public:
  explicit KvStore(const KvShape& shape);

  void create(uint64_t id);
  void fork(uint64_t source, uint64_t id, int count);
  void drop(uint64_t id);
  std::shared_ptr<Sequence> find(uint64_t id) const;

  const KvShape& shape() const {
    return shape_;
  }

  // Bytes held, by dropped sequences too as long as a graph that is yet to run refers to them.
  size_t bytes() const {
    return *bytes_;
  }

 private:
  void add(uint64_t id, std::shared_ptr<Sequence> sequence);

  KvShape shape_;
  ByteCount bytes_;
  std::unordered_map<uint64_t, std::shared_ptr<Sequence>> sequences_;
};

} // namespace mlx_ops
