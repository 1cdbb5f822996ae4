// See kv_update.h. MLX's own operations, which exist for every device, compute the addresses. They run nested in this one, on
// arrays that share the buffers of the slabs.
#include "kv_update.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "mlx/allocator.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"

namespace mlx_ops {

namespace {

using mlx::core::array;
using mlx::core::Shape;
using mlx::core::Stream;
using mlx::core::Strides;

void require(bool holds, const char* expected) {
  if (!holds) {
    throw std::invalid_argument("[kv_update] " + std::string(expected));
  }
}

array index_array(const std::vector<uint32_t>& values) {
  return array(values.begin(), {static_cast<int>(values.size())}, mlx::core::uint32);
}

} // namespace

// Rows that one scatter writes: adjacent rows of the step, in one slab.
struct Run {
  int slab;
  int row;
  int count;
};

// A read whose slots were found.
struct Read {
  std::vector<KvSlot> slots;
  int count;
  // Of the slot that has the most.
  int num_rows = 0;

  int length() const {
    return count + num_rows;
  }
};

// The smallest allowed size of a slab.
struct Extent {
  int slots = 0;
  int positions = 0;

  void cover(int64_t slot_end, int64_t position_end) {
    require(slot_end <= INT32_MAX && position_end <= INT32_MAX, "a slot or a position is out of range");
    slots = std::max(slots, static_cast<int>(slot_end));
    positions = std::max(positions, static_cast<int>(position_end));
  }
};

struct KvUpdate {
  std::vector<KvMove> moves;
  std::vector<Run> runs;
  std::vector<Read> reads;
  // Slots and positions, alternating: of each move, then of each run.
  std::vector<array> indices;
  std::vector<Extent> extents;
  int num_rows = 0;

  Extent& extent(int slab) {
    require(slab >= 0 && slab < 1 << 20, "a slab is out of range");
    if (extents.size() <= static_cast<size_t>(slab)) {
      extents.resize(slab + 1);
    }
    return extents[slab];
  }
};

namespace {

void add_move(KvUpdate& update, const KvMove& move) {
  require(move.from_slot >= 0 && move.to_slot >= 0 && move.count >= 1, "a move has slots and at least one position");
  if (move.from_slab >= 0) {
    update.extent(move.from_slab).cover(int64_t{move.from_slot} + 1, move.count);
  }
  update.extent(move.to_slab).cover(int64_t{move.to_slot} + 1, move.count);
  std::vector<uint32_t> slots(move.count, move.to_slot), positions(move.count);
  for (int position = 0; position < move.count; position++) {
    positions[position] = position;
  }
  update.indices.push_back(index_array(slots));
  update.indices.push_back(index_array(positions));
}

void add_runs(KvUpdate& update, const std::vector<KvPlace>& places) {
  for (size_t row = 0; row < places.size();) {
    const int slab = places[row].slab;
    std::vector<uint32_t> slots, positions;
    const size_t first = row;
    for (; row < places.size() && places[row].slab == slab; row++) {
      const auto [_, slot, position] = places[row];
      if (slab >= 0) {
        require(slot >= 0 && position >= 0, "a row is written to a slot and a position");
        update.extent(slab).cover(int64_t{slot} + 1, int64_t{position} + 1);
        slots.push_back(slot);
        positions.push_back(position);
      }
    }
    if (slab >= 0) {
      update.runs.push_back({slab, static_cast<int>(first), static_cast<int>(slots.size())});
      update.indices.push_back(index_array(slots));
      update.indices.push_back(index_array(positions));
    }
  }
}

void add_read(KvUpdate& update, const KvRead& read, const std::vector<KvSlot>& slots) {
  require(read.first >= 0 && read.num_slots >= 1 && read.count >= 0, "a read has slots");
  require(int64_t{read.first} + read.num_slots <= static_cast<int64_t>(slots.size()), "a read is of slots of the list");
  Read found = {{slots.begin() + read.first, slots.begin() + read.first + read.num_slots}, read.count};
  for (const auto [slab, slot, row, num_rows] : found.slots) {
    require(slot >= 0, "a slot is out of range");
    require(row >= 0 && num_rows >= 0 && int64_t{row} + num_rows <= update.num_rows, "a read is of rows of the step");
    update.extent(slab).cover(int64_t{slot} + 1, read.count);
    found.num_rows = std::max(found.num_rows, num_rows);
  }
  require(found.length() >= 1, "a read has positions or rows");
  update.reads.push_back(std::move(found));
}

// Of slots from `at` on, how many are neighbours in a slab.
int num_neighbours(const std::vector<KvSlot>& slots, size_t at) {
  int count = 1;
  while (at + count < slots.size() && slots[at + count].slab == slots[at].slab &&
         slots[at + count].slot == slots[at].slot + count) {
    count++;
  }
  return count;
}

// `from` with another shape, without a copy.
array view(const array& from, Shape shape, Strides strides, int64_t offset) {
  int64_t last = 0, size = 1, packed = 1;
  bool is_row_contiguous = true;
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; axis--) {
    last += (shape[axis] - 1) * strides[axis];
    is_row_contiguous &= shape[axis] == 1 || strides[axis] == packed;
    packed *= shape[axis];
    size *= shape[axis];
  }
  array seen(std::move(shape), from.dtype(), nullptr, {});
  const array::Flags flags = {is_row_contiguous, is_row_contiguous, is_row_contiguous && size == 1};
  seen.copy_shared_buffer(from, strides, flags, last + 1, offset);
  return seen;
}

// The primitive of the update in MLX's graph.
class Node : public mlx::core::Primitive {
 public:
  Node(Stream stream, std::shared_ptr<const KvUpdate> update) : Primitive(stream), update_(std::move(update)) {}

  const char* name() const override {
    return "kv_update";
  }

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    eval(inputs, outputs);
  }

  void eval_gpu(const std::vector<array>& inputs, std::vector<array>& outputs) override {
    eval(inputs, outputs);
  }

 private:
  // Inputs: slabs, index arrays, keys, values, and a zero.
  void eval(const std::vector<array>& inputs, std::vector<array>& outputs) {
    const KvUpdate& update = *update_;
    const size_t num_slabs = 2 * update.extents.size();
    for (size_t slab = 0; slab < num_slabs; slab++) {
      // A slab with another layout would be addressed wrongly.
      const bool is_whole = inputs[slab].flags().row_contiguous && inputs[slab].offset() == 0;
      require(is_whole, "a slab must lie in row-major order at the beginning of its buffer");
    }
    for (int side = 0; side < 2; side++) {
      const array& rows = inputs[num_slabs + update.indices.size() + side];
      size_t index = num_slabs;
      for (const KvMove& move : update.moves) {
        const array& to = inputs[2 * move.to_slab + side];
        const Shape shape = {move.count, 1, to.shape(1), 1, to.shape(3)};
        write(to, moved(inputs, move, side, shape), inputs[index], inputs[index + 1]);
        index += 2;
      }
      // Reads with rows need the content that the rows overwrite, so they run before the writes. Other reads run after.
      for (size_t read = 0; read < update.reads.size(); read++) {
        if (update.reads[read].num_rows > 0) {
          gather(inputs, side, rows, update.reads[read], outputs[2 * read + side]);
        }
      }
      for (const Run& run : update.runs) {
        const auto& s = rows.strides();
        const array written =
            view(rows, {run.count, 1, rows.shape(1), 1, rows.shape(3)}, {s[0], 0, s[1], 0, s[3]}, run.row * s[0]);
        write(inputs[2 * run.slab + side], written, inputs[index], inputs[index + 1]);
        index += 2;
      }
      for (size_t read = 0; read < update.reads.size(); read++) {
        if (update.reads[read].num_rows == 0) {
          gather(inputs, side, rows, update.reads[read], outputs[2 * read + side]);
        }
      }
    }
  }

  // The positions that a move copies.
  array moved(const std::vector<array>& inputs, const KvMove& move, int side, const Shape& shape) const {
    if (move.from_slab < 0) {
      return view(inputs.back(), shape, {0, 0, 0, 0, 0}, 0);
    }
    const array& from = inputs[2 * move.from_slab + side];
    const auto& s = from.strides();
    return view(from, shape, {s[2], 0, s[1], 0, s[3]}, move.from_slot * s[0]);
  }

  // Writes rows [n, 1, kv heads, 1, head dim] to these slots and positions of a slab. The array that is written is the only
  // reference to its data object, so that MLX writes in place. The data is the slab's, which MLX keeps alive as an input.
  void write(const array& slab, const array& rows, const array& slots, const array& positions) {
    array written = mlx::core::scatter(on_buffer_of(slab), {slots, positions}, rows, {0, 2}, stream());
    evaluate(written);
    require_in_place(written, slab);
  }

  // A view where one part is all of it.
  void gather(const std::vector<array>& inputs, int side, const array& rows, const Read& read, array& out) {
    const int heads = rows.shape(1), width = rows.shape(3);
    const auto add = [&](const array& part, int slot, int position) {
      if (part.shape() == out.shape()) {
        out.copy_shared_buffer(part);
        return;
      }
      if (out.data_shared_ptr() == nullptr) {
        out.set_data(mlx::core::allocator::malloc(out.nbytes()));
      }
      put(out, part, slot, position);
    };
    for (size_t at = 0; at < read.slots.size() && read.count > 0;) {
      const int count = num_neighbours(read.slots, at);
      const array& slab = inputs[2 * read.slots[at].slab + side];
      const auto& s = slab.strides();
      add(view(slab, {count, heads, read.count, width}, s, read.slots[at].slot * s[0]), at, 0);
      at += count;
    }
    for (size_t at = 0; at < read.slots.size() && read.num_rows > 0; at++) {
      const auto [_, slot, row, num_rows] = read.slots[at];
      const auto& r = rows.strides();
      if (num_rows > 0) {
        add(view(rows, {1, heads, num_rows, width}, {r[0], r[1], r[0], r[3]}, row * r[0]), at, read.count);
      }
      if (num_rows < read.num_rows) {
        const array zeros = view(inputs.back(), {1, heads, read.num_rows - num_rows, width}, {0, 0, 0, 0}, 0);
        add(zeros, at, read.count + num_rows);
      }
    }
  }

  // Copies a part of [slots, kv heads, positions, head dim] into its place. As with `write`, MLX writes in place.
  void put(const array& whole, const array& part, int slot, int position) {
    mlx::core::Shape stop = {slot + part.shape(0), part.shape(1), position + part.shape(2), part.shape(3)};
    array written =
        mlx::core::slice_update(on_buffer_of(whole), part, {slot, 0, position, 0}, std::move(stop), stream());
    evaluate(written);
    require_in_place(written, whole);
  }

  // An array on the buffer of another one. Its shape covers the whole buffer: MLX reuses the buffer of an input only if that is
  // at most 16 KiB larger than the data, and on Metal a buffer from MLX's cache may be larger by more. What lies behind the
  // data is never touched.
  static array on_buffer_of(const array& whole) {
    mlx::core::Shape shape = whole.shape();
    const size_t spare = whole.buffer_size() - whole.nbytes();
    if (spare > 0) {
      const size_t slot = whole.nbytes() / shape[0];
      shape[0] += static_cast<int>((spare + slot - 1) / slot);
    }
    return array(whole.buffer(), std::move(shape), whole.dtype(), [](mlx::core::allocator::Buffer) {});
  }

  static void require_in_place(const array& written, const array& whole) {
    if (written.buffer().ptr() != whole.buffer().ptr()) {
      throw std::runtime_error("[kv_update] an array was not written in place");
    }
  }

  // Runs the operation of an array. Its inputs are computed, or will be on this stream.
  void evaluate(array& made) {
    std::vector<array> outputs = {made};
    if (stream().device == mlx::core::Device::gpu) {
      made.primitive().eval_gpu(made.inputs(), outputs);
    } else {
      made.primitive().eval_cpu(made.inputs(), outputs);
    }
  }

  std::shared_ptr<const KvUpdate> update_;
};

void check_slabs(const KvUpdate& update, const std::vector<array>& slabs, const array& rows) {
  require(slabs.size() == 2 * update.extents.size(), "there must be keys and values of every slab");
  require(rows.ndim() == 4 && rows.shape(0) == update.num_rows && rows.shape(2) == 1,
          "rows must be [rows, kv heads, 1, head dim], one for each that is written");
  for (size_t slab = 0; slab < slabs.size(); slab++) {
    const array& of = slabs[slab];
    const Extent& extent = update.extents[slab / 2];
    require(of.ndim() == 4 && of.dtype() == rows.dtype() && of.shape(1) == rows.shape(1) && of.shape(3) == rows.shape(3),
            "a slab must have the heads and the type of the rows");
    require(of.shape(0) >= extent.slots && of.shape(2) >= extent.positions, "a slot or a position is not in its slab");
  }
}

} // namespace

std::shared_ptr<const KvUpdate> make_kv_update(
    std::vector<KvMove> moves, const std::vector<KvPlace>& places, const std::vector<KvSlot>& slots,
    const std::vector<KvRead>& reads) {
  auto update = std::make_shared<KvUpdate>();
  require(!places.empty() && places.size() <= INT32_MAX, "there must be rows");
  require(!reads.empty(), "there must be a read");
  update->num_rows = static_cast<int>(places.size());
  for (const KvMove& move : moves) {
    add_move(*update, move);
  }
  add_runs(*update, places);
  for (const KvRead& read : reads) {
    add_read(*update, read, slots);
  }
  update->moves = std::move(moves);
  return update;
}

std::vector<array> run_kv_update(
    const std::shared_ptr<const KvUpdate>& update, const std::vector<array>& slabs, const array& keys,
    const array& values, Stream stream) {
  check_slabs(*update, slabs, keys);
  require(values.shape() == keys.shape() && values.dtype() == keys.dtype(), "keys and values must be alike");
  std::vector<Shape> shapes;
  for (const Read& read : update->reads) {
    const Shape shape = {static_cast<int>(read.slots.size()), keys.shape(1), read.length(), keys.shape(3)};
    shapes.insert(shapes.end(), 2, shape);
  }
  std::vector<array> inputs = slabs;
  inputs.insert(inputs.end(), update->indices.begin(), update->indices.end());
  inputs.push_back(keys);
  inputs.push_back(values);
  inputs.push_back(array(0.0f, keys.dtype()));
  const std::vector<mlx::core::Dtype> types(shapes.size(), keys.dtype());
  return array::make_arrays(std::move(shapes), types, std::make_shared<Node>(stream, update), inputs);
}

} // namespace mlx_ops
