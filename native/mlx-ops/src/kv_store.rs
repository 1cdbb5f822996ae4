//! Keys and values of running sequences, stored in C++ from step to step.
//!
//! This file has their lifetime, and limits that are checked before memory is allocated. The memory is in
//! `cpp/kv_store.cpp`. The caller decides which sequences exist.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};

use crate::ffi::{self, Opaque, RawShape, RawSlice, StoreKind};
use crate::step::{Segment, Step};

/// The sizes that determine the memory of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Decoder layers. At most 4,096.
    pub num_layers: usize,
    /// Key heads in each layer, as many as value heads. At most 4,096.
    pub num_kv_heads: usize,
    /// Dimensions of a head. A multiple of 8, at most 4,096.
    pub head_dim: usize,
    /// The most positions of a sequence. At most 2^24: beyond that, adjacent positions are equal in `f32`.
    pub max_positions: usize,
}

impl KvShape {
    pub(crate) fn checked(self) -> Result<RawShape> {
        if !self.head_dim.is_multiple_of(8) {
            return Err(Exception::custom(format!("head_dim is {}; it must be a multiple of 8", self.head_dim)));
        }
        Ok(RawShape {
            num_layers: within("num_layers", self.num_layers, 1 << 12)?,
            num_kv_heads: within("num_kv_heads", self.num_kv_heads, 1 << 12)?,
            head_dim: within("head_dim", self.head_dim, 1 << 12)?,
            max_positions: within("max_positions", self.max_positions, 1 << 24)?,
        })
    }
}

fn within(name: &str, value: usize, limit: i32) -> Result<i32> {
    i32::try_from(value)
        .ok()
        .filter(|value| (1..=limit).contains(value))
        .ok_or_else(|| Exception::custom(format!("{name} is {value}; it must be from 1 to {limit}")))
}

/// The cached keys and values of all running sequences of one model.
///
/// Memory grows by blocks of 256 positions for each layer. It is freed when the sequence is dropped and no unevaluated array
/// refers to it. The caller names the sequences.
#[derive(Debug)]
pub struct KvStore {
    raw: NonNull<Opaque<StoreKind>>,
    shape: KvShape,
}

// SAFETY: the C++ store is not bound to a thread; a mutex for each sequence guards the state that running steps share with it.
unsafe impl Send for KvStore {}

impl KvStore {
    /// An empty store. An error names the size that is out of range.
    pub fn new(shape: KvShape) -> Result<Self> {
        let checked = shape.checked()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: both pointers are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_new(&raw mut raw, &raw const checked) })?;
        NonNull::new(raw).map(|raw| Self { raw, shape }).ok_or_else(|| Exception::custom("no store was made"))
    }

    /// The shape of the store.
    #[must_use]
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Adds an empty sequence. An error if the name exists already.
    pub fn create(&mut self, sequence: u64) -> Result<()> {
        // SAFETY: the store is alive and borrowed exclusively.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_create(self.raw.as_ptr(), sequence) })
    }

    /// Adds a sequence with the first `count` positions of `source`, which both share until one of them writes there. An
    /// error if the name exists already, or if the evaluated steps of `source` have fewer positions.
    pub fn fork(&mut self, source: u64, sequence: u64, count: usize) -> Result<()> {
        let count = i32::try_from(count).map_err(|_| Exception::custom(format!("{count} positions are too many")))?;
        // SAFETY: the store is alive and borrowed exclusively.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_fork(self.raw.as_ptr(), source, sequence, count) })
    }

    /// Removes a sequence. Unevaluated arrays keep the parts that they need. An error if there is no such sequence.
    pub fn drop_sequence(&mut self, sequence: u64) -> Result<()> {
        // SAFETY: the store is alive and borrowed exclusively.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_drop(self.raw.as_ptr(), sequence) })
    }

    /// Positions of a block.
    pub const BLOCK: usize = 256;
    /// Describes how the numbers of a block are arranged, for programs that keep blocks. Another arrangement has another name.
    pub const ARRANGEMENT: &str = "keys [heads, tiles, head dim, 32], values [heads, 256, head dim]";

    /// Numbers of a block in all layers.
    #[must_use]
    pub fn block_floats(&self) -> usize {
        let KvShape { num_layers, num_kv_heads, head_dim, .. } = self.shape;
        num_layers * 2 * num_kv_heads * Self::BLOCK * head_dim
    }

    /// Copies a whole block of all layers, layer by layer: keys of all heads, then values. An error if the evaluated steps of the
    /// sequence do not fill it.
    pub fn export_block(&self, sequence: u64, block: usize) -> Result<Vec<f32>> {
        let index = i32::try_from(block).map_err(|_| Exception::custom(format!("there is no block {block}")))?;
        let mut floats = vec![0.0; self.block_floats()];
        let (out, count) = (floats.as_mut_ptr(), floats.len());
        // SAFETY: the store is alive; there is room for `count` numbers.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_export(self.raw.as_ptr(), sequence, index, out, count) })?;
        Ok(floats)
    }

    /// Appends a block that was exported to a sequence of whole blocks. An error, and no change, if the sequence has a part of a
    /// block, if a step of it is not evaluated, or if the sizes do not fit.
    pub fn import_block(&mut self, sequence: u64, floats: &[f32]) -> Result<()> {
        let floats = RawSlice::of(floats);
        // SAFETY: the store is alive and borrowed exclusively; the slice is valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_import(self.raw.as_ptr(), sequence, floats) })
    }

    /// Bytes of keys and values in use, including those of dropped sequences while an array refers to them.
    pub fn bytes(&self) -> usize {
        // SAFETY: the store is alive; the count is atomic.
        unsafe { ffi::mlx_ops_kv_store_bytes(self.raw.as_ptr()) }
    }

    /// Describes the rows of one step for all layers, in the order of `segments`.
    ///
    /// `inverse_frequencies` has `head_dim / 2` entries: position times entry is the angle by which a pair is rotated. An
    /// error, and no change, if a sequence is unknown, or if a segment is empty, skips positions or exceeds the limit. A
    /// segment may start before the end of its sequence, which is truncated there. Steps must be evaluated in the order in
    /// which they were made.
    pub fn step(&mut self, segments: &[Segment], inverse_frequencies: &[f32]) -> Result<Step> {
        let segments = segments.iter().map(Segment::checked).collect::<Result<Vec<_>>>()?;
        let mut raw = std::ptr::null_mut();
        let (segments, frequencies) = (RawSlice::of(&segments), RawSlice::of(inverse_frequencies));
        // SAFETY: the store is alive and borrowed exclusively; the slices are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_step_new(&raw mut raw, self.raw.as_ptr(), segments, frequencies) })?;
        NonNull::new(raw).map(Step::own).ok_or_else(|| Exception::custom("no step was made"))
    }
}

impl Drop for KvStore {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once. Steps share ownership of the sequences they need, not of the store.
        unsafe { ffi::mlx_ops_kv_store_free(self.raw.as_ptr()) }
    }
}
