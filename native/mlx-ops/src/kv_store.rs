//! Keys and values of running sequences, kept in C++ from step to step.
//!
//! Owns their lifetime and the limits checked before anything is allocated. Memory is in `cpp/kv_store.cpp`; which
//! sequences to keep is the caller's decision.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};

use crate::ffi::{self, Opaque, RawShape, RawSlice, StoreKind};
use crate::step::{Segment, Step};

/// The sizes that a store's memory follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Decoder layers. At most 4,096.
    pub num_layers: usize,
    /// Key heads in each layer, as many as value heads. At most 4,096.
    pub num_kv_heads: usize,
    /// Numbers in a head. A multiple of 8, at most 4,096.
    pub head_dim: usize,
    /// Positions a sequence may have. At most 2^24: beyond that `f32` cannot tell neighbouring positions apart.
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

/// The cached keys and values of every running sequence of one model.
///
/// Memory grows by blocks of 256 positions a layer and is returned when the sequence is dropped and no unevaluated array
/// refers to it. Sequences are named by the caller.
#[derive(Debug)]
pub struct KvStore {
    raw: NonNull<Opaque<StoreKind>>,
    shape: KvShape,
}

// SAFETY: the C++ store belongs to no thread; what running steps share with it is guarded by a mutex for each sequence.
unsafe impl Send for KvStore {}

impl KvStore {
    /// An empty store; an error names the size that is out of range.
    pub fn new(shape: KvShape) -> Result<Self> {
        let checked = shape.checked()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: both pointers are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_new(&raw mut raw, &raw const checked) })?;
        NonNull::new(raw).map(|raw| Self { raw, shape }).ok_or_else(|| Exception::custom("no store was made"))
    }

    /// What it was made for.
    #[must_use]
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Begins a sequence of no positions. An error if the name is taken.
    pub fn create(&mut self, sequence: u64) -> Result<()> {
        // SAFETY: the store is alive and borrowed by nobody else.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_create(self.raw.as_ptr(), sequence) })
    }

    /// Begins a sequence with the first `count` positions of `source`, which are shared until one of the two writes
    /// there. An error if the name is taken, or if the evaluated steps of `source` do not reach that far.
    pub fn fork(&mut self, source: u64, sequence: u64, count: usize) -> Result<()> {
        let count = i32::try_from(count).map_err(|_| Exception::custom(format!("{count} positions are too many")))?;
        // SAFETY: the store is alive and borrowed by nobody else.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_fork(self.raw.as_ptr(), source, sequence, count) })
    }

    /// Ends a sequence. Arrays that are yet to be evaluated keep what they need of it. An error if there is no such
    /// sequence.
    pub fn drop_sequence(&mut self, sequence: u64) -> Result<()> {
        // SAFETY: the store is alive and borrowed by nobody else.
        ffi::check(unsafe { ffi::mlx_ops_kv_store_drop(self.raw.as_ptr(), sequence) })
    }

    /// Bytes of keys and values held, those of dropped sequences included as long as an array refers to them.
    pub fn bytes(&self) -> usize {
        // SAFETY: the store is alive; the count is atomic.
        unsafe { ffi::mlx_ops_kv_store_bytes(self.raw.as_ptr()) }
    }

    /// Describes the rows of one step, which every layer then uses. Row by row in the order of `segments`.
    ///
    /// `inverse_frequencies` has `head_dim / 2` entries: position times entry is the angle by which a pair turns.
    /// An error, and no change, if a sequence is unknown, a segment is empty, skips positions or passes the limit. A
    /// segment may begin before the end of its sequence: what was there is forgotten. Steps must be evaluated in the
    /// order they were made.
    pub fn step(&mut self, segments: &[Segment], inverse_frequencies: &[f32]) -> Result<Step> {
        let segments = segments.iter().map(Segment::checked).collect::<Result<Vec<_>>>()?;
        let mut raw = std::ptr::null_mut();
        let (segments, frequencies) = (RawSlice::of(&segments), RawSlice::of(inverse_frequencies));
        // SAFETY: the store is alive and borrowed by nobody else; the slices are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_step_new(&raw mut raw, self.raw.as_ptr(), segments, frequencies) })?;
        NonNull::new(raw).map(Step::own).ok_or_else(|| Exception::custom("no step was made"))
    }
}

impl Drop for KvStore {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once. Steps hold on to the sequences they need, not to the store.
        unsafe { ffi::mlx_ops_kv_store_free(self.raw.as_ptr()) }
    }
}
