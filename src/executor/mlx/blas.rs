//! Limits `OpenBLAS` to one thread, if MLX is linked with it. On small matrices its threads cost more than they gain, and
//! its workers deadlock a process that exits while they run. An `OpenBLAS` that another package loaded is left unchanged.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// Does nothing if the BLAS is another library.
#[expect(unsafe_code, reason = "a C function found by its name")]
pub(super) fn use_one_thread() {
    let Some(function) = find(c"openblas_set_num_threads") else { return };
    // SAFETY: OpenBLAS declares `void openblas_set_num_threads(int)`; it may be called at any time.
    unsafe {
        let set_num_threads = std::mem::transmute::<*mut c_void, extern "C" fn(c_int)>(function.as_ptr());
        set_num_threads(1);
    }
}

/// Finds a function of this library or of the libraries it is linked with.
///
/// The global scope is not searched, because it also has preloaded libraries and those that other packages opened with
/// `RTLD_GLOBAL`. In a test, this code is the program itself; its own libraries come first in the global scope.
#[expect(unsafe_code, reason = "the dynamic loader's own functions")]
fn find(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: `dladdr` fills `info` or returns 0, and the name it gives lives as long as this library. `dlopen` and `dlsym` get
    // valid C strings and a handle that is not closed; with RTLD_NOLOAD nothing is loaded.
    unsafe {
        let mut info = std::mem::zeroed::<libc::Dl_info>();
        let inside = use_one_thread as *const c_void;
        if libc::dladdr(inside, &raw mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        let file = CStr::from_ptr(info.dli_fname);
        let file = if is_program(file) { None } else { Some(CString::from(file)) };
        let path = file.as_ref().map_or(std::ptr::null(), |file| file.as_ptr());
        let own = NonNull::new(libc::dlopen(path, libc::RTLD_LAZY | libc::RTLD_NOLOAD))?;
        NonNull::new(libc::dlsym(own.as_ptr(), name.as_ptr()))
    }
}

/// Whether a file is the executable of this process.
fn is_program(file: &CStr) -> bool {
    let file = Path::new(std::ffi::OsStr::from_bytes(file.to_bytes())).canonicalize();
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    matches!((file, program), (Ok(file), Ok(program)) if file == program)
}
