//! The priority of load threads on Linux. Steps get most of a CPU that they share with a load; a load gets all of an idle CPU.

use std::io;

/// Steps of niceness below the process. A thread at 5 gets about a third of the time of one at 0.
const BELOW: i32 = 5;

/// Lowers the priority of this thread, and of the threads that MLX starts from it. Calling it again changes nothing.
#[expect(unsafe_code, reason = "the standard library has no priorities of threads")]
pub(super) fn lower() -> io::Result<()> {
    // SAFETY: these functions take numbers only. On Linux the id 0 is the calling thread, and a process's id its main thread.
    let lowered = unsafe {
        let of_process = libc::getpriority(libc::PRIO_PROCESS, std::process::id());
        libc::setpriority(libc::PRIO_PROCESS, 0, of_process.saturating_add(BELOW).min(19))
    };
    if lowered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
