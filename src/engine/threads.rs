//! The OS threads that engines run on, one engine at a time. A device library keeps what it sets up for a thread until the
//! process ends: MLX a stream for each, with a thread and memory of its own. So a thread outlives its engine, and the
//! next engine runs on it. There are as many as there were engines at the same time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::lock::lock;

/// The threads that wait for an engine.
static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Dropped when the work has ended.
    ended: Sender<()>,
}

/// Work that was given to a thread.
pub(super) struct Work(Receiver<()>);

impl Work {
    /// Waits for its end.
    pub(super) fn wait(&self) {
        // Nothing is ever sent: the channel ends with the work.
        self.0.recv().ok();
    }
}

/// Runs work on a thread that waits for some, or on a new one.
pub(super) fn run(work: impl FnOnce() + Send + 'static) -> io::Result<Work> {
    let (ended, end) = bounded(0);
    let job = Job { work: Box::new(work), ended };
    let idle = lock(&IDLE).pop();
    let thread = idle.map_or_else(start, Ok)?;
    // It holds a sender of its own, so it reads whatever is sent.
    thread.send(job).map_err(|_| io::Error::other("the thread has ended"))?;
    Ok(Work(end))
}

fn start() -> io::Result<Sender<Job>> {
    let (sender, jobs) = bounded(1);
    let own = sender.clone();
    Builder::new().name("mlx-serving".into()).spawn(move || serve(&jobs, &own))?;
    Ok(sender)
}

fn serve(jobs: &Receiver<Job>, own: &Sender<Job>) {
    while let Ok(Job { work, ended }) = jobs.recv() {
        let has_panicked = catch_unwind(AssertUnwindSafe(work)).is_err();
        // What such a thread holds may be in any state: it ends.
        if has_panicked {
            return;
        }
        // Before its end is known: an engine that starts then finds this thread.
        lock(&IDLE).push(own.clone());
        drop(ended);
    }
}
