//! A named thread for text jobs, guarded: a job that panics or does not end harms neither the caller nor the next job.
//! Owns the queue, the worker and the watchdog; knows nothing of what jobs do.
//!
//! Three parties meet under one lock. The *caller* queues. The *worker* takes one job after another. The *watchdog*
//! sleeps while nothing runs; once the worker got busy it wakes at the earliest moment at which a job can have exceeded
//! its budget, so a stream of short jobs costs it one wake per budget. A job over budget is answered, and its thread is
//! left behind: threads cannot be ended from outside. Another takes its place.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::lock::lock;

/// With this many jobs that did not end, none is accepted until one of them does.
pub const MAX_STUCK_JOBS: usize = 4;
/// A hostile template can nest a value as deep as it has instructions, and printing it takes some 420 to 840 bytes of
/// stack a level. Only address space: memory is taken when it is touched, and given back with the thread.
const STACK_BYTES: usize = 512 << 20;
const WATCHDOG_STACK_BYTES: usize = 1 << 20;

/// Work that was not taken.
pub struct Refused<D> {
    /// Why.
    pub error: Error,
    /// What was to be told of it; it was not called.
    pub done: D,
}

/// Runs slow or untrusted text work away from its caller, in the order in which it was handed over.
///
/// Dropping it waits for the running job (at most its budget); those in the queue are answered with `EngineClosed`.
pub struct TextThread {
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl TextThread {
    /// Starts the thread. `name` is what debuggers show, `queue` how many jobs may wait, `budget` how long one may run.
    ///
    /// `BackendError` where the system gives no thread.
    pub fn start(name: &str, queue: usize, budget: Duration) -> Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            running: None,
            worker: None,
            num_stuck: 0,
            num_started: 0,
            is_worker_asleep: false,
            is_watching: false,
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            capacity: queue,
            budget,
            state: Mutex::new(state),
            work: Condvar::new(),
            watch: Condvar::new(),
        });
        start_worker(&shared, &mut shared.lock())?;
        let watched = Arc::clone(&shared);
        let watchdog = spawn(format!("{name}-watch"), WATCHDOG_STACK_BYTES, move || watch(&watched))?;
        Ok(Self { shared, watchdog: Some(watchdog) })
    }

    /// Runs `job` on the text thread. `done` is called exactly once if this returns `Ok`, on the text thread or the
    /// watchdog's: with the job's result, or with `TokenizerError` where it panicked or exceeded the budget, or with
    /// `EngineClosed`. If this returns an error, `done` comes back with it.
    ///
    /// `Overloaded` where the queue is full; `TokenizerError` where [`MAX_STUCK_JOBS`] jobs did not come to an end.
    pub fn run<T: Send + 'static, D: FnOnce(Result<T>) + Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: D,
    ) -> Result<(), Refused<D>> {
        let state = self.shared.lock();
        if state.worker.is_none() {
            return Err(Refused { error: too_many_stuck(), done });
        }
        let (capacity, waiting) = (self.shared.capacity, state.queue.len());
        if waiting >= capacity {
            let message = format!("{waiting} texts wait to be tokenized; at most {capacity} may");
            let error = Error::new(Code::Overloaded, message).with_limit(capacity as f64, waiting as f64 + 1.0);
            return Err(Refused { error, done });
        }
        self.push(state, Job::new(job, done));
        Ok(())
    }

    /// Calls `done` behind every job in the queue, also behind a full one: for what must not overtake them, and is rare.
    /// Where too many jobs are stuck none waits, and it is called at once, on this thread.
    pub fn run_behind(&self, done: impl FnOnce() + Send + 'static) {
        let state = self.shared.lock();
        if state.worker.is_none() {
            drop(state);
            return done();
        }
        self.push(state, Job::new(|| Ok(()), move |_| done()));
    }

    fn push(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.queue.push_back(job);
        if std::mem::take(&mut state.is_worker_asleep) {
            drop(state);
            self.shared.work.notify_one();
        }
    }
}

impl Drop for TextThread {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let queued = std::mem::take(&mut state.queue);
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        // The last owner may be a job or its `done`: a thread cannot wait for itself.
        let is_inside = state.worker.as_ref().is_some_and(is_own) || self.watchdog.as_ref().is_some_and(is_own);
        drop(state);
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        for job in queued {
            quietly(|| (job.fail)(Error::new(Code::EngineClosed, "the engine was closed before the text's turn came")));
        }
        if is_inside {
            return;
        }
        // The watchdog ends once nothing runs or what runs has been left behind; then a worker that is left will end.
        if let Some(watchdog) = self.watchdog.take() {
            quietly(|| drop(watchdog.join()));
        }
        let worker = self.shared.lock().worker.take();
        if let Some(worker) = worker {
            quietly(|| drop(worker.join()));
        }
    }
}

impl<D> fmt::Debug for Refused<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

impl fmt::Debug for TextThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextThread").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// What a panic said, if it said it in words.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

struct Shared {
    name: String,
    capacity: usize,
    budget: Duration,
    state: Mutex<State>,
    /// Wakes the worker.
    work: Condvar,
    /// Wakes the watchdog.
    watch: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    running: Option<Running>,
    /// The thread that takes jobs, or none while too many are stuck.
    worker: Option<JoinHandle<()>>,
    num_stuck: usize,
    /// Workers ever started; the newest one is the one that takes jobs.
    num_started: u64,
    is_worker_asleep: bool,
    /// Whether the watchdog has a time at which it looks; if not, it must be told when a job begins.
    is_watching: bool,
    is_closed: bool,
}

struct Running {
    since: Instant,
    fail: Box<dyn FnOnce(Error) + Send>,
}

/// A job with its caller's `done`, which goes to whoever comes first: the end of the job or its failure.
struct Job {
    run: Box<dyn FnOnce() + Send>,
    fail: Box<dyn FnOnce(Error) + Send>,
}

impl Job {
    fn new<T: Send + 'static>(
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let for_end = Arc::new(Mutex::new(Some(done)));
        let for_failure = Arc::clone(&for_end);
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
                let message = format!("the text could not be processed: panic: {}", panic_message(panic.as_ref()));
                Err(Error::new(Code::TokenizerError, message))
            });
            if let Some(done) = lock(&for_end).take() {
                done(result);
            }
        };
        let fail = move |error| {
            let done = lock(&for_failure).take();
            if let Some(done) = done {
                done(Err(error));
            }
        };
        Self { run: Box::new(run), fail: Box::new(fail) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn start_worker(shared: &Arc<Shared>, state: &mut State) -> Result<()> {
    state.num_started += 1;
    let number = state.num_started;
    let owned = Arc::clone(shared);
    state.worker = Some(spawn(shared.name.clone(), STACK_BYTES, move || work(&owned, number))?);
    Ok(())
}

fn work(shared: &Shared, number: u64) {
    let mut state = shared.lock();
    loop {
        let Some(job) = state.queue.pop_front() else {
            if state.is_closed {
                return;
            }
            state.is_worker_asleep = true;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.is_worker_asleep = false;
        state.running = Some(Running { since: Instant::now(), fail: job.fail });
        let must_tell = !std::mem::replace(&mut state.is_watching, true);
        drop(state);
        if must_tell {
            shared.watch.notify_one();
        }
        quietly(job.run);
        state = shared.lock();
        if state.num_started != number {
            return come_back(shared, state);
        }
        let finished = state.running.take();
        if state.is_closed {
            shared.watch.notify_one();
        }
        drop(state);
        drop(finished);
        state = shared.lock();
    }
}

/// A job that was given up did end after all. Its thread goes; if it was one too many, there is room for a worker again.
fn come_back(shared: &Shared, mut state: MutexGuard<'_, State>) {
    state.num_stuck -= 1;
    drop(state);
    shared.watch.notify_one();
}

fn watch(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    loop {
        if state.worker.is_none() && state.num_stuck < MAX_STUCK_JOBS && !state.is_closed {
            // Without a thread to be had, the next job that comes back, or the next look, tries again.
            drop(start_worker(shared, &mut state));
        }
        let Some(since) = state.running.as_ref().map(|running| running.since) else {
            if state.is_closed {
                return;
            }
            state.is_watching = false;
            state = shared.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = shared.budget.saturating_sub(since.elapsed());
        if left.is_zero() {
            state = abandon(shared, state);
        } else {
            state = shared.watch.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Leaves the worker to its job and answers for it.
fn abandon<'a>(shared: &'a Arc<Shared>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    let running = state.running.take();
    // Forgetting the handle lets the thread go its own way; the new number tells it so when it comes back.
    state.worker = None;
    state.num_started += 1;
    state.num_stuck += 1;
    let is_replaced = state.num_stuck < MAX_STUCK_JOBS && !state.is_closed && start_worker(shared, &mut state).is_ok();
    let refused = if is_replaced { VecDeque::new() } else { std::mem::take(&mut state.queue) };
    drop(state);
    let message = format!("the text took longer than {} ms to process", shared.budget.as_millis());
    if let Some(running) = running {
        quietly(|| (running.fail)(Error::new(Code::TokenizerError, message)));
    }
    for job in refused {
        quietly(|| (job.fail)(too_many_stuck()));
    }
    shared.lock()
}

fn spawn(name: String, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(body)
        .map_err(|error| Error::new(Code::BackendError, "the system gives no thread for text").with_source(error))
}

/// Runs a caller's code; a panic in it is none of ours, and must not end a thread that others need.
fn quietly(work: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(work)));
}

fn too_many_stuck() -> Error {
    let message = format!("{MAX_STUCK_JOBS} texts are being processed without an end in sight; no more are accepted");
    Error::new(Code::TokenizerError, message)
}
