// Keys and values of a step written into slabs in place, and the parts of slabs that the step's attention reads.
//
// A slab is an array [slots, kv heads, positions, head dim] in row-major order; a sequence has a slot of it. MLX's own
// updates copy an array that an operation in flight still holds, so each step that is submitted ahead would copy all keys and
// values. This operation shares the buffer without condition. The caller keeps to what makes that right: rows that are
// written belong to one sequence, steps run in the order of one stream, and a position is written after every step that was
// to read its old content was submitted.
//
// Owns the checks of all indices. Which sequence has which slot is the caller's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

// Laid out as in src/ffi.rs, as are the other structs here.
struct KvMove {
  // Negative: the positions become zeros.
  int32_t from_slab;
  int32_t from_slot;
  int32_t to_slab;
  int32_t to_slot;
  // Positions 0 to count - 1.
  int32_t count;
};

// Where the keys and values of a row go. A negative slab: nowhere.
struct KvPlace {
  int32_t slab;
  int32_t slot;
  int32_t position;
};

// What attention reads. Without rows it is a view of neighbouring slots: [num_slots, kv heads, first_count, head dim]. With
// rows it is of one slot: positions from `first` and from `second` on, then rows of the step:
// [1, kv heads, first_count + second_count + num_rows, head dim].
struct KvRead {
  int32_t slab;
  int32_t slot;
  int32_t num_slots;
  int32_t first;
  int32_t first_count;
  int32_t second;
  int32_t second_count;
  int32_t row;
  int32_t num_rows;
};

struct KvUpdate;

// Throws if a number is negative where it must not be, or if a read is empty.
std::shared_ptr<const KvUpdate> make_kv_update(
    std::vector<KvMove> moves, const std::vector<KvPlace>& places, std::vector<KvRead> reads);

// Keys and values of each read, alternating. Moves come first, then reads that have rows, then writes; views show what the
// writes left. `slabs` alternate keys and values; `keys` and `values` are [rows, kv heads, 1, head dim].
std::vector<mlx::core::array> run_kv_update(
    const std::shared_ptr<const KvUpdate>& update, const std::vector<mlx::core::array>& slabs,
    const mlx::core::array& keys, const mlx::core::array& values, mlx::core::Stream stream);

} // namespace mlx_ops
