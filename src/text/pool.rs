//! The text pool: threads for text jobs. A job that is slow, panics or never ends harms neither its caller nor other
//! jobs. This file owns the threads and the watchdog; `jobs` and `pool_state` decide which job begins when.
//!
//! The leader is a thread that takes one job after another, so short jobs begin and end in the order of their arrival.
//! A long text, or a job that takes longer than [`PoolLimits::patience`], detaches its thread: another thread becomes
//! the leader, and the detached one ends with its job. The watchdog sleeps while no job runs; a stream of short jobs
//! costs it ten wakes a second. A job over budget fails at once and keeps its thread, because a thread cannot be
//! stopped from outside.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::Span;

use super::jobs::{Job, Load};
use super::pool_state::{PoolLimits, PoolState, Running};
use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::panics;

/// A hostile template can nest a value as deeply as it has instructions, and printing it takes 420 to 840 bytes of
/// stack a level. This is address space: memory is used when it is touched, and freed with the thread.
const STACK_BYTES: usize = 512 << 20;
const WATCHDOG_STACK_BYTES: usize = 1 << 20;

/// A job that the pool did not accept.
pub struct Refused<D> {
    /// The reason.
    pub error: Error,
    /// The job's callback, which was not called.
    pub done: D,
}

/// Runs slow or untrusted text jobs on other threads.
///
/// Dropping it waits for running jobs, at most their budget. Waiting jobs fail with `EngineClosed`.
pub struct TextPool {
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl TextPool {
    /// Starts the pool. `name` is the name of its threads in debuggers.
    ///
    /// `BackendError` if the system cannot start a thread.
    pub fn start(name: &str, limits: PoolLimits) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::new(PoolState::new(limits)),
            work: Condvar::new(),
            watch: Condvar::new(),
        });
        start_leader(&shared, &mut shared.lock())?;
        let watched = Arc::clone(&shared);
        let watchdog = spawn(format!("{name}-watch"), WATCHDOG_STACK_BYTES, move || watch(&watched))?;
        Ok(Self { shared, watchdog: Some(watchdog) })
    }

    /// Runs `job` on a thread of the pool. If this returns `Ok`, `done` is called exactly once, on that thread or on
    /// the watchdog. Its argument is the job's result; `TokenizerError` if the job panicked; [`Load::late`] if it
    /// exceeded the budget; `Overloaded` if stuck jobs keep it from beginning; or `EngineClosed`. If this returns an
    /// error, the error contains `done`.
    ///
    /// `Overloaded` if too many jobs wait, or if [`super::MAX_STUCK_JOBS`] jobs are stuck.
    pub fn run<T: Send + 'static, D: FnOnce(Result<T>) + Send + 'static>(
        &self,
        load: Load,
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: D,
    ) -> Result<(), Refused<D>> {
        let mut state = self.shared.lock();
        if let Some(error) = state.refusal(&load) {
            return Err(Refused { error, done });
        }
        let number = state.accept();
        state.queue.push(Job::new(number, load, job, done));
        self.shared.wake_leader(state);
        Ok(())
    }

    /// Calls `done` once all jobs that were accepted before are answered. The limits of the queue do not apply. If too
    /// many jobs are stuck, `done` is called at once, on this thread.
    pub fn run_after_accepted(&self, done: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        if state.leader.is_none() {
            drop(state);
            return done();
        }
        let number = state.accept();
        state.push_barrier(Job::new(number, Load::default(), || Ok(()), move |_| done()));
        self.shared.wake_leader(state);
    }
}

impl Drop for TextPool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let (queued, barriers) = state.take_all();
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        // A job or its `done` may drop the last owner, and a thread cannot join itself.
        let is_inside = state.runs_here() || [&state.leader, &self.watchdog].into_iter().flatten().any(is_own);
        drop(state);
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        for job in queued.into_iter().chain(barriers) {
            quietly(|| {
                (job.fail)(Error::new(Code::EngineClosed, "the engine was closed before the text was processed"));
            });
        }
        if is_inside {
            return;
        }
        // The watchdog ends once no job runs, or every running job is over budget. Then the leader can end.
        if let Some(watchdog) = self.watchdog.take() {
            quietly(|| drop(watchdog.join()));
        }
        let leader = self.shared.lock().leader.take();
        if let Some(leader) = leader {
            quietly(|| drop(leader.join()));
        }
    }
}

impl<D> fmt::Debug for Refused<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

impl fmt::Debug for TextPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPool").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

struct Shared {
    name: String,
    state: Mutex<PoolState>,
    /// Wakes the leader.
    work: Condvar,
    /// Wakes the watchdog.
    watch: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        lock(&self.state)
    }

    fn wake_leader(&self, mut state: MutexGuard<'_, PoolState>) {
        if std::mem::take(&mut state.is_leader_asleep) {
            drop(state);
            self.work.notify_one();
        }
    }
}

fn start_leader(shared: &Arc<Shared>, state: &mut PoolState) -> Result<()> {
    let number = state.num_started + 1;
    let owned = Arc::clone(shared);
    let thread = spawn(shared.name.clone(), STACK_BYTES, move || work(&owned, number))?;
    // The new thread waits for the lock, which this thread holds.
    state.num_started = number;
    state.is_leader_asleep = false;
    state.leader = Some(thread);
    Ok(())
}

/// The main loop of a thread: it leads until it is detached, and then ends with its job.
fn work(shared: &Arc<Shared>, number: u64) {
    let mut state = shared.lock();
    while state.num_started == number {
        let Some(job) = state.next() else {
            if state.is_closed {
                return;
            }
            state.is_leader_asleep = true;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.is_leader_asleep = false;
        let (is_heavy, is_long) = (job.load.is_heavy(), job.load.is_long());
        let run = state.begin(number, job);
        if is_long {
            detach(shared, &mut state, number);
        }
        let must_wake = state.must_wake_watchdog();
        drop(state);
        if must_wake {
            shared.watch.notify_one();
        }
        quietly(run);
        state = ended(shared, number, is_heavy);
    }
}

/// A job ended: other jobs may begin.
fn ended(shared: &Shared, number: u64, is_heavy: bool) -> MutexGuard<'_, PoolState> {
    let mut state = shared.lock();
    let ended = state.end(number, is_heavy);
    if state.is_closed || state.num_started != number {
        shared.watch.notify_one();
    }
    shared.wake_leader(state);
    drop(ended);
    shared.lock()
}

/// Makes another thread the leader, if the system can start one.
fn detach(shared: &Arc<Shared>, state: &mut PoolState, number: u64) {
    if state.may_detach(number) && start_leader(shared, state).is_ok() {
        state.detached(number);
    }
}

fn watch(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    loop {
        if state.leader.is_none() && state.may_start_leader() {
            // If the system cannot start a thread, the next finished job or the next check tries again.
            drop(start_leader(shared, &mut state));
        }
        let now = Instant::now();
        if let Some(late) = state.take_late(now) {
            state = abandon(shared, state, late);
            continue;
        }
        if let Some(number) = state.slow_leader(now) {
            detach(shared, &mut state, number);
        }
        state.next_check = state.next_check_after(now);
        state = match state.next_check {
            None if state.is_closed => return,
            None => shared.watch.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let wait = at.saturating_duration_since(now);
                shared.watch.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Fails a job that is over budget, and the jobs that cannot begin because of it.
fn abandon<'a>(
    shared: &'a Arc<Shared>,
    mut state: MutexGuard<'a, PoolState>,
    late: Running,
) -> MutexGuard<'a, PoolState> {
    if state.leader.is_none() && state.may_start_leader() {
        drop(start_leader(shared, &mut state));
    }
    let (refused, barriers) = state.take_unrunnable();
    let (too_late, busy) = (state.too_late(&late.load), state.busy());
    drop(state);
    let mut answered = vec![late.number()];
    tracing::warn!(target: "mlx_serving::text", job = late.number(), "a text job takes longer than its time budget");
    quietly(|| (late.fail)(too_late));
    for job in refused {
        answered.push(job.number);
        quietly(|| (job.fail)(busy.clone()));
    }
    for job in barriers {
        answered.push(job.number);
        quietly(job.run);
    }
    let mut state = shared.lock();
    for number in answered {
        state.answered(number);
    }
    shared.wake_leader(state);
    shared.lock()
}

fn spawn(name: String, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let span = Span::current();
    thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(move || span.in_scope(body))
        .map_err(|error| Error::new(Code::BackendError, "the system cannot start a thread for text").with_source(error))
}

/// Runs a caller's code: a panic in it must not end a thread of the pool.
fn quietly(work: impl FnOnce()) {
    drop(panics::catch(work));
}
