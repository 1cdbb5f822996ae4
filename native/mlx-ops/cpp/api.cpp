// The C interface: functions take handles and integers, and return a status. No exception passes through it.
//
// Its only state is the last error of each thread. src/ffi.rs declares the functions.
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "chain.h"
#include "checked.h"
#include "kv_store.h"
#include "kv_update.h"
#include "mlx/c/private/mlx.h"
#include "packed.h"
#include "step.h"

namespace {

using mlx_ops::KvStore;
using ChainHandle = std::shared_ptr<const mlx_ops::Chain>;
using PackedHandle = std::shared_ptr<const mlx_ops::PackedWeight>;
using KvUpdateHandle = std::shared_ptr<const mlx_ops::KvUpdate>;
using StepHandle = std::shared_ptr<const mlx_ops::Step>;

// Slices of Rust. Slices and stages have the same layout as in src/ffi.rs.
template <typename Item>
struct Slice {
  const Item* items;
  size_t count;

  std::vector<Item> copy() const {
    return {items, items + count};
  }
};

// A stage as Rust describes it. The kind decides which fields are used.
struct StageName {
  enum Kind : uint32_t { kRmsNorm, kLinear, kAttention, kSwiglu, kKeep };

  Kind kind;
  // For a norm.
  mlx_array weight;
  // For a linear layer.
  const PackedHandle* packed;
  // The context is null if there is none.
  mlx_array bias;
  uint32_t version;
  bool onto_kept;
  int32_t layer;
  // The epsilon of a norm, or the scale of attention scores.
  float number;
  mlx_ops::KvShape shape;
};

mlx_ops::Stage stage_of(const StageName& name, mlx::core::Stream stream) {
  const auto constant = [&](mlx_array values) { return mlx_ops::Constant(mlx_array_get_(values), stream); };
  switch (name.kind) {
    case StageName::kRmsNorm:
      return mlx_ops::RmsNorm{constant(name.weight), name.number};
    case StageName::kLinear: {
      std::optional<mlx_ops::Constant> bias;
      if (name.bias.ctx != nullptr) {
        bias = constant(name.bias);
      }
      return mlx_ops::Linear{*name.packed, std::move(bias), mlx_ops::multiply(name.version), name.onto_kept};
    }
    case StageName::kAttention:
      return mlx_ops::Attention{name.layer, name.number, name.shape};
    case StageName::kSwiglu:
      return mlx_ops::Swiglu{};
    case StageName::kKeep:
      return mlx_ops::Keep{};
  }
  throw std::invalid_argument("[chain] there is no such stage");
}

thread_local std::string last_error;

// Runs `body` and returns 0. If it throws, stores the message and returns 1.
template <typename Body>
int guard(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an exception that is not a std::exception";
  }
  return 1;
}

} // namespace

extern "C" {

// Valid until the next failure on this thread.
const char* mlx_ops_last_error() {
  return last_error.c_str();
}

int mlx_ops_pack(PackedHandle** out, mlx_array weight, mlx_stream stream) {
  return guard([&] { *out = new PackedHandle(mlx_ops::pack(mlx_array_get_(weight), mlx_stream_get_(stream))); });
}

void mlx_ops_packed_free(PackedHandle* packed) {
  delete packed;
}

int mlx_ops_chain_new(ChainHandle** out, int32_t width, Slice<StageName> names, mlx_stream stream) {
  return guard([&] {
    std::vector<mlx_ops::Stage> stages;
    for (const StageName& name : names.copy()) {
      stages.push_back(stage_of(name, mlx_stream_get_(stream)));
    }
    *out = new ChainHandle(std::make_shared<mlx_ops::Chain>(width, std::move(stages)));
  });
}

void mlx_ops_chain_free(ChainHandle* chain) {
  delete chain;
}

// `step` may be null.
int mlx_ops_chain_run(
    mlx_array* out, const ChainHandle* chain, mlx_array x, const StepHandle* step, mlx_stream stream) {
  return guard([&] {
    const StepHandle of = step == nullptr ? nullptr : *step;
    mlx_array_set_(*out, mlx_ops::run(*chain, mlx_array_get_(x), of, mlx_stream_get_(stream)));
  });
}

int mlx_ops_checked(mlx_array* out, mlx_array logits, mlx_array tokens, mlx_stream stream) {
  return guard([&] {
    mlx_array_set_(*out, mlx_ops::checked(mlx_array_get_(logits), mlx_array_get_(tokens), mlx_stream_get_(stream)));
  });
}

int mlx_ops_kv_store_new(KvStore** out, const mlx_ops::KvShape* shape) {
  return guard([&] { *out = new KvStore(*shape); });
}

void mlx_ops_kv_store_free(KvStore* store) {
  delete store;
}

int mlx_ops_kv_store_create(KvStore* store, uint64_t id) {
  return guard([&] { store->create(id); });
}

int mlx_ops_kv_store_fork(KvStore* store, uint64_t source, uint64_t id, int32_t count) {
  return guard([&] { store->fork(source, id, count); });
}

int mlx_ops_kv_store_drop(KvStore* store, uint64_t id) {
  return guard([&] { store->drop(id); });
}

int mlx_ops_kv_store_export(const KvStore* store, uint64_t id, int32_t block, float* out, size_t count) {
  return guard([&] { store->export_block(id, block, out, count); });
}

int mlx_ops_kv_store_import(KvStore* store, uint64_t id, Slice<float> floats) {
  return guard([&] { store->import_block(id, floats.items, floats.count); });
}

size_t mlx_ops_kv_store_bytes(const KvStore* store) {
  return store->bytes();
}

int mlx_ops_step_new(StepHandle** out, KvStore* store, Slice<mlx_ops::SegmentName> segments, Slice<float> frequencies) {
  return guard([&] { *out = new StepHandle(mlx_ops::make_step(*store, segments.copy(), frequencies.copy())); });
}

void mlx_ops_step_free(StepHandle* step) {
  delete step;
}

int mlx_ops_kv_update_new(
    KvUpdateHandle** out, Slice<mlx_ops::KvMove> moves, Slice<mlx_ops::KvPlace> places, Slice<mlx_ops::KvSlot> slots,
    Slice<mlx_ops::KvRead> reads) {
  return guard([&] {
    *out = new KvUpdateHandle(mlx_ops::make_kv_update(moves.copy(), places.copy(), slots.copy(), reads.copy()));
  });
}

void mlx_ops_kv_update_free(KvUpdateHandle* update) {
  delete update;
}

// `out` has room for the keys and values of every read.
int mlx_ops_kv_update_run(
    mlx_array* out, const KvUpdateHandle* update, Slice<mlx_array> slabs, const mlx_array* rows, mlx_stream stream) {
  return guard([&] {
    std::vector<mlx::core::array> of;
    for (const mlx_array& slab : slabs.copy()) {
      of.push_back(mlx_array_get_(slab));
    }
    auto made = mlx_ops::run_kv_update(
        *update, of, mlx_array_get_(rows[0]), mlx_array_get_(rows[1]), mlx_stream_get_(stream));
    for (size_t at = 0; at < made.size(); at++) {
      mlx_array_set_(out[at], std::move(made[at]));
    }
  });
}

// The number of operations that an evaluation of `root` would run.
int mlx_ops_count(size_t* out, mlx_array root) {
  return guard([&] {
    std::vector<mlx::core::array> left = {mlx_array_get_(root)};
    std::unordered_set<std::uintptr_t> seen;
    *out = 0;
    while (!left.empty()) {
      const mlx::core::array next = std::move(left.back());
      left.pop_back();
      if (!seen.insert(next.id()).second || !next.has_primitive()) {
        continue;
      }
      *out += 1;
      // An operation with several results counts once.
      for (const auto& sibling : next.siblings()) {
        seen.insert(sibling.id());
      }
      left.insert(left.end(), next.inputs().begin(), next.inputs().end());
    }
  });
}

} // extern "C"
