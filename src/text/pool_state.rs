//! The state of a text pool: which jobs wait, which jobs run on which thread, and when the watchdog must check. `pool`
//! starts threads and takes the lock.

use std::collections::{BTreeSet, VecDeque};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::jobs::{Job, JobQueue, Load};
use crate::error::{Code, Error};

/// With this many stuck jobs, which are over budget and still run, the pool rejects new jobs of their kind (light or
/// heavy).
pub const MAX_STUCK_JOBS: usize = 4;
/// Heavy jobs that run at the same time.
const MAX_HEAVY_JOBS: usize = 3;
/// Heavy jobs of one tenant that run at the same time. The rest is free for other tenants.
const MAX_HEAVY_JOBS_OF_TENANT: usize = 2;
/// Slow light jobs that run on detached threads.
const MAX_SLOW_JOBS: usize = 4;
/// Bytes of all texts that wait or run. A single text may be longer.
const MAX_PENDING_BYTES: usize = 256 << 20;

/// Limits of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Jobs that may wait.
    pub queue: usize,
    /// The time after which a job is detached, so that it no longer delays the jobs behind it.
    pub patience: Duration,
    /// The time after which a job fails. Jobs with a long text get [`Load::extra_time`] on top.
    pub budget: Duration,
}

/// Jobs and threads of a pool.
pub(super) struct PoolState {
    limits: PoolLimits,
    pub(super) queue: JobQueue,
    /// Each of these jobs begins when all jobs with a lower number have ended.
    barriers: VecDeque<Job>,
    /// Numbers of jobs that were accepted and not yet answered.
    unanswered: BTreeSet<u64>,
    num_accepted: u64,
    running: Vec<Running>,
    /// The thread that takes jobs; `None` while too many light jobs are stuck.
    pub(super) leader: Option<JoinHandle<()>>,
    /// Number of threads ever started. The newest thread is the leader.
    pub(super) num_started: u64,
    num_stuck: Stuck,
    pub(super) is_leader_asleep: bool,
    /// The time of the watchdog's next check; `None` while it sleeps until it is woken.
    pub(super) next_check: Option<Instant>,
    pub(super) is_closed: bool,
}

/// Jobs over budget that still run, by kind.
#[derive(Default)]
struct Stuck {
    light: usize,
    heavy: usize,
}

/// A running job.
pub(super) struct Running {
    thread: u64,
    thread_id: ThreadId,
    number: u64,
    since: Instant,
    /// Another thread is the leader.
    is_detached: bool,
    pub(super) load: Load,
    pub(super) fail: Box<dyn FnOnce(Error) + Send>,
}

impl PoolState {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            queue: JobQueue::default(),
            barriers: VecDeque::new(),
            unanswered: BTreeSet::new(),
            num_accepted: 0,
            running: Vec::new(),
            leader: None,
            num_started: 0,
            num_stuck: Stuck::default(),
            is_leader_asleep: false,
            next_check: None,
            is_closed: false,
        }
    }

    /// The reason for which a job is rejected.
    pub(super) fn refusal(&self, load: &Load) -> Option<Error> {
        if self.leader.is_none() || (load.is_heavy() && self.num_stuck.heavy >= MAX_STUCK_JOBS) {
            return Some(self.busy());
        }
        let (waiting, capacity) = (self.queue.len(), self.limits.queue);
        if waiting >= capacity {
            let message = format!("{waiting} texts wait to be tokenized; at most {capacity} are allowed");
            let error = Error::new(Code::Overloaded, message);
            return Some(error.with_limit(capacity as f64, waiting as f64 + 1.0));
        }
        let pending = self.queue.num_bytes() + self.running.iter().map(|running| running.load.num_bytes).sum::<usize>();
        let together = pending.saturating_add(load.num_bytes);
        if pending == 0 || together <= MAX_PENDING_BYTES {
            return None;
        }
        let message = format!(
            "texts of {pending} bytes wait to be tokenized; with this one there would be {together}, and at most \
             {MAX_PENDING_BYTES} are allowed"
        );
        let error = Error::new(Code::Overloaded, message);
        Some(error.with_limit(MAX_PENDING_BYTES as f64, together as f64))
    }

    /// Accepts a job and returns its number.
    pub(super) fn accept(&mut self) -> u64 {
        self.num_accepted += 1;
        self.unanswered.insert(self.num_accepted);
        self.num_accepted
    }

    /// Adds a job that begins after all jobs that were accepted before it.
    pub(super) fn push_barrier(&mut self, job: Job) {
        self.barriers.push_back(job);
    }

    /// Takes the next job that may begin.
    pub(super) fn next(&mut self) -> Option<Job> {
        let first = self.unanswered.first();
        if self.barriers.front().is_some_and(|job| first == Some(&job.number)) {
            return self.barriers.pop_front();
        }
        let heavy = || self.running.iter().filter(|running| running.load.is_heavy());
        let num_of = |tenant: Option<&str>| heavy().filter(|running| running.load.tenant.as_deref() == tenant).count();
        let is_full = heavy().count() >= MAX_HEAVY_JOBS;
        self.queue.pop(|tenant| !is_full && num_of(tenant) < MAX_HEAVY_JOBS_OF_TENANT)
    }

    /// A job begins on the calling thread.
    pub(super) fn begin(&mut self, thread: u64, Job { number, load, run, fail }: Job) -> Box<dyn FnOnce() + Send> {
        let (thread_id, since) = (thread::current().id(), Instant::now());
        self.running.push(Running { thread, thread_id, number, since, is_detached: false, load, fail });
        run
    }

    /// A job ended on its thread. Dropping the result may run a caller's code.
    pub(super) fn end(&mut self, thread: u64, is_heavy: bool) -> Option<Running> {
        let Some(at) = self.running.iter().position(|running| running.thread == thread) else {
            *self.num_stuck.of(is_heavy) -= 1;
            return None;
        };
        let running = self.running.swap_remove(at);
        self.answered(running.number);
        Some(running)
    }

    /// The caller of a job has its result.
    pub(super) fn answered(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }

    /// Whether another thread may become the leader while this one continues its job.
    pub(super) fn may_detach(&self, thread: u64) -> bool {
        let num_slow = self.running.iter().filter(|running| running.is_detached && !running.load.is_heavy()).count();
        let Some(running) = self.running.iter().find(|running| running.thread == thread) else { return false };
        !self.is_closed && !running.is_detached && (running.load.is_heavy() || num_slow < MAX_SLOW_JOBS)
    }

    /// The thread is no longer the leader.
    pub(super) fn detached(&mut self, thread: u64) {
        self.running
            .iter_mut()
            .filter(|running| running.thread == thread)
            .for_each(|running| running.is_detached = true);
    }

    /// The leader, if its job has run longer than [`PoolLimits::patience`].
    pub(super) fn slow_leader(&self, now: Instant) -> Option<u64> {
        let is_slow =
            |running: &&Running| !running.is_detached && now.duration_since(running.since) >= self.limits.patience;
        self.running.iter().find(is_slow).map(|running| running.thread)
    }

    /// Takes a job that is over its budget. The job keeps its thread.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<Running> {
        let budget = self.limits.budget;
        let is_late = |running: &Running| now >= running.end(budget, self.is_closed);
        let late = self.running.swap_remove(self.running.iter().position(is_late)?);
        *self.num_stuck.of(late.load.is_heavy()) += 1;
        if late.thread == self.num_started {
            // After the job, the thread sees that it is no longer the newest and ends. Dropping the handle detaches it.
            self.num_started += 1;
            self.leader = None;
        }
        Some(late)
    }

    /// The next time at which a check can change something; `None` while no job runs.
    pub(super) fn next_check_after(&self, now: Instant) -> Option<Instant> {
        let PoolLimits { patience, budget, .. } = self.limits;
        let look = |running: &Running| match running.since + patience {
            // In the other case the job is detached, or detaching failed. Nothing changes before the end of its budget.
            soon if !running.is_detached && soon > now => soon.min(running.end(budget, self.is_closed)),
            _ => running.end(budget, self.is_closed),
        };
        self.running.iter().map(look).min()
    }

    /// Notes that a job begins now. Returns whether the watchdog must be woken, because its next check comes too late.
    pub(super) fn must_wake_watchdog(&mut self) -> bool {
        let at = Instant::now() + self.limits.patience.min(self.limits.budget);
        let is_late = self.next_check.is_none_or(|next_check| next_check > at);
        if is_late {
            self.next_check = Some(at);
        }
        is_late
    }

    /// Whether another thread may become the leader.
    pub(super) fn may_start_leader(&self) -> bool {
        self.num_stuck.light < MAX_STUCK_JOBS && !self.is_closed
    }

    /// Takes the jobs that can no longer begin because too many jobs are stuck: ordinary jobs and barriers.
    pub(super) fn take_unrunnable(&mut self) -> (Vec<Job>, Vec<Job>) {
        if self.leader.is_none() {
            return self.take_all();
        }
        let has_heavy = self.num_stuck.heavy >= MAX_STUCK_JOBS;
        (self.queue.drain(|load| has_heavy && load.is_heavy()), Vec::new())
    }

    /// Takes all waiting jobs: ordinary jobs and barriers.
    pub(super) fn take_all(&mut self) -> (Vec<Job>, Vec<Job>) {
        (self.queue.drain(|_| true), self.barriers.drain(..).collect())
    }

    /// The error of a job that is rejected because earlier jobs are stuck. A retry can succeed.
    pub(super) fn busy(&self) -> Error {
        let budget = self.limits.budget;
        let message = format!(
            "the engine is busy: texts of earlier requests have taken longer than {} ms to process and keep its threads \
             for text. This request is not at fault: try it again later",
            budget.as_millis()
        );
        Error::new(Code::Overloaded, message).with_retry_after(budget)
    }

    /// The error of a job that is over its budget.
    pub(super) fn too_late(&self, load: &Load) -> Error {
        let budget = (self.limits.budget + load.extra_time()).as_millis();
        Error::new(load.late, format!("the text of this request took longer than {budget} ms to process"))
    }

    /// Whether the calling thread runs a job.
    pub(super) fn runs_here(&self) -> bool {
        self.running.iter().any(|running| running.thread_id == thread::current().id())
    }
}

impl Running {
    /// The end of the job's budget. A closed pool does not wait for the extra time of long texts.
    fn end(&self, budget: Duration, is_closed: bool) -> Instant {
        self.since + budget + if is_closed { Duration::ZERO } else { self.load.extra_time() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Stuck {
    fn of(&mut self, is_heavy: bool) -> &mut usize {
        if is_heavy { &mut self.heavy } else { &mut self.light }
    }
}
