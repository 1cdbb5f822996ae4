//! The OS threads that engines and loads run on, one at a time. A device library keeps what it sets up for a thread until the
//! process ends: MLX a stream for each, with a thread and memory of its own. So a thread outlives its work, and the
//! next engine or load runs on it. There are as many as there were engines, or loads, at the same time.

use std::io;
use std::sync::Mutex;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::lock::lock;
use crate::panics;
use crate::text::LOAD_STACK_BYTES;

/// Threads of one kind.
pub(super) struct Pool {
    name: &'static str,
    /// Bytes of stack; the system's default where absent.
    stack: Option<usize>,
    /// Those that wait for work.
    idle: Mutex<Vec<Sender<Job>>>,
}

/// Where engines run.
pub(super) static ENGINES: Pool = Pool::new("mlx-serving", None);
/// Where models are loaded.
pub(super) static LOADS: Pool = Pool::new("mlx-serving-load", Some(LOAD_STACK_BYTES));

struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Dropped when `work` has ended.
    ended: Sender<()>,
}

/// Work that runs on a thread of this module.
pub(super) struct Work(Receiver<()>);

impl Work {
    /// Blocks until the work has ended.
    pub(super) fn wait(&self) {
        // Nothing is sent: the channel closes when the work ends.
        self.0.recv().ok();
    }
}

impl Pool {
    const fn new(name: &'static str, stack: Option<usize>) -> Self {
        Self { name, stack, idle: Mutex::new(Vec::new()) }
    }

    /// Runs work on a thread that waits for some, or on a new one. Where there is none to be had, the work is dropped.
    pub(super) fn run(&'static self, work: impl FnOnce() + Send + 'static) -> io::Result<Work> {
        let (ended, end) = bounded(0);
        let job = Job { work: Box::new(work), ended };
        let idle = lock(&self.idle).pop();
        let thread = idle.map_or_else(|| self.start(), Ok)?;
        // It holds a sender of its own, so it reads whatever is sent.
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
            // What such a thread holds may be in any state: it ends.
            if has_panicked {
                return;
            }
            // Before its end is known: an engine that starts then finds this thread.
            lock(&self.idle).push(own.clone());
            drop(ended);
        }
    }
}
