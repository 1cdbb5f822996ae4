// See kv_update.h. MLX's own operations, which exist for every device, compute the addresses. They run nested in this one, on
// arrays that share the buffers of the slabs.
#include "kv_update.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

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
  std::vector<KvRead> reads;
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

void add_read(KvUpdate& update, const KvRead& read) {
  require(read.slot >= 0 && read.num_slots >= 1, "a read has slots");
  require(read.first >= 0 && read.first_count >= 0 && read.second >= 0 && read.second_count >= 0,
          "a read has positions");
  require(read.row >= 0 && read.num_rows >= 0 && int64_t{read.row} + read.num_rows <= update.num_rows,
          "a read is of rows of the step");
  if (read.num_rows == 0) {
    require(read.first == 0 && read.first_count >= 1 && read.second_count == 0, "a view begins at the first position");
  } else {
    require(read.num_slots == 1, "a read with rows is of one slot");
  }
  update.extent(read.slab).cover(
      int64_t{read.slot} + read.num_slots,
      std::max(int64_t{read.first} + read.first_count, int64_t{read.second} + read.second_count));
}

int length_of(const KvRead& read) {
  return read.first_count + read.second_count + read.num_rows;
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
      for (size_t read = 0; read < update.reads.size(); read++) {
        if (update.reads[read].num_rows > 0) {
          gather(inputs[2 * update.reads[read].slab + side], rows, update.reads[read], outputs[2 * read + side]);
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
        const KvRead& of = update.reads[read];
        if (of.num_rows == 0) {
          const array& slab = inputs[2 * of.slab + side];
          array& out = outputs[2 * read + side];
          const array seen = view(slab, out.shape(), slab.strides(), of.slot * slab.strides()[0]);
          out.copy_shared_buffer(seen);
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
    array written = mlx::core::scatter(
        array(slab.buffer(), slab.shape(), slab.dtype(), [](mlx::core::allocator::Buffer) {}), {slots, positions}, rows,
        {0, 2}, stream());
    evaluate(written);
    if (written.buffer().ptr() != slab.buffer().ptr()) {
      throw std::runtime_error("[kv_update] the slab was not written in place");
    }
  }

  void gather(const array& slab, const array& rows, const KvRead& read, array& out) {
    const int heads = slab.shape(1), width = slab.shape(3);
    const auto& s = slab.strides();
    std::vector<array> parts;
    const auto add = [&](int position, int count) {
      if (count > 0) {
        parts.push_back(view(slab, {1, heads, count, width}, s, read.slot * s[0] + position * s[2]));
      }
    };
    add(read.first, read.first_count);
    add(read.second, read.second_count);
    const auto& r = rows.strides();
    parts.push_back(view(rows, {1, heads, read.num_rows, width}, {r[0], r[1], r[0], r[3]}, read.row * r[0]));
    if (parts.size() == 1) {
      out.copy_shared_buffer(parts[0]);
      return;
    }
    array joined = mlx::core::concatenate(std::move(parts), 2, stream());
    evaluate(joined);
    out.copy_shared_buffer(joined);
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
    std::vector<KvMove> moves, const std::vector<KvPlace>& places, std::vector<KvRead> reads) {
  auto update = std::make_shared<KvUpdate>();
  require(!places.empty() && places.size() <= INT32_MAX, "there must be rows");
  require(!reads.empty(), "there must be a read");
  update->num_rows = static_cast<int>(places.size());
  for (const KvMove& move : moves) {
    add_move(*update, move);
  }
  add_runs(*update, places);
  for (const KvRead& read : reads) {
    add_read(*update, read);
  }
  update->moves = std::move(moves);
  update->reads = std::move(reads);
  return update;
}

std::vector<array> run_kv_update(
    const std::shared_ptr<const KvUpdate>& update, const std::vector<array>& slabs, const array& keys,
    const array& values, Stream stream) {
  check_slabs(*update, slabs, keys);
  require(values.shape() == keys.shape() && values.dtype() == keys.dtype(), "keys and values must be alike");
  std::vector<Shape> shapes;
  for (const KvRead& read : update->reads) {
    const Shape shape = {read.num_slots, keys.shape(1), length_of(read), keys.shape(3)};
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
