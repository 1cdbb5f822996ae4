//! Tells a lasting overload from a burst, by how many requests arrive and how many end. Has no clock: `now` is an argument.
//!
//! Time is divided into parts of 250 ms. A part is overloaded when more than three times as many requests arrive in it as can be
//! served. An overload lasts when at least six of the last eight parts are overloaded, and the sum of the four parts with the
//! fewest arrivals is above four times that limit. A burst of any size overloads one or two parts. Callers that send a request
//! after each answer never overload six parts, because as many requests arrive as end. So a limit that applies only in a lasting
//! overload refuses neither bursts nor such callers. A queue is too long only when it has been too long for some time: this is
//! the idea of controlled delay (Nichols and Jacobson, "Controlling queue delay", 2012).

use std::time::{Duration, Instant};

/// Length of a part.
const PART: Duration = Duration::from_millis(250);
const NUM_PARTS: usize = 8;
/// Overloaded parts from which on an overload lasts.
const OVERLOADED: usize = 6;
/// The fullest parts, which are left out of the sum.
const FULLEST: usize = 4;
/// A part is overloaded when this many times as many requests arrive as can be served.
const EXCESS: f64 = 3.0;

/// Requests of the last eight parts.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Begin of the current part.
    began: Option<Instant>,
    num_arrived: usize,
    num_ended: usize,
    /// Mean number of requests that ended in a part.
    mean_ended: f64,
    /// Requests that arrived in each of the last parts. The order of the parts does not matter.
    parts: [usize; NUM_PARTS],
    next_part: usize,
    is_overload: bool,
}

impl Demand {
    /// `num_requests` arrive. `interval` is the expected time in seconds between two ends while requests wait.
    pub(super) fn arrived(&mut self, now: Instant, num_requests: usize, interval: f64) {
        let began = *self.began.get_or_insert(now);
        let num_over = now.saturating_duration_since(began).as_nanos() / PART.as_nanos();
        if num_over > NUM_PARTS as u128 {
            *self = Self { began: Some(now), ..Self::default() };
        } else if let num_over @ 1.. = u32::try_from(num_over).unwrap_or_default() {
            (0..num_over).for_each(|_| self.close_part());
            self.began = Some(began + PART * num_over);
            self.is_overload = self.exceeds(EXCESS * self.mean_ended.max(PART.as_secs_f64() / interval.max(1e-9)));
        }
        self.num_arrived += num_requests;
    }

    /// A request has ended.
    pub(super) fn ended(&mut self) {
        self.num_ended += 1;
    }

    /// Whether an overload lasts.
    pub(super) fn is_overload(&self) -> bool {
        self.is_overload
    }

    fn close_part(&mut self) {
        self.mean_ended += (std::mem::take(&mut self.num_ended) as f64 - self.mean_ended) / NUM_PARTS as f64;
        self.parts[self.next_part] = std::mem::take(&mut self.num_arrived);
        self.next_part = (self.next_part + 1) % NUM_PARTS;
    }

    /// Whether more than `most` requests arrived in enough parts.
    fn exceeds(&self, most: f64) -> bool {
        let mut parts = self.parts;
        parts.sort_unstable();
        let num_overloaded = parts.iter().filter(|&&arrived| arrived as f64 > most).count();
        let others = &parts[..NUM_PARTS - FULLEST];
        num_overloaded >= OVERLOADED && others.iter().sum::<usize>() as f64 > most * others.len() as f64
    }
}
