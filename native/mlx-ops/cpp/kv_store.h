// Keys and values of running sequences, from step to step.
//
// This file has their memory, and checks that no position is read before it is written or written past the end. The caller
// decides which sequences exist. Arithmetic is in kernels.h.
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

// The memory of a sequence grows by this many positions. A multiple of kTile.
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

// Keys and values of kBlockPositions positions in one layer, all heads. Sequences with the same prefix share it; it is written
// only while it has one owner.
class Block {
 public:
  Block(const KvShape& shape, ByteCount bytes);
  Block(const Block& other);
  ~Block();
  Block& operator=(const Block&) = delete;

  // The keys of a head: tiles of [head_dim][kTile].
  float* keys(int head) const;
  // The values of a head: rows of [head_dim].
  float* values(int head) const;
  // All of them.
  float* all() const {
    return floats_;
  }

 private:
  KvShape shape_;
  ByteCount bytes_;
  float* floats_;
};

// The cache of one sequence in one layer.
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

  // Shares the first `count` positions of `source`. Throws if it has fewer in a layer.
  void adopt(Sequence& source, int count);

  // Copies a whole block of every layer to `out`, layer by layer, as it is in memory. Throws if it is not written to its end.
  void export_block(int block, float* out, size_t count);

  // Appends a block that was exported. Throws if the sequence does not end with a whole block.
  void import_block(const float* floats, size_t count);

  // Locked while a step runs on this sequence, because graphs may be evaluated on any stream.
  std::mutex mutex;

  // The length after all steps made so far. Used only when steps are made.
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

  void export_block(uint64_t id, int block, float* out, size_t count) const;
  void import_block(uint64_t id, const float* floats, size_t count);

  // Bytes in use, including those of dropped sequences while an unevaluated graph refers to them.
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
