//! Declarations of `cpp/api.cpp`, and conversion of its status into errors.
//!
//! The C interface: layouts that both sides share, and calls that return a status. The callers ensure safety.

use std::ffi::{CStr, c_char, c_int};
use std::marker::{PhantomData, PhantomPinned};

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};
use mlx_sys::{mlx_array, mlx_stream};

use crate::kv_update::KvSlot;

/// A C++ object, used through pointers only.
#[repr(C)]
pub(crate) struct Opaque<Kind> {
    bytes: [u8; 0],
    kind: PhantomData<(Kind, PhantomPinned)>,
}

pub(crate) enum ChainKind {}
pub(crate) enum PackedKind {}
pub(crate) enum StoreKind {}
pub(crate) enum KvUpdateKind {}
pub(crate) enum StepKind {}

#[repr(C)]
#[derive(Default)]
pub(crate) struct RawShape {
    pub(crate) num_layers: i32,
    pub(crate) num_kv_heads: i32,
    pub(crate) head_dim: i32,
    pub(crate) max_positions: i32,
}

#[repr(C)]
pub(crate) struct RawSegment {
    pub(crate) sequence: u64,
    pub(crate) start: i32,
    pub(crate) count: i32,
}

/// Copies the first `count` positions of a slot to another slot, or sets them to zero.
#[repr(C)]
pub(crate) struct RawMove {
    /// Negative: the positions become zeros.
    pub(crate) from_slab: i32,
    pub(crate) from_slot: i32,
    pub(crate) to_slab: i32,
    pub(crate) to_slot: i32,
    pub(crate) count: i32,
}

/// The destination of a row. A row with a negative slab is not written.
#[repr(C)]
pub(crate) struct RawPlace {
    pub(crate) slab: i32,
    pub(crate) slot: i32,
    pub(crate) position: i32,
}

/// Slots of the list, and how many positions of each.
#[repr(C)]
pub(crate) struct RawRead {
    pub(crate) first: i32,
    pub(crate) num_slots: i32,
    pub(crate) count: i32,
}

/// A stage of a chain. The kind decides which fields are used.
#[repr(C)]
pub(crate) struct RawStage {
    pub(crate) kind: StageKind,
    pub(crate) weight: mlx_array,
    pub(crate) packed: *const Opaque<PackedKind>,
    pub(crate) bias: mlx_array,
    pub(crate) version: u32,
    pub(crate) onto_kept: bool,
    pub(crate) layer: i32,
    pub(crate) number: f32,
    pub(crate) shape: RawShape,
}

#[repr(u32)]
pub(crate) enum StageKind {
    RmsNorm,
    Linear,
    Attention,
    Swiglu,
    Keep,
}

/// A slice for C++, valid for the call only.
#[repr(C)]
pub(crate) struct RawSlice<Item> {
    items: *const Item,
    count: usize,
}

impl<Item> RawSlice<Item> {
    pub(crate) fn of(items: &[Item]) -> Self {
        Self { items: items.as_ptr(), count: items.len() }
    }
}

unsafe extern "C" {
    fn mlx_ops_last_error() -> *const c_char;
    fn mlx_ops_count(out: *mut usize, root: mlx_array) -> c_int;
    pub(crate) fn mlx_ops_pack(out: *mut *mut Opaque<PackedKind>, weight: mlx_array, stream: mlx_stream) -> c_int;
    pub(crate) fn mlx_ops_packed_free(packed: *mut Opaque<PackedKind>);
    pub(crate) fn mlx_ops_chain_new(
        out: *mut *mut Opaque<ChainKind>,
        width: i32,
        stages: RawSlice<RawStage>,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_chain_free(chain: *mut Opaque<ChainKind>);
    pub(crate) fn mlx_ops_chain_run(
        out: *mut mlx_array,
        chain: *const Opaque<ChainKind>,
        x: mlx_array,
        step: *const Opaque<StepKind>,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_checked(
        out: *mut mlx_array,
        logits: mlx_array,
        tokens: mlx_array,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_kv_store_new(out: *mut *mut Opaque<StoreKind>, shape: *const RawShape) -> c_int;
    pub(crate) fn mlx_ops_kv_store_free(store: *mut Opaque<StoreKind>);
    pub(crate) fn mlx_ops_kv_store_create(store: *mut Opaque<StoreKind>, id: u64) -> c_int;
    pub(crate) fn mlx_ops_kv_store_fork(store: *mut Opaque<StoreKind>, source: u64, id: u64, count: i32) -> c_int;
    pub(crate) fn mlx_ops_kv_store_drop(store: *mut Opaque<StoreKind>, id: u64) -> c_int;
    pub(crate) fn mlx_ops_kv_store_export(
        store: *const Opaque<StoreKind>,
        id: u64,
        block: i32,
        out: *mut f32,
        count: usize,
    ) -> c_int;
    pub(crate) fn mlx_ops_kv_store_import(store: *mut Opaque<StoreKind>, id: u64, floats: RawSlice<f32>) -> c_int;
    pub(crate) fn mlx_ops_kv_store_bytes(store: *const Opaque<StoreKind>) -> usize;
    pub(crate) fn mlx_ops_step_new(
        out: *mut *mut Opaque<StepKind>,
        store: *mut Opaque<StoreKind>,
        segments: RawSlice<RawSegment>,
        inverse_frequencies: RawSlice<f32>,
    ) -> c_int;
    pub(crate) fn mlx_ops_step_free(step: *mut Opaque<StepKind>);
    pub(crate) fn mlx_ops_kv_update_new(
        out: *mut *mut Opaque<KvUpdateKind>,
        moves: RawSlice<RawMove>,
        places: RawSlice<RawPlace>,
        slots: RawSlice<KvSlot>,
        reads: RawSlice<RawRead>,
    ) -> c_int;
    pub(crate) fn mlx_ops_kv_update_free(update: *mut Opaque<KvUpdateKind>);
    pub(crate) fn mlx_ops_kv_update_run(
        out: *mut mlx_array,
        update: *const Opaque<KvUpdateKind>,
        slabs: RawSlice<mlx_array>,
        rows: *const [mlx_array; 2],
        stream: mlx_stream,
    ) -> c_int;
}

/// Turns a status into a result.
#[track_caller]
pub(crate) fn check(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the message is a NUL-terminated string of this thread, unchanged until its next failing call.
    let message = unsafe { CStr::from_ptr(mlx_ops_last_error()) };
    Err(Exception::custom(message.to_string_lossy()))
}

/// The number of operations that an evaluation of an array would run. It determines the overhead of a step.
pub fn count_operations(root: &Array) -> Result<usize> {
    let mut count = 0;
    // SAFETY: the borrow keeps the handle alive.
    check(unsafe { mlx_ops_count(&raw mut count, root.as_ptr()) }).map(|()| count)
}

/// A handle without an array.
pub(crate) fn no_array() -> mlx_array {
    mlx_array { ctx: std::ptr::null_mut() }
}

/// Calls a function that makes an array on this thread's default stream.
#[track_caller]
pub(crate) fn make_array(call: impl FnOnce(*mut mlx_array, mlx_stream) -> c_int) -> Result<Array> {
    let stream = Stream::thread_local_or_default();
    // SAFETY: makes an empty handle, which owns nothing.
    let mut handle = unsafe { mlx_sys::mlx_array_new() };
    let status = call(&raw mut handle, stream.as_ptr());
    // SAFETY: the handle has no other owner. If the call did not set it, it is empty, and may be freed.
    let array = unsafe { Array::from_ptr(handle) };
    check(status).map(|()| array)
}
