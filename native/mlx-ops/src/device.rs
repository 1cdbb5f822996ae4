//! What MLX says of its GPU.

use std::ffi::CStr;

use mlx_sys::{
    mlx_device_free, mlx_device_get_type, mlx_device_info_free, mlx_device_info_get, mlx_device_info_get_size,
    mlx_device_info_has_key, mlx_device_info_new, mlx_device_new, mlx_device_type__MLX_GPU, mlx_get_default_device,
};

/// The name of the number that Metal recommends.
const WORKING_SET: &CStr = c"max_recommended_working_set_size";

/// The bytes that MLX's GPU can use at a time without a loss of speed. `None` if MLX's default device is no GPU, or has no such
/// number.
pub fn gpu_working_set() -> Option<u64> {
    // SAFETY: the handle is new, and freed below.
    let mut device = unsafe { mlx_device_new() };
    // SAFETY: the handle is valid for writes, and the name ends with a zero.
    let bytes = unsafe { working_set_of(&mut device) };
    // SAFETY: nothing uses the handle any more.
    unsafe { mlx_device_free(device) };
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
}

/// # Safety
///
/// `device` is a handle of MLX that may be written.
unsafe fn working_set_of(device: &mut mlx_sys::mlx_device) -> Option<usize> {
    let mut kind = 0;
    // SAFETY: both pointers are valid for writes.
    let is_gpu = unsafe {
        mlx_get_default_device(device) == 0
            && mlx_device_get_type(&raw mut kind, *device) == 0
            && kind == mlx_device_type__MLX_GPU
    };
    if !is_gpu {
        return None;
    }
    // SAFETY: the handle is new, and freed below.
    let mut info = unsafe { mlx_device_info_new() };
    let (mut has_it, mut bytes) = (false, 0_usize);
    // SAFETY: all pointers are valid for writes, and the name ends with a zero.
    let is_read = unsafe {
        mlx_device_info_get(&raw mut info, *device) == 0
            && mlx_device_info_has_key(&raw mut has_it, info, WORKING_SET.as_ptr()) == 0
            && has_it
            && mlx_device_info_get_size(&raw mut bytes, info, WORKING_SET.as_ptr()) == 0
    };
    // SAFETY: nothing uses the handle any more.
    unsafe { mlx_device_info_free(info) };
    is_read.then_some(bytes)
}
