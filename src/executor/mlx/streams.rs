//! The streams that the work of models runs on, and the wait for their end.
//!
//! A stream's thread frees a task's memory after the result is available to a waiting thread. If the process exits in
//! between, MLX's allocator is torn down while the stream's thread uses it, which corrupts the heap. Memory that a task
//! still holds is also not free for the next model. So dropping a model waits for its tasks, then clears MLX's cache.

use std::cell::Cell;

use mlx_rs::transforms::eval;
use mlx_rs::{Array, Device, DeviceType, Stream, memory};

use super::failure::{Mlx, device_error};
use crate::error::Result;

/// This thread's stream for steps. After it is dropped, no task runs or follows, and no task holds memory.
pub(super) struct Streams {
    /// Runs steps.
    pub(super) steps: Stream,
}

impl Streams {
    /// The stream of MLX's default device, and the kind of that device.
    pub(super) fn open() -> Result<Self> {
        Ok(Self { steps: of_device().map_err(|error| device_error("finding a device", error))? })
    }
}

/// This thread's stream on MLX's default device.
pub(super) fn of_device() -> Mlx<Stream> {
    Stream::try_default_on_device(&Device::try_default()?)
}

/// The stream on which a load thread reads and converts weights. It is a CPU stream on every device, because MLX reads files on
/// the CPU and other models use the GPU. After it is dropped, no task runs or follows.
pub(super) struct LoadStream {
    stream: Stream,
    gives_back: Cell<bool>,
}

impl LoadStream {
    /// The stream of this thread.
    pub(super) fn open() -> Self {
        Self { stream: Stream::cpu(), gives_back: Cell::new(true) }
    }

    pub(super) fn get(&self) -> &Stream {
        &self.stream
    }

    /// Keeps the buffers of a successful load in MLX's cache, where running models can reuse them. The buffers of a failed load
    /// are freed, because they may be as large as the weights.
    pub(super) fn keep_memory(&self) {
        self.gives_back.set(false);
    }
}

impl Drop for LoadStream {
    fn drop(&mut self) {
        wait(&self.stream);
        if self.gives_back.get() {
            memory::clear_cache().ok();
        }
    }
}

/// The kind of MLX's default device.
pub(super) fn device() -> Result<DeviceType> {
    let kind = Device::try_default().and_then(|device| device.get_type());
    kind.map_err(|error| device_error("finding a device", error))
}

impl Drop for Streams {
    fn drop(&mut self) {
        wait(&self.steps);
        // After a failure the allocator keeps the memory, for the next model.
        memory::clear_cache().ok();
    }
}

/// Evaluates arrays that several threads will share. MLX marks an evaluated array as available when it is next used. Here it
/// is marked at once, because two threads must not write the mark at the same time.
pub(super) fn settle<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Mlx<()> {
    let arrays: Vec<_> = arrays.into_iter().collect();
    eval(arrays.iter().copied())?;
    arrays.into_iter().try_for_each(Array::eval)
}

/// Waits until the tasks of a stream have ended and are freed. Their errors are reported where results are read.
#[expect(unsafe_code, reason = "mlx-rs has no such function")]
fn wait(stream: &Stream) {
    // SAFETY: the handle is alive through the borrow, and of this thread, since neither it nor its owner can be sent.
    // The function reports by status; it does not unwind.
    unsafe { mlx_sys::mlx_synchronize(stream.as_ptr()) };
}
