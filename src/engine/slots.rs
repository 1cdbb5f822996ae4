//! When a refused caller comes back to a free place: a virtual queue for callers that wait elsewhere. Each refusal is promised
//! the next slot; slots follow each other at the interval at which places become free while requests wait. Places are kept for
//! slots that are due or soon will be, so that a caller that has just been answered does not take them, unless rows of the
//! device would be empty. Has no clock: `now` is an argument.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// A slot is kept for so long after it is due.
const GRACE: Duration = Duration::from_millis(250);
/// A caller may be early by so much: timers count whole milliseconds.
const EARLY: Duration = Duration::from_millis(1);
/// The longest retry hint.
const LONGEST: Duration = Duration::from_mins(1);
/// Slots that are kept at a time; a refusal beyond has a retry hint and no place.
const MAX_SLOTS: usize = 4_096;
/// Weight of a place that becomes free in the mean interval: answers end in groups as large as a batch.
const ALPHA: f64 = 1.0 / 64.0;
/// Places that become free within this part of an interval are one group.
const IN_ONE_GROUP: f64 = 0.25;
/// Weight of an answer in the mean time on the device.
const ALPHA_OF_STAY: f64 = 1.0 / 16.0;
/// Slots begin so much later than rows take to end, and are so much further apart than places become free: a place that
/// is free too early waits, a caller that comes too early has come for nothing.
const SLACK: f64 = 1.25;
const SLOWER: f64 = 1.03;
/// Before any answer has ended, one is expected to take so long,
const FIRST_STAY: f64 = 2.0;
/// and so many rows to run at a time.
const FIRST_ROWS: usize = 32;
/// Callers come so many times as fast as places become free where no order of slots can be kept.
const FLOOD: usize = 2;

/// The virtual queue of an engine, for its callers and its runners.
#[derive(Debug)]
pub(super) struct SharedSlots(Mutex<Slots>);

impl SharedSlots {
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(Slots::new(limit)))
    }

    /// Calls `take` if `count` callers may have a place, and says whether that was so and went well; else when to come again.
    pub(super) fn enter(
        &self,
        now: Instant,
        count: usize,
        num_taken: impl FnOnce() -> usize,
        take: impl FnOnce() -> bool,
    ) -> Result<(), Duration> {
        let mut slots = lock(&self.0);
        if slots.admits(now, num_taken(), count) && take() { Ok(()) } else { Err(slots.promise(now, count)) }
    }

    /// When a caller that was refused for another reason is to come again.
    pub(super) fn promise(&self, now: Instant, count: usize) -> Duration {
        lock(&self.0).promise(now, count)
    }

    /// See [`Slots::has_rows`].
    pub(super) fn has_rows(&self, num_rows: usize) {
        lock(&self.0).has_rows(num_rows);
    }

    /// See [`Slots::wanted`].
    pub(super) fn wanted(&self, now: Instant) {
        lock(&self.0).wanted(now);
    }

    /// A generation has ended, which was on the device for so long if at all. See [`Slots::freed`].
    pub(super) fn ended(&self, now: Instant, is_wanted: bool, stay: Option<Duration>) {
        let mut slots = lock(&self.0);
        slots.freed(now, is_wanted);
        if let Some(stay) = stay {
            slots.stayed(stay);
        }
    }
}

/// The virtual queue itself.
#[derive(Debug)]
pub(super) struct Slots {
    /// Places of the engine.
    limit: usize,
    /// Rows that the device may run at a time.
    num_rows: usize,
    /// Slots that were promised and not taken, in order.
    promised: VecDeque<Instant>,
    /// Fading sums: places that became free while requests waited, and the seconds that took.
    num_freed: f64,
    freeing: f64,
    /// Places that became free at about the last moment, and the seconds since the moment before: they fade as one.
    group: (f64, f64),
    /// Since when the next free place is waited for.
    since: Option<Instant>,
    /// Mean time that an answer is on the device, in seconds, once one has ended.
    stay: Option<f64>,
    /// How many are refused.
    period: Option<Period>,
}

/// As long as an answer is on the device.
#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    num_refused: usize,
    /// Periods before it in a row in which too many were refused.
    num_flooded: u32,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            num_rows: limit.clamp(1, FIRST_ROWS),
            promised: VecDeque::new(),
            num_freed: 0.0,
            freeing: 0.0,
            group: (0.0, 0.0),
            since: None,
            stay: None,
            period: None,
        }
    }

    /// The device may run so many rows at a time.
    pub(super) fn has_rows(&mut self, num_rows: usize) {
        self.num_rows = num_rows.clamp(1, self.limit.max(1));
    }

    /// A place has become free. `is_wanted` says whether a request waits for a row: otherwise the interval is that of
    /// callers, and says nothing of the device.
    pub(super) fn freed(&mut self, now: Instant, is_wanted: bool) {
        if !is_wanted {
            self.since = None;
            return;
        }
        let Some(since) = self.since.replace(now) else { return };
        let waited = now.saturating_duration_since(since).as_secs_f64();
        if waited > IN_ONE_GROUP * self.interval() {
            let (num, seconds) = std::mem::take(&mut self.group);
            let fade = (1.0 - ALPHA).powf(num);
            self.num_freed = self.num_freed * fade + num;
            self.freeing = self.freeing * fade + seconds;
        }
        self.group.0 += 1.0;
        self.group.1 += waited;
    }

    /// Requests begin to wait for rows.
    pub(super) fn wanted(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// An answer was on the device for so long.
    pub(super) fn stayed(&mut self, stay: Duration) {
        let last = stay.as_secs_f64();
        self.stay = Some(self.stay.map_or(last, |mean| mean + ALPHA_OF_STAY * (last - mean)));
    }

    /// Whether a caller has one of the places for `count` answers, of which so many are taken. Callers are anonymous: one
    /// that comes when a slot is due takes it.
    pub(super) fn admits(&mut self, now: Instant, num_taken: usize, count: usize) -> bool {
        while self.promised.front().is_some_and(|&at| at + GRACE < now) {
            self.promised.pop_front();
        }
        let is_free = |reserved: usize| num_taken + count + reserved <= self.limit;
        let num_due = self.promised.iter().take(count).take_while(|&&at| at <= now + EARLY).count();
        if num_due == count {
            self.promised.drain(..count);
            return is_free(0);
        }
        let soon = now + self.soon();
        let num_soon = self.promised.partition_point(|&at| at <= soon);
        is_free(num_soon.min(self.num_rows)) || num_taken < self.num_rows && is_free(0)
    }

    /// When a refused caller with `count` answers is to come again, in whole milliseconds.
    pub(super) fn promise(&mut self, now: Instant, count: usize) -> Duration {
        let soon = self.soon();
        let is_flooded = self.note_refusal(now, count);
        if is_flooded || self.promised.len() + count > MAX_SLOTS {
            return whole_millis(soon.min(LONGEST));
        }
        let interval = Duration::from_secs_f64(SLOWER * self.interval());
        let times = |count: usize| interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        // Behind the last slot; that may have been promised while answers took longer.
        let last = self.promised.back().map_or(now, |&last| last.min(now + soon + times(self.promised.len())));
        let at = (last + times(count)).max(now + soon);
        if at > now + LONGEST {
            return LONGEST;
        }
        let index = self.promised.partition_point(|&other| other <= at);
        (0..count).for_each(|_| self.promised.insert(index, at));
        whole_millis(at - now)
    }

    /// Seconds between two places that become free: between what was measured while requests waited, which may be long ago,
    /// and what the last answers come to where all rows are taken (Little's law). The two agree while requests wait.
    fn interval(&self) -> f64 {
        let by_stay = self.stay() / self.num_rows as f64;
        let num = self.num_freed + self.group.0;
        if num > 0.0 {
            return 0.7 * (self.freeing + self.group.1) / num + 0.3 * by_stay;
        }
        by_stay
    }

    /// In which rows that run now have ended.
    fn soon(&self) -> Duration {
        Duration::from_secs_f64(SLACK * self.stay())
    }

    /// Seconds that an answer is on the device.
    fn stay(&self) -> f64 {
        self.stay.unwrap_or(FIRST_STAY)
    }

    /// Counts a refusal. Says whether, in a whole period and in this one, more than twice as many were refused as places became
    /// free.
    fn note_refusal(&mut self, now: Instant, count: usize) -> bool {
        let most = FLOOD * self.num_rows;
        let stay = Duration::from_secs_f64(self.stay());
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
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
}
