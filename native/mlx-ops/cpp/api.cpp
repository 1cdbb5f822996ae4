// The C border: handles and integers in, a status out; no exception passes.
//
// Owns nothing of its own but the last error of each thread. Its declarations are in src/ffi.rs.
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "attention.h"
#include "kv_store.h"
#include "linear.h"
#include "mlx/c/private/mlx.h"
#include "rows.h"
#include "step.h"

namespace {

using mlx_ops::KvStore;
using StepHandle = std::shared_ptr<const mlx_ops::Step>;

// Rust's slices, and a weight and a layer as Rust names them. Laid out as in src/ffi.rs.
template <typename Item>
struct Slice {
  const Item* items;
  size_t count;

  std::vector<Item> copy() const {
    return {items, items + count};
  }
};

struct PackedName {
  mlx_array panels;
  int32_t outputs;
  uint32_t version;
};

struct LayerName {
  const StepHandle* step;
  int32_t index;
  float scale;
};

thread_local std::string last_error;

// Runs `body` and returns 0; if it throws, keeps the message and returns 1.
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

// `inputs` are x and the weight.
int mlx_ops_rms_norm(mlx_array* out, const mlx_array* inputs, float eps, mlx_stream stream) {
  return guard([&] {
    const mlx_ops::NormOf norm = {mlx_array_get_(inputs[1]), eps};
    mlx_array_set_(*out, mlx_ops::rms_norm(mlx_array_get_(inputs[0]), norm, mlx_stream_get_(stream)));
  });
}

// `inputs` are x, y and the weight; `out` has room for x + y and its norm.
int mlx_ops_add_rms_norm(mlx_array* out, const mlx_array* inputs, float eps, mlx_stream stream) {
  return guard([&] {
    const mlx_ops::NormOf norm = {mlx_array_get_(inputs[2]), eps};
    auto [sum, normed] = mlx_ops::add_rms_norm(
        mlx_array_get_(inputs[0]), mlx_array_get_(inputs[1]), norm, mlx_stream_get_(stream));
    mlx_array_set_(out[0], std::move(sum));
    mlx_array_set_(out[1], std::move(normed));
  });
}

int mlx_ops_swiglu(mlx_array* out, mlx_array gate_up, mlx_stream stream) {
  return guard([&] { mlx_array_set_(*out, mlx_ops::swiglu(mlx_array_get_(gate_up), mlx_stream_get_(stream))); });
}

// `onto` may be null.
int mlx_ops_linear(
    mlx_array* out, mlx_array x, const PackedName* weight, const mlx_array* onto, mlx_stream stream) {
  return guard([&] {
    const mlx_ops::Packed packed = {mlx_array_get_(weight->panels), weight->outputs, weight->version};
    std::optional<mlx::core::array> start;
    if (onto != nullptr) {
      start = mlx_array_get_(*onto);
    }
    mlx_array_set_(*out, mlx_ops::linear(mlx_array_get_(x), packed, start, mlx_stream_get_(stream)));
  });
}

int mlx_ops_ragged_attention(mlx_array* out, mlx_array qkv, const LayerName* layer, mlx_stream stream) {
  return guard([&] {
    mlx_array_set_(
        *out,
        mlx_ops::ragged_attention(
            mlx_array_get_(qkv), {*layer->step, layer->index, layer->scale}, mlx_stream_get_(stream)));
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

size_t mlx_ops_kv_store_bytes(const KvStore* store) {
  return store->bytes();
}

int mlx_ops_step_new(StepHandle** out, KvStore* store, Slice<mlx_ops::SegmentName> segments, Slice<float> frequencies) {
  return guard([&] { *out = new StepHandle(mlx_ops::make_step(*store, segments.copy(), frequencies.copy())); });
}

void mlx_ops_step_free(StepHandle* step) {
  delete step;
}

} // extern "C"
