//! The disk tier of the prefix cache: blocks of KV in the files of a folder, which outlive the process and the eviction from
//! memory. This room names blocks (`key`), writes and checks files (`file`, `folder`), and knows which blocks there are (`index`)
//! and what the disk was measured to read. `worker` is the thread that waits for the disk. The engine decides what is written and
//! read; executors copy KV from and to the device.

mod counts;
mod file;
mod folder;
mod index;
mod key;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::lock::lock;

pub use counts::DiskCounts;
pub use key::{BlockKey, Origin};
pub use queue::{Read, ReadEnd, Write, Written};

use folder::Folder;
use queue::State;
use worker::Worker;

/// The option that names the folder.
const PARAM: &str = "cache.prefixCache.path";

/// How long the end of a store waits for the read or write that is running.
const LAST_JOB: Duration = Duration::from_secs(1);

/// Called when a read has ended, and when there is room for another write.
pub type Notify = Box<dyn Fn() + Send + Sync>;

/// The disk tier of an engine, for any thread. No call waits for the disk, except [`open`](Self::open) and
/// [`finish`](Self::finish).
pub struct PrefixStore {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the handle and the worker share.
struct Shared {
    state: Mutex<State>,
    /// Something was queued or taken from the queue.
    changed: Condvar,
    notify: Notify,
    /// Whether this process may write the folder.
    is_writable: bool,
    /// Whether the worker has ended. Set under the lock of the state.
    has_left: AtomicBool,
}

/// What becomes of blocks that are queued to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// They are written, as far as that is possible until this time.
    WriteUntil(Instant),
    /// They are dropped, because the process is exiting.
    Drop,
}

impl PrefixStore {
    /// Opens a folder with at most `max_bytes` of blocks, and starts the thread that reads and writes. If there are more, those
    /// that were not used for longest are removed.
    ///
    /// `ConfigError` if the path is not a folder or cannot be made or read, `BackendError` if the thread cannot be started.
    pub fn open(path: PathBuf, max_bytes: u64, notify: Notify) -> Result<Arc<Self>> {
        let (folder, warning) = Folder::open(path)?;
        let mut state = State::default();
        state.warnings.extend(warning);
        let found = folder.blocks().unwrap_or_else(|error| {
            state.warn(format!("the KV in {} cannot be listed: {error}", folder.path().display()));
            Vec::new()
        });
        for found in found {
            state.index.insert(found.key, found.num_bytes);
        }
        state.limit(max_bytes);
        let is_writable = folder.is_writable();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { state, changed, notify, is_writable, has_left: AtomicBool::new(false) });
        let mut worker = Worker::new(folder, Arc::clone(&shared));
        let thread = Builder::new().name("mlx-serving-prefix".into()).spawn(move || worker.run()).map_err(|error| {
            Error::new(Code::BackendError, "the thread that keeps KV on the disk cannot be started").with_source(error)
        })?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Number of leading blocks of a prompt that the folder has, and the time that reading them should take. Reads that are
    /// queued count.
    pub fn find(&self, keys: &[BlockKey]) -> (usize, Duration) {
        let state = self.lock();
        let num_found = state.index.num_leading(keys);
        (num_found, state.read_time(&keys[..num_found]))
    }

    /// The first block of a prompt that is neither in the folder nor queued to be written.
    pub fn first_missing(&self, keys: &[BlockKey]) -> Option<usize> {
        let state = self.lock();
        keys.iter().position(|key| !state.has_or_writes(*key))
    }

    /// Whether blocks can be written: not if another process writes the folder.
    pub fn is_writable(&self) -> bool {
        self.shared.is_writable
    }

    /// Changes how many bytes of blocks the folder may have.
    pub fn limit(&self, max_bytes: u64) {
        self.lock().limit(max_bytes);
        self.shared.changed.notify_all();
    }

    /// Reads blocks. `read.done` is called once, on the thread of the store, also if the store is closed before.
    pub fn read(&self, read: Read) {
        let mut state = self.lock();
        if state.closing.is_some() {
            drop(state);
            return read.end(Vec::new());
        }
        state.push_read(read);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Writes a block behind those that are queued, if there is room.
    pub fn write(&self, write: Write) -> Written {
        let written = self.lock().push_write(write);
        self.shared.changed.notify_all();
        written
    }

    /// Whether there is room for a write.
    pub fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Waits until there is room for a write, at most until `until`. For an engine that is shutting down.
    pub fn wait_for_room(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !state.has_room() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closing.is_some() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Forgets all blocks at once, and removes their files soon. What is being read or written is dropped. A process that only
    /// reads the folder leaves the files.
    pub fn clear(&self) {
        let dropped = self.lock().clear(self.shared.is_writable);
        self.shared.changed.notify_all();
        drop(dropped);
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut DiskCounts)) {
        change(&mut self.lock().counts);
    }

    /// The counts at this moment.
    pub fn counts(&self) -> DiskCounts {
        self.lock().counts()
    }

    /// The problems since the last call, as sentences for users.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().warnings)
    }

    /// Ends the thread and releases the folder. Queued reads end without blocks. A thread that hangs in a read or a write is left
    /// behind. A second call has no effect.
    pub fn finish(&self, pending: Pending) {
        self.lock().closing.get_or_insert(pending);
        self.shared.changed.notify_all();
        let thread = lock(&self.thread).take();
        let until = match pending {
            Pending::WriteUntil(at) => at,
            Pending::Drop => Instant::now(),
        };
        // The last handle may be dropped by a callback, on the thread itself.
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        if let Some(thread) = thread.filter(|_| self.has_left(until + LAST_JOB)) {
            thread.join().ok();
        }
    }

    /// Waits until the thread has ended, at most until a time. Returns whether it has.
    fn has_left(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !self.shared.has_left.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether nothing is queued or running.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// As if the disk had been measured to read so many bytes a second.
    #[cfg(test)]
    pub(crate) fn slow_down(&self, bytes_per_second: f64) {
        self.lock().slow_down(bytes_per_second);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl Drop for PrefixStore {
    fn drop(&mut self) {
        self.finish(Pending::Drop);
    }
}
