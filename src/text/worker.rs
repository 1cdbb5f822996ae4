//! Threads for text jobs, guarded: a job that is slow, panics or does not end harms neither its caller nor other jobs.
//! Owns the threads and the watchdog; knows nothing of what jobs do. Which job begins when is `turns` and `crew`.
//!
//! One thread leads: it takes one job after another, so short jobs begin and end in the order in which they came. A job
//! that takes longer than its patience, and every long text from its beginning, goes on beside: another thread leads, and
//! this one ends with its job. The watchdog sleeps while nothing runs; a stream of short jobs costs it ten wakes a second.
//! A job over budget is answered, and its thread is left behind: threads cannot be ended from outside.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::crew::{Crew, PoolLimits, Running};
use super::turns::{Job, Load};
use crate::error::{Code, Error, Result};
use crate::lock::lock;

pub(super) use super::turns::panic_message;

/// A hostile template can nest a value as deep as it has instructions, and printing it takes some 420 to 840 bytes of
/// stack a level. Only address space: memory is taken when it is touched, and given back with the thread.
const STACK_BYTES: usize = 512 << 20;
const WATCHDOG_STACK_BYTES: usize = 1 << 20;

/// Work that was not taken.
pub struct Refused<D> {
    /// Why.
    pub error: Error,
    /// What was to be called with its outcome; it was not called.
    pub done: D,
}

/// Runs slow or untrusted text work away from its caller.
///
/// Dropping it waits for the running jobs (at most their budget); those that wait are answered with `EngineClosed`.
pub struct TextPool {
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl TextPool {
    /// Starts the pool. `name` is what debuggers show.
    ///
    /// `BackendError` where the system gives no thread.
    pub fn start(name: &str, limits: PoolLimits) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            crew: Mutex::new(Crew::new(limits)),
            work: Condvar::new(),
            watch: Condvar::new(),
        });
        start_lead(&shared, &mut shared.lock())?;
        let watched = Arc::clone(&shared);
        let watchdog = spawn(format!("{name}-watch"), WATCHDOG_STACK_BYTES, move || watch(&watched))?;
        Ok(Self { shared, watchdog: Some(watchdog) })
    }

    /// Runs `job` on a thread of the pool. `done` is called exactly once if this returns `Ok`, on that thread or the
    /// watchdog's: with the job's result, with `TokenizerError` where it panicked, with [`Load::late`] where it exceeded
    /// the budget, with `Overloaded` where other jobs keep it from beginning, or with `EngineClosed`. If this returns an
    /// error, `done` comes back with it.
    ///
    /// `Overloaded` where too much waits, or too many jobs ([`super::MAX_STUCK_JOBS`]) did not come to an end.
    pub fn run<T: Send + 'static, D: FnOnce(Result<T>) + Send + 'static>(
        &self,
        load: Load,
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: D,
    ) -> Result<(), Refused<D>> {
        let mut crew = self.shared.lock();
        if let Some(error) = crew.refusal(&load) {
            return Err(Refused { error, done });
        }
        let number = crew.accept();
        crew.turns.push(Job::new(number, load, job, done));
        self.shared.wake_lead(crew);
        Ok(())
    }

    /// Calls `done` once all jobs that were accepted before are answered; there is always room for it. For what must not
    /// overtake them, and is rare. Where too many jobs are stuck it is called at once, on this thread.
    pub fn run_behind(&self, done: impl FnOnce() + Send + 'static) {
        let mut crew = self.shared.lock();
        if crew.lead.is_none() {
            drop(crew);
            return done();
        }
        let number = crew.accept();
        crew.push_behind(Job::new(number, Load::default(), || Ok(()), move |_| done()));
        self.shared.wake_lead(crew);
    }
}

impl Drop for TextPool {
    fn drop(&mut self) {
        let mut crew = self.shared.lock();
        crew.is_closed = true;
        let (queued, behind) = crew.take_all();
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        // The last owner may be a job or its `done`: a thread cannot wait for itself.
        let is_inside = crew.runs_here() || [&crew.lead, &self.watchdog].into_iter().flatten().any(is_own);
        drop(crew);
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        for job in queued.into_iter().chain(behind) {
            quietly(|| (job.fail)(Error::new(Code::EngineClosed, "the engine was closed before the text's turn came")));
        }
        if is_inside {
            return;
        }
        // The watchdog ends once nothing runs or what runs has been left behind; then a thread that leads will end.
        if let Some(watchdog) = self.watchdog.take() {
            quietly(|| drop(watchdog.join()));
        }
        let lead = self.shared.lock().lead.take();
        if let Some(lead) = lead {
            quietly(|| drop(lead.join()));
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
    crew: Mutex<Crew>,
    /// Wakes the thread that leads.
    work: Condvar,
    /// Wakes the watchdog.
    watch: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Crew> {
        lock(&self.crew)
    }

    fn wake_lead(&self, mut crew: MutexGuard<'_, Crew>) {
        if std::mem::take(&mut crew.is_lead_asleep) {
            drop(crew);
            self.work.notify_one();
        }
    }
}

fn start_lead(shared: &Arc<Shared>, crew: &mut Crew) -> Result<()> {
    let number = crew.num_started + 1;
    let owned = Arc::clone(shared);
    let thread = spawn(shared.name.clone(), STACK_BYTES, move || work(&owned, number))?;
    // The new thread waits for the lock that is held here.
    crew.num_started = number;
    crew.is_lead_asleep = false;
    crew.lead = Some(thread);
    Ok(())
}

/// The life of a thread: it leads until its job takes too long, and ends with that job.
fn work(shared: &Arc<Shared>, number: u64) {
    let mut crew = shared.lock();
    while crew.num_started == number {
        let Some(job) = crew.next() else {
            if crew.is_closed {
                return;
            }
            crew.is_lead_asleep = true;
            crew = shared.work.wait(crew).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        crew.is_lead_asleep = false;
        let (is_heavy, is_long) = (job.load.is_heavy(), job.load.is_long());
        let run = crew.begin(number, job);
        if is_long {
            step_aside(shared, &mut crew, number);
        }
        let must_wake = crew.must_wake_watchdog();
        drop(crew);
        if must_wake {
            shared.watch.notify_one();
        }
        quietly(run);
        crew = ended(shared, number, is_heavy);
    }
}

/// A job ended: others may begin now.
fn ended(shared: &Shared, number: u64, is_heavy: bool) -> MutexGuard<'_, Crew> {
    let mut crew = shared.lock();
    let ended = crew.end(number, is_heavy);
    if crew.is_closed || crew.num_started != number {
        shared.watch.notify_one();
    }
    shared.wake_lead(crew);
    drop(ended);
    shared.lock()
}

/// Leaves the lead to another thread, if one can be had.
fn step_aside(shared: &Arc<Shared>, crew: &mut Crew, number: u64) {
    if crew.may_step_aside(number) && start_lead(shared, crew).is_ok() {
        crew.stepped_aside(number);
    }
}

fn watch(shared: &Arc<Shared>) {
    let mut crew = shared.lock();
    loop {
        if crew.lead.is_none() && crew.may_lead() {
            // Without a thread to be had, the next job that comes back, or the next look, tries again.
            drop(start_lead(shared, &mut crew));
        }
        let now = Instant::now();
        if let Some(late) = crew.take_late(now) {
            crew = abandon(shared, crew, late);
            continue;
        }
        if let Some(number) = crew.slow_lead(now) {
            step_aside(shared, &mut crew, number);
        }
        crew.looks_at = crew.next_look(now);
        crew = match crew.looks_at {
            None if crew.is_closed => return,
            None => shared.watch.wait(crew).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let wait = at.saturating_duration_since(now);
                shared.watch.wait_timeout(crew, wait).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Answers for a job that is left to its thread, and for those that cannot begin because of it.
fn abandon<'a>(shared: &'a Arc<Shared>, mut crew: MutexGuard<'a, Crew>, late: Running) -> MutexGuard<'a, Crew> {
    if crew.lead.is_none() && crew.may_lead() {
        drop(start_lead(shared, &mut crew));
    }
    let (refused, behind) = crew.take_hopeless();
    let (too_late, busy) = (crew.too_late(&late.load), crew.busy());
    drop(crew);
    let mut answered = vec![late.number()];
    quietly(|| (late.fail)(too_late));
    for job in refused {
        answered.push(job.number);
        quietly(|| (job.fail)(busy.clone()));
    }
    for job in behind {
        answered.push(job.number);
        quietly(job.run);
    }
    let mut crew = shared.lock();
    for number in answered {
        crew.answered(number);
    }
    shared.wake_lead(crew);
    shared.lock()
}

fn spawn(name: String, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(body)
        .map_err(|error| Error::new(Code::BackendError, "the system gives no thread for text").with_source(error))
}

/// Runs a caller's code; a panic in it must not end a thread that others need.
fn quietly(work: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(work)));
}
