//! The state of a text pool: which jobs wait, which run on which thread, and what follows from the time. No threads are
//! started here and no lock is taken; `worker` does both.

use std::collections::{BTreeSet, VecDeque};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::turns::{Job, Load, Turns};
use crate::error::{Code, Error};

/// With this many jobs over budget that did not end, no more of their kind (light or heavy) are accepted until one ends.
pub const MAX_STUCK_JOBS: usize = 4;
/// Heavy jobs that run at the same time.
const MAX_HEAVY_JOBS: usize = 3;
/// Those of one tenant: another tenant always finds a place.
const MAX_HEAVY_JOBS_OF_TENANT: usize = 2;
/// Light jobs that turned out slow and run beside the others.
const MAX_SLOW_JOBS: usize = 4;
/// Bytes of all texts that wait or are being processed. A text that is alone may be longer.
const MAX_PENDING_BYTES: usize = 256 << 20;

/// What bounds the work of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Jobs that may wait.
    pub queue: usize,
    /// How long a job may hold up the jobs behind it. Then it goes on beside them.
    pub patience: Duration,
    /// How long a job may take; one with a long text may take longer.
    pub budget: Duration,
}

/// Jobs and threads.
pub(super) struct Crew {
    limits: PoolLimits,
    pub(super) turns: Turns,
    /// Each begins when all jobs with a lower number have ended.
    behind: VecDeque<Job>,
    /// Numbers of the jobs that were accepted and not answered.
    unanswered: BTreeSet<u64>,
    num_accepted: u64,
    running: Vec<Running>,
    /// The thread that takes jobs; none while too many light jobs are stuck.
    pub(super) lead: Option<JoinHandle<()>>,
    /// Threads ever started; the newest leads.
    pub(super) num_started: u64,
    num_stuck: Stuck,
    pub(super) is_lead_asleep: bool,
    /// When the watchdog looks; absent while it sleeps until it is woken.
    pub(super) looks_at: Option<Instant>,
    pub(super) is_closed: bool,
}

/// Jobs over budget that did not end, by kind.
#[derive(Default)]
struct Stuck {
    light: usize,
    heavy: usize,
}

/// A job that runs.
pub(super) struct Running {
    thread: u64,
    thread_id: ThreadId,
    number: u64,
    since: Instant,
    /// Its thread has stepped aside: another one leads.
    is_aside: bool,
    pub(super) load: Load,
    pub(super) fail: Box<dyn FnOnce(Error) + Send>,
}

impl Crew {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            turns: Turns::default(),
            behind: VecDeque::new(),
            unanswered: BTreeSet::new(),
            num_accepted: 0,
            running: Vec::new(),
            lead: None,
            num_started: 0,
            num_stuck: Stuck::default(),
            is_lead_asleep: false,
            looks_at: None,
            is_closed: false,
        }
    }

    /// Why a job is not accepted.
    pub(super) fn refusal(&self, load: &Load) -> Option<Error> {
        if self.lead.is_none() || (load.is_heavy() && self.num_stuck.heavy >= MAX_STUCK_JOBS) {
            return Some(self.busy());
        }
        let (waiting, capacity) = (self.turns.len(), self.limits.queue);
        if waiting >= capacity {
            let message = format!("{waiting} texts wait to be tokenized; at most {capacity} may");
            let error = Error::new(Code::Overloaded, message);
            return Some(error.with_limit(capacity as f64, waiting as f64 + 1.0));
        }
        let pending = self.turns.num_bytes() + self.running.iter().map(|running| running.load.num_bytes).sum::<usize>();
        let together = pending.saturating_add(load.num_bytes);
        if pending == 0 || together <= MAX_PENDING_BYTES {
            return None;
        }
        let message = format!(
            "texts of {pending} bytes wait to be tokenized; with this one it would be {together}, and at most \
             {MAX_PENDING_BYTES} may"
        );
        let error = Error::new(Code::Overloaded, message);
        Some(error.with_limit(MAX_PENDING_BYTES as f64, together as f64))
    }

    /// The number of a job that is accepted.
    pub(super) fn accept(&mut self) -> u64 {
        self.num_accepted += 1;
        self.unanswered.insert(self.num_accepted);
        self.num_accepted
    }

    /// Takes a job that begins behind all that were accepted before it.
    pub(super) fn push_behind(&mut self, job: Job) {
        self.behind.push_back(job);
    }

    /// The job that begins next.
    pub(super) fn next(&mut self) -> Option<Job> {
        let first = self.unanswered.first();
        if self.behind.front().is_some_and(|job| first == Some(&job.number)) {
            return self.behind.pop_front();
        }
        let heavy = || self.running.iter().filter(|running| running.load.is_heavy());
        let num_of = |tenant: Option<&str>| heavy().filter(|running| running.load.tenant.as_deref() == tenant).count();
        let is_full = heavy().count() >= MAX_HEAVY_JOBS;
        self.turns.pop(|tenant| !is_full && num_of(tenant) < MAX_HEAVY_JOBS_OF_TENANT)
    }

    /// A job begins on the calling thread.
    pub(super) fn begin(&mut self, thread: u64, Job { number, load, run, fail }: Job) -> Box<dyn FnOnce() + Send> {
        let (thread_id, since) = (thread::current().id(), Instant::now());
        self.running.push(Running { thread, thread_id, number, since, is_aside: false, load, fail });
        run
    }

    /// A job ended on its thread. What is returned may run a caller's code as it is dropped.
    pub(super) fn end(&mut self, thread: u64, is_heavy: bool) -> Option<Running> {
        let Some(at) = self.running.iter().position(|running| running.thread == thread) else {
            *self.num_stuck.of(is_heavy) -= 1;
            return None;
        };
        let running = self.running.swap_remove(at);
        self.answered(running.number);
        Some(running)
    }

    /// A job has its answer.
    pub(super) fn answered(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }

    /// Whether the thread may leave the lead to another one and go on with its job beside it.
    pub(super) fn may_step_aside(&self, thread: u64) -> bool {
        let num_slow = self.running.iter().filter(|running| running.is_aside && !running.load.is_heavy()).count();
        let Some(running) = self.running.iter().find(|running| running.thread == thread) else { return false };
        !self.is_closed && !running.is_aside && (running.load.is_heavy() || num_slow < MAX_SLOW_JOBS)
    }

    /// Another thread leads.
    pub(super) fn stepped_aside(&mut self, thread: u64) {
        self.running.iter_mut().filter(|running| running.thread == thread).for_each(|running| running.is_aside = true);
    }

    /// The thread that leads, if its job has taken too long for the jobs behind it.
    pub(super) fn slow_lead(&self, now: Instant) -> Option<u64> {
        let is_slow =
            |running: &&Running| !running.is_aside && now.duration_since(running.since) >= self.limits.patience;
        self.running.iter().find(is_slow).map(|running| running.thread)
    }

    /// A job that is over its budget. Its thread is left to it.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<Running> {
        let budget = self.limits.budget;
        let is_late = |running: &Running| now >= running.end(budget, self.is_closed);
        let late = self.running.swap_remove(self.running.iter().position(is_late)?);
        *self.num_stuck.of(late.load.is_heavy()) += 1;
        if late.thread == self.num_started {
            // The thread finds another number when it comes back. Dropping the handle lets it go its own way.
            self.num_started += 1;
            self.lead = None;
        }
        Some(late)
    }

    /// When something follows from the time again; nothing does while no job runs.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let PoolLimits { patience, budget, .. } = self.limits;
        let look = |running: &Running| match running.since + patience {
            // Where the lead could not be left to another thread, time alone changes nothing before the budget is over.
            soon if !running.is_aside && soon > now => soon.min(running.end(budget, self.is_closed)),
            _ => running.end(budget, self.is_closed),
        };
        self.running.iter().map(look).min()
    }

    /// Notes that a job begins now; says whether the watchdog must be woken, since it would look too late.
    pub(super) fn must_wake_watchdog(&mut self) -> bool {
        let at = Instant::now() + self.limits.patience.min(self.limits.budget);
        let is_late = self.looks_at.is_none_or(|looks_at| looks_at > at);
        if is_late {
            self.looks_at = Some(at);
        }
        is_late
    }

    /// Whether another thread may be started that takes jobs.
    pub(super) fn may_lead(&self) -> bool {
        self.num_stuck.light < MAX_STUCK_JOBS && !self.is_closed
    }

    /// The jobs that cannot begin because too many are stuck, and those that go behind others where none begins any more.
    pub(super) fn take_hopeless(&mut self) -> (Vec<Job>, Vec<Job>) {
        if self.lead.is_none() {
            return self.take_all();
        }
        let has_heavy = self.num_stuck.heavy >= MAX_STUCK_JOBS;
        (self.turns.drain(|load| has_heavy && load.is_heavy()), Vec::new())
    }

    /// Every job that waits, and those that go behind others.
    pub(super) fn take_all(&mut self) -> (Vec<Job>, Vec<Job>) {
        (self.turns.drain(|_| true), self.behind.drain(..).collect())
    }

    /// Why no job is accepted now: earlier jobs are at fault, and time mends it.
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
    /// When its time is over. A pool that is closed waits for the budget of all, and no longer.
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
