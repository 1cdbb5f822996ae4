// Writes the keys and values of a step into slabs in place, and reads the parts of slabs for its attention.
//
// A slab is an array [slots, kv heads, positions, head dim] in row-major order; a sequence has a slot of it. MLX's own
// updates copy an array that an operation in flight still holds, so each step that is submitted ahead would copy all keys and
// values. This operation always shares the buffer. That is correct under conditions that the caller guarantees: rows that are
// written belong to one sequence, steps run in the order of one stream, and a position is written only after every step that
// reads its old content was submitted.
//
// This file checks all indices. The caller decides which sequence has which slot.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "mlx/array.h"
#include "mlx/stream.h"

namespace mlx_ops {

// This struct and the others here have the same layout as in src/ffi.rs.
struct KvMove {
  // Negative: the positions become zeros.
  int32_t from_slab;
  int32_t from_slot;
  int32_t to_slab;
  int32_t to_slot;
  // Positions 0 to count - 1.
  int32_t count;
};

// The destination of a row's keys and values. With a negative slab they are not written.
struct KvPlace {
  int32_t slab;
  int32_t slot;
  int32_t position;
};

// A slot that a read is of, and the rows of the step that follow its positions, if any do.
struct KvSlot {
  int32_t slab;
  int32_t slot;
  int32_t row;
  int32_t num_rows;
};

// What attention reads: positions 0 to count - 1 of slots `first` to `first + num_slots - 1` of a list.
//
// Without rows it includes what the step wrote, [num_slots, kv heads, count, head dim]: a view if the slots are neighbours in a
// slab, else a copy. With rows it is a copy from before the step wrote, [num_slots, kv heads, count + most rows, head dim]: for
// each slot its positions, its rows, and zeros up to the largest number of rows of a slot.
struct KvRead {
  int32_t first;
  int32_t num_slots;
  int32_t count;
};

struct KvUpdate;

// Throws if a number is negative that must not be, or if a read is empty.
std::shared_ptr<const KvUpdate> make_kv_update(
    std::vector<KvMove> moves, const std::vector<KvPlace>& places, const std::vector<KvSlot>& slots,
    const std::vector<KvRead>& reads);

// Keys and values of each read, alternating. The order is: moves, reads with rows, writes. Views see the content after the
// writes. `slabs` alternate keys and values; `keys` and `values` are [rows, kv heads, 1, head dim].
std::vector<mlx::core::array> run_kv_update(
    const std::shared_ptr<const KvUpdate>& update, const std::vector<mlx::core::array>& slabs,
    const mlx::core::array& keys, const mlx::core::array& values, mlx::core::Stream stream);

} // namespace mlx_ops
