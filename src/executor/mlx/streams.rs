//! The streams that a model's work runs on, and waiting for their tasks when the model is dropped.
//!
//! A stream's thread frees a task's memory after the result is available to a waiting thread. If the process exits in
//! between, MLX's allocator is torn down while the stream's thread uses it, which corrupts the heap. Memory that a task
//! still holds is also not free for the next model. So dropping a model waits for its tasks, then clears MLX's cache.

use mlx_rs::{Device, DeviceType, Stream, memory};

use super::failure::{Mlx, device_error};
use crate::error::Result;

/// This thread's streams. After they are dropped, no task runs or follows, and no task holds memory.
pub(super) struct Streams {
    /// Runs steps.
    pub(super) steps: Stream,
    /// Reads weight files, which MLX does on the CPU only.
    pub(super) files: Stream,
}

impl Streams {
    /// The streams of MLX's default device, and the kind of that device.
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
        // After a failure the allocator keeps the memory, for the next model.
        memory::clear_cache().ok();
    }
}

/// Waits until the tasks of a stream have ended and are freed. Their errors are reported where results are read.
#[expect(unsafe_code, reason = "mlx-rs has no such function")]
fn wait(stream: &Stream) {
    // SAFETY: the handle is alive through the borrow, and of this thread, since neither it nor its owner can be sent.
    // The function reports by status; it does not unwind.
    unsafe { mlx_sys::mlx_synchronize(stream.as_ptr()) };
}
