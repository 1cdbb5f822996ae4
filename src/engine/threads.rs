//! The OS threads of engines. MLX keeps the stream that it makes for a thread, with memory and a thread of its own, until the
//! process ends. So a thread outlives its engine, and the next engine reuses it: there are never more threads than
//! engines that ran at the same time. `thread` is what runs on one.

use std::io;
use std::sync::Mutex;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::lock::lock;
use crate::panics;

/// The threads without an engine.
static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

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

/// Runs work on an idle thread, or on a new one.
pub(super) fn run(work: impl FnOnce() + Send + 'static) -> io::Result<Work> {
    let (ended, end) = bounded(0);
    let job = Job { work: Box::new(work), ended };
    let idle = lock(&IDLE).pop();
    let thread = idle.map_or_else(start, Ok)?;
    // An idle thread holds a sender of its own channel, so it is still receiving.
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
        let has_panicked = panics::catch(work).is_err();
        // The thread-local state of the device library may be inconsistent after a panic, so the thread is not reused.
        if has_panicked {
            return;
        }
        // Pushed before the end is signalled, so that an engine started after that end finds this thread.
        lock(&IDLE).push(own.clone());
        drop(ended);
    }
}
