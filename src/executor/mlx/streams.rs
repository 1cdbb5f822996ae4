//! The streams that a model's work runs on, and the wait for their end.
//!
//! A stream's thread lets go of a task's memory after whoever waited for the result has it. A process that exits
//! meanwhile tears MLX's allocator down under it, which corrupts the heap; and memory that a task holds is not free for
//! the next model. So a model that is dropped waits for its tasks, and then gives back what MLX's allocator keeps of it.

use mlx_rs::{Device, DeviceType, Stream, memory};

use super::failure::{Mlx, device_error};
use crate::error::Result;

/// This thread's streams. Dropped, they are quiet: no task is under way or to come, and none holds memory.
pub(super) struct Streams {
    /// Where models run.
    pub(super) steps: Stream,
    /// Where weight files are read: MLX does that with the CPU only.
    pub(super) files: Stream,
}

impl Streams {
    /// Those of MLX's default device, and what kind of device that is.
    pub(super) fn open() -> Result<(Self, DeviceType)> {
        let open = || -> Mlx<_> {
            let device = Device::try_default()?;
            let streams = Self { steps: Stream::try_default_on_device(&device)?, files: Stream::cpu() };
            Ok((streams, device.get_type()?))
        };
        open().map_err(|error| device_error("finding a device", error))
    }
}

/// The kind of MLX's default device.
pub(super) fn device() -> Result<DeviceType> {
    let kind = Device::try_default().and_then(|device| device.get_type());
    kind.map_err(|error| device_error("finding a device", error))
}

impl Drop for Streams {
    fn drop(&mut self) {
        wait(&self.files);
        wait(&self.steps);
        // Where this fails the memory stays with the allocator, for the next model.
        memory::clear_cache().ok();
    }
}

/// Returns once the tasks of a stream are done and gone. How they ended is for those who read what they computed.
#[expect(unsafe_code, reason = "mlx-rs has no such function")]
fn wait(stream: &Stream) {
    // SAFETY: the handle is alive through the borrow, and of this thread, since neither it nor its owner can be sent.
    // The function reports by status; it does not unwind.
    unsafe { mlx_sys::mlx_synchronize(stream.as_ptr()) };
}
