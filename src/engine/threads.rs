//! The OS threads of engines and loads. MLX keeps the stream that it makes for a thread, with memory and a thread of its own,
//! until the process ends. So a thread outlives its work, and the next engine or load reuses it: there are never more threads
//! than engines, or loads, that ran at the same time.

use std::io;
use std::sync::Mutex;
use std::thread::{self, Builder};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tracing::Span;

use crate::lock::lock;
use crate::panics;
use crate::text::LOAD_STACK_BYTES;

/// Threads of one kind.
pub(super) struct Pool {
    name: &'static str,
    /// Bytes of stack; the system's default if absent.
    stack: Option<usize>,
    /// The threads without work.
    idle: Mutex<Vec<Sender<Job>>>,
}

/// Threads of engines.
pub(super) static ENGINES: Pool = Pool::new("mlx-serving", None);
/// Threads of loads.
pub(super) static LOADS: Pool = Pool::new("mlx-serving-load", Some(LOAD_STACK_BYTES));

struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Dropped when `work` has ended.
    ended: Sender<()>,
}

/// Work that runs on a thread of this module. Clones stand for the same work.
#[derive(Clone)]
pub(super) struct Work(Receiver<()>);

impl Work {
    /// Whether the work has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Empty)
    }

    /// Blocks until the work has ended, at most until `until`.
    pub(super) fn wait_until(&self, until: Instant) {
        // Nothing is sent: the channel closes when the work ends.
        self.0.recv_deadline(until).ok();
    }
}

impl Pool {
    const fn new(name: &'static str, stack: Option<usize>) -> Self {
        Self { name, stack, idle: Mutex::new(Vec::new()) }
    }

    /// Whether the current thread is one of these.
    pub(super) fn is_current(&self) -> bool {
        thread::current().name() == Some(self.name)
    }

    /// Runs work on an idle thread, or on a new one, in the span of the caller. If no thread can be started, the work is dropped.
    pub(super) fn run(&'static self, work: impl FnOnce() + Send + 'static) -> io::Result<Work> {
        let (ended, end) = bounded(0);
        let span = Span::current();
        let job = Job { work: Box::new(move || span.in_scope(work)), ended };
        let idle = lock(&self.idle).pop();
        let thread = idle.map_or_else(|| self.start(), Ok)?;
        // An idle thread holds a sender of its own channel, so it is still receiving.
        thread.send(job).map_err(|_| io::Error::other("the thread has ended"))?;
        Ok(Work(end))
    }

    fn start(&'static self) -> io::Result<Sender<Job>> {
        let (sender, jobs) = bounded(1);
        let own = sender.clone();
        let mut thread = Builder::new().name(self.name.into());
        if let Some(bytes) = self.stack {
            thread = thread.stack_size(bytes);
        }
        thread.spawn(move || self.serve(&jobs, &own))?;
        Ok(sender)
    }

    fn serve(&self, jobs: &Receiver<Job>, own: &Sender<Job>) {
        while let Ok(Job { work, ended }) = jobs.recv() {
            let has_panicked = panics::catch(work).is_err();
            // The thread-local state of the device library may be inconsistent after a panic, so the thread is not reused.
            if has_panicked {
                return;
            }
            // Pushed before the end is signalled, so that an engine started after that end finds this thread.
            lock(&self.idle).push(own.clone());
            drop(ended);
        }
    }
}
