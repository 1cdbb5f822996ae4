//! Measures how fast places become free while requests wait for rows, and how long an answer is on the device. The expected
//! wait of a request follows from both. Has no clock: `now` is an argument.

use std::time::{Duration, Instant};

/// Weight of one end in the mean interval. It is small because answers end in groups as large as a batch.
const ALPHA: f64 = 1.0 / 64.0;
/// Ends within this part of an interval are one group.
const IN_ONE_GROUP: f64 = 0.25;
/// The mean time on the device is that of about this many answers.
const MOST_STAYS: f64 = 16.0;
/// In this mean, an answer with fewer tokens than this has less weight. A request that warms a model up has one token.
const TOKENS_OF_ONE: f64 = 4.0;
/// Before any answer has ended, an answer is expected to have this many tokens.
const FIRST_TOKENS: f64 = 100.0;
/// Until then, a token is expected to take this many seconds, and the time to read the weights.
const FIRST_STEP: f64 = 200e-6;
/// Until then, a device is expected to read this many bytes of weights per second: a slow device.
const FIRST_BANDWIDTH: f64 = 20e9;
/// Until then, an answer is expected to take at most this many seconds.
const FIRST_STAY: f64 = 2.0;
/// A new engine is expected to run this many rows at a time.
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
    /// Mean time of an answer on the device in seconds: an expectation before the first one has ended.
    stay: f64,
    /// The weight of the answers that have ended, up to `MOST_STAYS`.
    num_stays: f64,
    /// Bytes of the largest model.
    weight_bytes: u64,
}

impl Turnover {
    pub(super) fn new(num_places: usize) -> Self {
        let most_rows = num_places.max(1);
        let num_rows = FIRST_ROWS.min(most_rows);
        Self {
            most_rows,
            num_rows,
            num_freed: 0.0,
            freeing: 0.0,
            group: (0.0, 0.0),
            since: None,
            stay: FIRST_STAY,
            num_stays: 0.0,
            weight_bytes: 0,
        }
    }

    /// A model was loaded. The time of a first answer is expected from its size.
    pub(super) fn opened(&mut self, weight_bytes: u64) {
        self.weight_bytes = self.weight_bytes.max(weight_bytes);
        if self.num_stays == 0.0 {
            let step = FIRST_STEP + self.weight_bytes as f64 / FIRST_BANDWIDTH;
            self.stay = FIRST_STAY.min(FIRST_TOKENS * step);
        }
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

    /// An answer of `num_tokens` tokens has ended that was on the device for `stay`.
    pub(super) fn stayed(&mut self, stay: Duration, num_tokens: usize) {
        let weight = (num_tokens as f64 / TOKENS_OF_ONE).clamp(1.0 / TOKENS_OF_ONE, 1.0);
        self.num_stays = (self.num_stays + weight).min(MOST_STAYS);
        // The first answer replaces the expectation, unless it counts less.
        self.stay += (stay.as_secs_f64() - self.stay) * weight / self.num_stays.max(1.0);
    }

    /// Mean time of an answer on the device, in seconds.
    pub(super) fn stay(&self) -> f64 {
        self.stay
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
        let by_stay = self.stay / self.num_rows as f64;
        if num_freed > 0.0 { 0.7 * seconds / num_freed + 0.3 * by_stay } else { by_stay }
    }

    /// Rows that the expected wait is computed with. A new engine starts with few rows and gets more as it measures steps.
    fn rows_expected(&self) -> usize {
        if self.num_stays > 0.0 { self.num_rows } else { FIRST_ROWS.min(self.most_rows).max(self.num_rows) }
    }

    /// The expected wait for a row of a request that starts after `num_ahead` others.
    pub(super) fn wait(&self, num_ahead: usize) -> Duration {
        let rows = self.rows_expected();
        let interval = self.interval() * self.num_rows as f64 / rows as f64;
        Duration::from_secs_f64((num_ahead + 1).saturating_sub(rows) as f64 * interval)
    }
}
