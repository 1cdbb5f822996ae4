//! Keeps `OpenBLAS`, where it is the BLAS that MLX was given, to one thread: on small matrices its threads cost more than
//! they bring, and its workers deadlock a process that exits while they run.

use std::ffi::{CStr, c_int, c_void};

/// Harmless where the BLAS is another one.
#[expect(unsafe_code, reason = "a C function found by its name")]
pub(super) fn use_one_thread() {
    let Some(function) = find(c"openblas_set_num_threads") else { return };
    // SAFETY: OpenBLAS declares `void openblas_set_num_threads(int)`; it may be called at any time.
    unsafe {
        let set_num_threads = std::mem::transmute::<*mut c_void, extern "C" fn(c_int)>(function);
        set_num_threads(1);
    }
}

/// A function of this library or of the libraries it was linked with. Node loads an addon out of sight of the global
/// scope, so where that scope does not have the function the addon itself is asked.
#[expect(unsafe_code, reason = "the dynamic loader's own functions")]
fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `dlsym` and `dlopen` get valid C strings and a handle that lives as long as this library, which is never
    // unloaded while its code runs; `dladdr` fills `info` or returns 0.
    let found = unsafe {
        let global = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        if global.is_null() {
            let mut info = std::mem::zeroed::<libc::Dl_info>();
            let inside = use_one_thread as *const c_void;
            if libc::dladdr(inside, &raw mut info) == 0 || info.dli_fname.is_null() {
                return None;
            }
            let own = libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if own.is_null() { own } else { libc::dlsym(own, name.as_ptr()) }
        } else {
            global
        }
    };
    (!found.is_null()).then_some(found)
}
