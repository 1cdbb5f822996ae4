//! Declarations of `cpp/api.cpp`, and its failures as errors.
//!
//! Owns the C border: layouts that both sides must agree on, and the rule that every call reports by status. What makes
//! the calls safe is with the callers.

use std::ffi::{CStr, c_char, c_int};
use std::marker::{PhantomData, PhantomPinned};

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};
use mlx_sys::{mlx_array, mlx_stream};

/// A C++ object that is only ever pointed to.
#[repr(C)]
pub(crate) struct Opaque<Kind> {
    bytes: [u8; 0],
    kind: PhantomData<(Kind, PhantomPinned)>,
}

pub(crate) enum StoreKind {}
pub(crate) enum StepKind {}

#[repr(C)]
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

#[repr(C)]
pub(crate) struct RawLayer {
    pub(crate) step: *const Opaque<StepKind>,
    pub(crate) index: i32,
    pub(crate) scale: f32,
}

#[repr(C)]
pub(crate) struct RawPacked {
    pub(crate) panels: mlx_array,
    pub(crate) outputs: i32,
    pub(crate) version: u32,
}

/// A slice as C++ takes it: valid for the call only.
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
    pub(crate) fn mlx_ops_rms_norm(
        out: *mut mlx_array,
        inputs: *const mlx_array,
        eps: f32,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_add_rms_norm(
        out: *mut mlx_array,
        inputs: *const mlx_array,
        eps: f32,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_swiglu(out: *mut mlx_array, gate_up: mlx_array, stream: mlx_stream) -> c_int;
    pub(crate) fn mlx_ops_linear(
        out: *mut mlx_array,
        x: mlx_array,
        weight: *const RawPacked,
        onto: *const mlx_array,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_ragged_attention(
        out: *mut mlx_array,
        qkv: mlx_array,
        layer: *const RawLayer,
        stream: mlx_stream,
    ) -> c_int;
    pub(crate) fn mlx_ops_kv_store_new(out: *mut *mut Opaque<StoreKind>, shape: *const RawShape) -> c_int;
    pub(crate) fn mlx_ops_kv_store_free(store: *mut Opaque<StoreKind>);
    pub(crate) fn mlx_ops_kv_store_create(store: *mut Opaque<StoreKind>, id: u64) -> c_int;
    pub(crate) fn mlx_ops_kv_store_fork(store: *mut Opaque<StoreKind>, source: u64, id: u64, count: i32) -> c_int;
    pub(crate) fn mlx_ops_kv_store_drop(store: *mut Opaque<StoreKind>, id: u64) -> c_int;
    pub(crate) fn mlx_ops_kv_store_bytes(store: *const Opaque<StoreKind>) -> usize;
    pub(crate) fn mlx_ops_step_new(
        out: *mut *mut Opaque<StepKind>,
        store: *mut Opaque<StoreKind>,
        segments: RawSlice<RawSegment>,
        inverse_frequencies: RawSlice<f32>,
    ) -> c_int;
    pub(crate) fn mlx_ops_step_free(step: *mut Opaque<StepKind>);
}

/// Turns a status into a result.
#[track_caller]
pub(crate) fn check(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the message is a NUL-terminated string of this thread's, unchanged until its next failing call.
    let message = unsafe { CStr::from_ptr(mlx_ops_last_error()) };
    Err(Exception::custom(message.to_string_lossy()))
}

/// Calls a function that makes `N` arrays on this thread's default stream.
#[track_caller]
pub(crate) fn make_arrays<const N: usize>(
    call: impl FnOnce(*mut mlx_array, mlx_stream) -> c_int,
) -> Result<[Array; N]> {
    let stream = Stream::thread_local_or_default();
    // SAFETY: makes an empty handle, which owns nothing yet.
    let mut handles = [unsafe { mlx_sys::mlx_array_new() }; N];
    let status = call(handles.as_mut_ptr(), stream.as_ptr());
    // SAFETY: nobody else owns the handles; one that the call did not set is still empty, and freeing that is allowed.
    let arrays = handles.map(|handle| unsafe { Array::from_ptr(handle) });
    check(status).map(|()| arrays)
}
