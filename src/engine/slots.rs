//! Decides which requests are accepted, and when a refused caller should come back. A request is refused when the queue is full
//! or when it would wait too long. Refused callers form a virtual queue: each is promised the next slot, and slots follow each
//! other at the interval at which places become free while requests wait. Places are reserved for slots that are due or soon
//! will be, so that a caller that was just answered does not take them. Has no clock: `now` is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

use super::demand::Demand;
use super::ids::Replica;
use super::pending::{Caller, Pending};
use super::snapshot::Refusal;
use super::turnover::Turnover;

/// A slot is reserved for this long after it is due.
const GRACE: Duration = Duration::from_millis(250);
/// A caller may be early by this much: timers count whole milliseconds.
const EARLY: Duration = Duration::from_millis(1);
/// The longest retry hint.
const LONGEST: Duration = Duration::from_mins(1);
/// The most slots at a time. A caller beyond gets a retry hint and no slot.
const MAX_SLOTS: usize = 4_096;
/// The first slot is due after the mean time of an answer on the device, times this factor. A place that is free too early waits
/// for its caller, but a caller that comes too early is refused again.
const SLACK: f64 = 1.25;
/// The time between two slots is the time between two places that become free, times this factor.
const SLOWER: f64 = 1.03;
/// Callers are a flood when more than this many times as many are refused as places become free.
const FLOOD: usize = 2;
/// In an overload, the longest wait is at least this.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// In an overload, the longest wait is this part of the mean time of an answer on the device, or `LEAST_WAIT` if that is longer.
const WAIT_BY_STAY: f64 = 0.5;

/// The virtual queue of an engine, for its callers and its runners.
#[derive(Debug)]
pub(super) struct SharedSlots(Mutex<Slots>);

impl SharedSlots {
    pub(super) fn new(limit: usize, max_wait: Option<Duration>) -> Self {
        Self(Mutex::new(Slots::new(limit, max_wait)))
    }

    /// See [`Slots::enter`].
    pub(super) fn enter(&self, now: Instant, caller: &Caller, count: usize) -> Result<(), Refused> {
        lock(&self.0).enter(now, caller, count)
    }

    /// See [`Slots::leave`].
    pub(super) fn leave(&self, caller: &Caller) {
        lock(&self.0).leave(caller);
    }

    /// Requests that were accepted and have not ended.
    pub(super) fn num_pending(&self) -> usize {
        lock(&self.0).pending.count()
    }

    /// The retry hint of a caller that is refused for another reason.
    pub(super) fn promise(&self, now: Instant, count: usize) -> Duration {
        lock(&self.0).promise(now, count, Duration::ZERO)
    }

    /// See [`Slots::report`].
    pub(super) fn report(&self, replica: Replica, places: Places) {
        lock(&self.0).report(replica, places);
    }

    /// See [`Slots::forget`].
    pub(super) fn forget(&self, is_gone: impl Fn(Replica) -> bool) {
        lock(&self.0).forget(is_gone);
    }

    /// Requests begin to wait for rows.
    pub(super) fn wanted(&self, now: Instant) {
        lock(&self.0).turnover.wanted(now);
    }

    /// A model of this size was loaded. See [`Turnover::opened`].
    pub(super) fn opened(&self, weight_bytes: u64) {
        lock(&self.0).turnover.opened(weight_bytes);
    }

    /// A generation has ended. `stay` is how long it was on the device, if it was, and its tokens. See [`Turnover::freed`].
    pub(super) fn ended(&self, now: Instant, is_wanted: bool, stay: Option<(Duration, usize)>) {
        let mut slots = lock(&self.0);
        slots.turnover.freed(now, is_wanted);
        if let Some((stay, num_tokens)) = stay {
            slots.turnover.stayed(stay, num_tokens);
        }
    }

    /// The most requests that may be on the device at a time.
    pub(super) fn most_rows(&self) -> usize {
        lock(&self.0).limit
    }
}

/// Why a caller was refused, and when it should come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: Refusal,
    pub(super) retry_after: Duration,
    /// The expected wait for a row.
    pub(super) wait: Duration,
    /// The longest wait, where it is limited.
    pub(super) max_wait: Option<Duration>,
}

/// The virtual queue itself.
#[derive(Debug)]
pub(super) struct Slots {
    /// Places of the engine.
    limit: usize,
    /// The longest wait at any time, where the user sets one.
    max_wait: Option<Duration>,
    pending: Pending,
    /// Slots that were promised and not taken, in order.
    promised: VecDeque<Instant>,
    pub(super) turnover: Turnover,
    demand: Demand,
    /// Counts refusals.
    period: Option<Period>,
    replicas: BTreeMap<Replica, Places>,
}

/// The rows of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// Rows that it may run at a time.
    pub(super) num_rows: usize,
    /// Its pending requests that hold no row and wait for none, because their readers are behind.
    pub(super) num_behind: usize,
}

/// A period in which refusals are counted. It is as long as the mean time of an answer on the device.
#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    num_refused: usize,
    /// Periods in a row before it with too many refusals.
    num_flooded: u32,
}

impl Slots {
    pub(super) fn new(limit: usize, max_wait: Option<Duration>) -> Self {
        Self {
            limit,
            max_wait,
            pending: Pending::default(),
            promised: VecDeque::new(),
            turnover: Turnover::new(limit),
            demand: Demand::default(),
            period: None,
            replicas: BTreeMap::new(),
        }
    }

    /// Accepts a request with `count` answers, or refuses it.
    pub(super) fn enter(&mut self, now: Instant, caller: &Caller, count: usize) -> Result<(), Refused> {
        self.demand.arrived(now, count, self.turnover.settled_interval());
        let is_due = self.take_due(now, count);
        let reserved = if is_due { 0 } else { self.reserved(now) };
        let num_behind: usize = self.replicas.values().map(|places| places.num_behind).sum();
        let ahead = (self.pending.ahead(caller) + count - 1).saturating_sub(num_behind);
        let wait = self.turnover.wait(ahead + reserved);
        let max_wait = self.max_wait(now, caller);
        let excess = max_wait.map_or(Duration::ZERO, |most| wait.saturating_sub(most));
        let is_full = self.pending.count() + count + reserved > self.limit;
        if !is_full && excess.is_zero() {
            self.pending.add(caller, count);
            return Ok(());
        }
        let why = if is_full { Refusal::Pending } else { Refusal::Wait };
        Err(Refused { why, retry_after: self.promise(now, count, excess), wait, max_wait })
    }

    /// An answer of an accepted request has ended.
    pub(super) fn leave(&mut self, caller: &Caller) {
        self.pending.remove(caller);
        self.demand.ended();
    }

    /// A replica has these rows now. A model may run the rows of all its replicas at a time.
    pub(super) fn report(&mut self, replica: Replica, places: Places) {
        self.replicas.insert(replica, places);
        let own = self.replicas.iter().filter(|(other, _)| other.model == replica.model);
        self.turnover.set_rows(own.map(|(_, places)| places.num_rows).sum());
    }

    /// These replicas are gone, with what they reported.
    pub(super) fn forget(&mut self, is_gone: impl Fn(Replica) -> bool) {
        self.replicas.retain(|replica, _| !is_gone(*replica));
    }

    /// The longest wait of a request, where it is limited now. A request with a deadline must also be answered in time.
    fn max_wait(&self, now: Instant, caller: &Caller) -> Option<Duration> {
        let in_overload = || LEAST_WAIT.max(Duration::from_secs_f64(WAIT_BY_STAY * self.turnover.stay()));
        let most = self.max_wait.or_else(|| self.demand.is_overload().then(in_overload))?;
        let until = caller.deadline.map(|at| at.saturating_duration_since(now).saturating_sub(self.soon()));
        Some(until.map_or(most, |until| until.min(most)))
    }

    /// Takes a slot for each answer if that many are due. Callers are anonymous: one that comes when a slot is due takes it.
    fn take_due(&mut self, now: Instant, count: usize) -> bool {
        while self.promised.front().is_some_and(|&at| at + GRACE < now) {
            self.promised.pop_front();
        }
        let is_due = self.promised.get(count - 1).is_some_and(|&at| at <= now + EARLY);
        if is_due {
            self.promised.drain(..count);
        }
        is_due
    }

    /// Places that are reserved for slots. None is reserved while rows of the device would be empty.
    fn reserved(&self, now: Instant) -> usize {
        let num_rows = self.turnover.num_rows();
        let soon = now + self.soon();
        if self.pending.count() < num_rows { 0 } else { self.promised.partition_point(|&at| at <= soon).min(num_rows) }
    }

    /// The retry hint of a refused caller with `count` answers, in whole milliseconds; never shorter than `at_least`.
    pub(super) fn promise(&mut self, now: Instant, count: usize, at_least: Duration) -> Duration {
        let soon = self.soon().max(at_least);
        let is_flooded = self.note_refusal(now, count);
        if is_flooded || self.promised.len() + count > MAX_SLOTS {
            return whole_millis(soon.min(LONGEST));
        }
        let interval = Duration::from_secs_f64(SLOWER * self.turnover.interval());
        let times = |count: usize| interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        // The new slot follows the last one. That may have been promised while answers took longer.
        let last = self.promised.back().map_or(now, |&last| last.min(now + soon + times(self.promised.len())));
        let at = (last + times(count)).max(now + soon);
        if at > now + LONGEST {
            return LONGEST;
        }
        let index = self.promised.partition_point(|&other| other <= at);
        (0..count).for_each(|_| self.promised.insert(index, at));
        whole_millis(at - now)
    }

    /// Counts a refusal. Returns whether, in a whole period and in this one, more than twice as many callers were refused as
    /// places became free. Then most callers cannot be served, and no order of slots can be kept.
    fn note_refusal(&mut self, now: Instant, count: usize) -> bool {
        let most = FLOOD * self.turnover.num_rows();
        let stay = Duration::from_secs_f64(self.turnover.stay());
        let period = self.period.get_or_insert(Period { began: now, num_refused: 0, num_flooded: 0 });
        let passed = now.saturating_duration_since(period.began);
        if passed >= stay {
            let is_next = passed < stay * 2 && period.num_refused > most;
            let num_flooded = if is_next { period.num_flooded + 1 } else { 0 };
            *period = Period { began: now, num_refused: 0, num_flooded };
        }
        period.num_refused += count;
        period.num_flooded >= 2 || period.num_flooded == 1 && period.num_refused > most
    }

    /// The time in which the rows that run now end.
    fn soon(&self) -> Duration {
        Duration::from_secs_f64(SLACK * self.turnover.stay())
    }
}

/// The time in whole milliseconds, rounded up.
pub(super) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
}
