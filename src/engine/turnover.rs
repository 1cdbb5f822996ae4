//! Measures how fast places become free while requests wait for rows, and how long an answer is on the device. The expected
//! wait of a request follows from both. Has no clock: `now` is an argument.

use std::time::{Duration, Instant};

/// Weight of one end in the mean interval. It is small because answers end in groups as large as a batch.
const ALPHA: f64 = 1.0 / 64.0;
/// Ends within this part of an interval are one group.
const IN_ONE_GROUP: f64 = 0.25;
/// Weight of an answer in the mean time on the device.
const ALPHA_OF_STAY: f64 = 1.0 / 16.0;
/// Before any answer has ended, an answer is expected to take this many seconds,
const FIRST_STAY: f64 = 2.0;
/// and this many rows to run at a time.
const FIRST_ROWS: usize = 32;

#[derive(Debug)]
pub(super) struct Turnover {
    /// The most rows that can have a place.
    most_rows: usize,
    /// Rows that the device may run at a time.
    num_rows: usize,
    /// Fading sums: ends while requests waited, and the seconds between them.
    num_freed: f64,
    freeing: f64,
    /// The last group: its ends, and the seconds since the group before. A group fades as one.
    group: (f64, f64),
    /// Since when requests wait for the next free place.
    since: Option<Instant>,
    /// Mean time of an answer on the device in seconds, once one has ended.
    stay: Option<f64>,
}

impl Turnover {
    pub(super) fn new(num_places: usize) -> Self {
        let most_rows = num_places.max(1);
        let num_rows = FIRST_ROWS.min(most_rows);
        Self { most_rows, num_rows, num_freed: 0.0, freeing: 0.0, group: (0.0, 0.0), since: None, stay: None }
    }

    /// The device may run `num_rows` rows at a time.
    pub(super) fn set_rows(&mut self, num_rows: usize) {
        self.num_rows = num_rows.clamp(1, self.most_rows);
    }

    pub(super) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Requests begin to wait for rows.
    pub(super) fn wanted(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A place has become free. `is_wanted` says whether a request waits for a row. Otherwise the interval depends on the
    /// callers and not on the device, so it is not measured.
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

    /// An answer has ended that was on the device for `stay`.
    pub(super) fn stayed(&mut self, stay: Duration) {
        let last = stay.as_secs_f64();
        self.stay = Some(self.stay.map_or(last, |mean| mean + ALPHA_OF_STAY * (last - mean)));
    }

    /// Mean time of an answer on the device, in seconds.
    pub(super) fn stay(&self) -> f64 {
        self.stay.unwrap_or(FIRST_STAY)
    }

    /// Seconds between two places that become free. A mean of two estimates that agree while requests wait: the measured
    /// interval, which may be old, and the time of the last answers divided by the rows (Little's law).
    pub(super) fn interval(&self) -> f64 {
        self.interval_of(self.num_freed + self.group.0, self.freeing + self.group.1)
    }

    /// The same without the last group, which may be incomplete: its time counts before its ends do.
    pub(super) fn settled_interval(&self) -> f64 {
        self.interval_of(self.num_freed, self.freeing)
    }

    fn interval_of(&self, num_freed: f64, seconds: f64) -> f64 {
        let by_stay = self.stay() / self.num_rows as f64;
        if num_freed > 0.0 { 0.7 * seconds / num_freed + 0.3 * by_stay } else { by_stay }
    }

    /// Rows that the expected wait is computed with. A new engine starts with few rows and gets more as it measures steps.
    fn rows_expected(&self) -> usize {
        if self.stay.is_some() { self.num_rows } else { FIRST_ROWS.min(self.most_rows).max(self.num_rows) }
    }

    /// The expected wait for a row of a request that starts after `num_ahead` others.
    pub(super) fn wait(&self, num_ahead: usize) -> Duration {
        let rows = self.rows_expected();
        let interval = self.interval() * self.num_rows as f64 / rows as f64;
        Duration::from_secs_f64((num_ahead + 1).saturating_sub(rows) as f64 * interval)
    }
}
