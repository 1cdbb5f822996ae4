//! Keys and values of a step, written in place into slabs that MLX's own attention reads.
//!
//! The safe interface. C++ checks the indices, because it has the arrays. The caller decides which sequence has which slot.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};

use crate::ffi::{self, KvUpdateKind, Opaque, RawMove, RawPlace, RawRead, RawSlice};

/// Copies the first `count` positions of a slot to another slot, or fills them with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvMove {
    /// The slab and slot that are read. Absent: the positions become zeros.
    pub from: Option<(i32, i32)>,
    /// Index of the slab that is written.
    pub to_slab: i32,
    /// The slot in that slab.
    pub to_slot: i32,
    /// At least one.
    pub count: i32,
}

/// The destination of the keys and values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlace {
    /// Index of the slab.
    pub slab: i32,
    /// The slot in that slab.
    pub slot: i32,
    /// The position in that slot.
    pub position: i32,
}

/// A slot that is read, and the rows of the step that follow its positions, if any do.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvSlot {
    /// Index of the slab.
    pub slab: i32,
    /// The slot there.
    pub slot: i32,
    /// The first of the rows.
    pub row: i32,
    /// How many rows.
    pub num_rows: i32,
}

/// Keys and values that attention reads: the first positions of some slots.
///
/// Without rows they include what the step wrote, `[slots, kv heads, count, head dim]`: a view if the slots are neighbours in a
/// slab, else a copy. With rows they are a copy from before the step wrote, `[slots, kv heads, count + most rows, head dim]`: for
/// each slot its positions, its rows, and zeros up to the largest number of rows of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KvRead {
    /// At least one.
    pub slots: Vec<KvSlot>,
    /// Positions of each slot. Zero only where there are rows.
    pub count: i32,
}

/// The moves, writes and reads of one step, for any number of layers.
///
/// MLX copies an array before an update if an operation in flight holds it. This update always writes slabs in place, so a step
/// that is submitted while another one runs only costs its own rows, whatever the size of the slabs. The caller ensures that
/// steps are evaluated in the order in which they were made, on one stream.
#[derive(Debug)]
pub struct KvUpdate {
    raw: NonNull<Opaque<KvUpdateKind>>,
    num_reads: usize,
}

impl KvUpdate {
    /// The order is: moves, reads with rows, writes. A row without a place is not written.
    ///
    /// An error if a number is negative, a part is empty, or there are no rows or no reads.
    pub fn new(moves: &[KvMove], places: &[Option<KvPlace>], reads: &[KvRead]) -> Result<Self> {
        let place = |place: &Option<KvPlace>| match *place {
            Some(KvPlace { slab, slot, position }) if slab >= 0 => Ok(RawPlace { slab, slot, position }),
            None => Ok(RawPlace { slab: -1, slot: 0, position: 0 }),
            Some(place) => Err(Exception::custom(format!("{place:?} is out of range"))),
        };
        let places = places.iter().map(place).collect::<Result<Vec<_>>>()?;
        let moves = moves.iter().map(RawMove::of).collect::<Result<Vec<_>>>()?;
        let slots: Vec<_> = reads.iter().flat_map(|read| read.slots.iter().copied()).collect();
        let mut first = 0;
        let read = |read: &KvRead| {
            let num_slots =
                i32::try_from(read.slots.len()).map_err(|_| Exception::custom("a read of too many slots"))?;
            first += num_slots;
            Ok(RawRead { first: first - num_slots, num_slots, count: read.count })
        };
        let raw_reads = reads.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut raw = std::ptr::null_mut();
        let (moves, places) = (RawSlice::of(&moves), RawSlice::of(&places));
        let (slots, raw_reads) = (RawSlice::of(&slots), RawSlice::of(&raw_reads));
        // SAFETY: the slices are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_kv_update_new(&raw mut raw, moves, places, slots, raw_reads) })?;
        let raw = NonNull::new(raw).ok_or_else(|| Exception::custom("no update was made"))?;
        Ok(Self { raw, num_reads: reads.len() })
    }

    /// The operation in one layer: keys and values of each read. `slabs` are keys and values of each slab,
    /// `[slots, kv heads, positions, head dim]`; `keys` and `values` are `[rows, kv heads, 1, head dim]`.
    ///
    /// An error if shapes or types do not fit, or if a slot or a position is not in its slab.
    #[track_caller]
    pub fn run(&self, slabs: &[[Array; 2]], keys: &Array, values: &Array) -> Result<Vec<[Array; 2]>> {
        let slabs: Vec<_> = slabs.iter().flatten().map(Array::as_ptr).collect();
        let rows = [keys.as_ptr(), values.as_ptr()];
        let stream = Stream::thread_local_or_default();
        // SAFETY: makes empty handles, which own nothing.
        let mut handles: Vec<_> = (0..2 * self.num_reads).map(|_| unsafe { mlx_sys::mlx_array_new() }).collect();
        // SAFETY: the borrows keep all handles alive; there is room for the arrays that are made.
        let status = unsafe {
            let (out, slabs) = (handles.as_mut_ptr(), RawSlice::of(&slabs));
            ffi::mlx_ops_kv_update_run(out, self.raw.as_ptr(), slabs, &raw const rows, stream.as_ptr())
        };
        // SAFETY: the handles have no other owner. Those that the call did not set are empty, and may be freed.
        let arrays: Vec<_> = handles.into_iter().map(|handle| unsafe { Array::from_ptr(handle) }).collect();
        ffi::check(status)?;
        Ok(arrays.as_chunks::<2>().0.iter().map(|[keys, values]| [keys.clone(), values.clone()]).collect())
    }
}

impl RawMove {
    fn of(moved: &KvMove) -> Result<Self> {
        let KvMove { from, to_slab, to_slot, count } = *moved;
        let (from_slab, from_slot) = match from {
            Some((slab, slot)) if slab >= 0 => (slab, slot),
            None => (-1, 0),
            Some(_) => return Err(Exception::custom(format!("{moved:?} is out of range"))),
        };
        Ok(Self { from_slab, from_slot, to_slab, to_slot, count })
    }
}

impl Drop for KvUpdate {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once; arrays made from it share ownership.
        unsafe { ffi::mlx_ops_kv_update_free(self.raw.as_ptr()) }
    }
}
