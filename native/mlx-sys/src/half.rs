//! Half-precision numbers of the C interface, and the functions that use them.
//!
//! The C headers declare these only for compilers with half types; here they exist on every target. `cpp/half.cpp` defines
//! those that mlx-c lacks.

use std::ffi::c_int;

use crate::mlx_array;

/// The 16 bits of an IEEE half-precision number.
#[allow(non_camel_case_types)] // mlx-rs calls it by this name
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct float16_t(pub u16);

/// The 16 bits of a bfloat16 number.
#[allow(non_camel_case_types)] // mlx-rs calls it by this name
pub type bfloat16_t = u16;

unsafe extern "C" {
    /// Evaluates an array of one element and stores it in `res`; returns non-zero and reports an error if it cannot.
    pub fn mlx_array_item_float16(res: *mut float16_t, arr: mlx_array) -> c_int;
    /// Evaluates an array of one element and stores it in `res`; returns non-zero and reports an error if it cannot.
    pub fn mlx_array_item_bfloat16(res: *mut bfloat16_t, arr: mlx_array) -> c_int;
    /// The data of an evaluated array, valid as long as the array is.
    pub fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t;
    /// The data of an evaluated array, valid as long as the array is.
    pub fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t;
}
