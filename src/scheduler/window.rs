//! Decides when an idle engine starts: at once, or after a short window for concurrent arrivals. Requests join at every
//! step, so a window helps only when requests arrive in bursts, the engine is often idle, and a step takes much longer than
//! the window. All of this is measured. While a sequence runs there is no window.

use std::time::{Duration, Instant};

use super::config::{AdaptiveWindow, WindowConfig};

/// Another request is expected when at least this share of idle starts was followed by one within the window. It is also the
/// probability with which the gain of a window is weighed.
const EXPECTED_ARRIVALS: f64 = 0.5;
/// An engine waits for a request that is not accepted yet only if the engine is idle for at least this share of the time. A busy
/// engine seldom starts from idle, so it gains little, and the wait would distort its measurements (`docs/scheduler.md`).
const LEAST_IDLE: f64 = 0.5;
/// Weight of a new sample in the moving averages of arrivals and idle time.
const ALPHA: f64 = 0.25;

/// Which of the three windows is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tier {
    /// A mean queue depth of at most 1.
    Low,
    /// A mean queue depth above 1 and at most 5. A new scheduler starts in this tier.
    #[default]
    Medium,
    /// A mean queue depth above 5.
    High,
}

/// Why a request was admitted when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The engine was idle and no other request waited: no timer was armed.
    FastPath,
    /// It joined the running batch at a step.
    Joined,
    /// Other requests waited as well, and no more were expected.
    Together,
    /// Waiting requests filled all free rows.
    Full,
    /// The window had passed.
    Window,
    /// It was urgent.
    Urgent,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [Self::FastPath, Self::Joined, Self::Together, Self::Full, Self::Window, Self::Urgent];
}

/// The requests that wait while the engine is idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) depth: usize,
    /// When the oldest request arrived.
    pub(super) since: Instant,
    pub(super) has_urgent: bool,
    pub(super) is_full: bool,
    /// Requests that were accepted and are still being prepared.
    pub(super) num_coming: usize,
    /// Expected time of the first step. A request that arrives during the step waits that long.
    pub(super) first_step: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Window {
    config: WindowConfig,
    tier: Tier,
    /// Moving average of the queue depth.
    depth: Option<f64>,
    /// The other tier that the last samples call for, and the number of these samples.
    asked: Option<(Tier, u32)>,
    /// Moving share of idle starts that were followed by another request within the window.
    arrivals: f64,
    /// When the engine last started, until it is known whether another request followed within the window.
    started: Option<Instant>,
    /// Moving averages in seconds: the idle time before a start, and the time between two starts.
    idle: f64,
    all: f64,
    /// The last start, and when the engine became idle after it.
    busy_since: Option<Instant>,
    idle_since: Option<Instant>,
    pub(super) num_switches: u64,
    pub(super) num_samples: u64,
}

impl Window {
    pub(super) fn new(config: WindowConfig) -> Self {
        Self {
            config,
            tier: Tier::Medium,
            depth: None,
            asked: None,
            arrivals: 0.0,
            started: None,
            idle: 0.0,
            all: 0.0,
            busy_since: None,
            idle_since: None,
            num_switches: 0,
            num_samples: 0,
        }
    }

    pub(super) fn tier(&self) -> Tier {
        self.tier
    }

    /// How long the window is now.
    pub(super) fn length(&self) -> Duration {
        let Some(adaptive) = self.config.adaptive else { return self.config.fixed };
        match self.tier {
            Tier::Low => adaptive.low,
            Tier::Medium => adaptive.medium,
            Tier::High => adaptive.high,
        }
    }

    /// A request has arrived. It may follow the last idle start within the window.
    pub(super) fn arrived(&mut self, now: Instant) {
        let window = self.length();
        if self.started.is_some_and(|started| now.saturating_duration_since(started) <= window) {
            self.settle_arrivals(1.0);
        }
    }

    /// Decides whether an idle engine starts now, and returns the reason. The error is the time at which to ask again.
    pub(super) fn judge(&self, now: Instant, waiting: Waiting) -> Result<Reason, Instant> {
        if waiting.has_urgent {
            return Ok(Reason::Urgent);
        }
        if waiting.is_full {
            return Ok(Reason::Full);
        }
        let is_alone = waiting.depth == 1;
        // Checked before `until`: the scheduler may see a request only after its window has passed. The window did not delay
        // such a request, so the reason is not `Window`.
        let is_worth_it = if self.config.adaptive.is_some() { self.earns(waiting) } else { !is_alone };
        if self.length().is_zero() || (self.config.fast_path && !is_worth_it) {
            return Ok(without_window(is_alone));
        }
        let until = waiting.since + self.length();
        if until <= now { Ok(Reason::Window) } else { Err(until) }
    }

    /// Records that the engine is idle.
    pub(super) fn rest(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// Records that an idle engine starts with `depth` requests.
    pub(super) fn start(&mut self, now: Instant, depth: usize) {
        let seconds_since = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let idle = self.idle_since.take().map_or(0.0, seconds_since);
        if let Some(all) = self.busy_since.replace(now).map(seconds_since) {
            self.idle += ALPHA * (idle - self.idle);
            self.all += ALPHA * (all - self.all);
        }
        if self.started.is_some() {
            self.settle_arrivals(0.0);
        }
        if depth > 1 {
            self.settle_arrivals(1.0);
        } else {
            self.started = Some(now);
        }
    }

    /// Takes a sample of the queue depth: `depth` requests waited when an idle engine started. Requests that join a running
    /// batch need no window and do not count.
    pub(super) fn sample_depth(&mut self, depth: usize) {
        let Some(config) = self.config.adaptive else { return };
        let sample = depth as f64;
        let mean = self.depth.map_or(sample, |mean| mean + config.ema_alpha * (sample - mean));
        self.depth = Some(mean);
        self.num_samples += 1;
        self.ask_for(tier_of(mean), config);
    }

    /// Whether a window gains more than it costs. A request that is expected arrives with a probability of at least
    /// `EXPECTED_ARRIVALS`, and then saves one first step. Each waiting request loses the length of the window.
    fn earns(&self, waiting: Waiting) -> bool {
        let Some(first_step) = waiting.first_step else { return false };
        let may_be_followed = || self.idle >= LEAST_IDLE * self.all && self.arrivals >= EXPECTED_ARRIVALS;
        let is_expected = waiting.num_coming > 0 || (waiting.depth == 1 && may_be_followed());
        let cost = self.length().as_secs_f64() * waiting.depth as f64;
        is_expected && first_step.as_secs_f64() * EXPECTED_ARRIVALS > cost
    }

    fn ask_for(&mut self, tier: Tier, config: AdaptiveWindow) {
        let times = match self.asked {
            _ if tier == self.tier => 0,
            Some((asked, times)) if asked == tier => times + 1,
            _ => 1,
        };
        self.asked = (times > 0).then_some((tier, times));
        if times >= config.hysteresis {
            self.tier = tier;
            self.asked = None;
            self.num_switches += 1;
        }
    }

    fn settle_arrivals(&mut self, had: f64) {
        self.started = None;
        self.arrivals += ALPHA * (had - self.arrivals);
    }
}

fn without_window(is_alone: bool) -> Reason {
    if is_alone { Reason::FastPath } else { Reason::Together }
}

fn tier_of(depth: f64) -> Tier {
    if depth <= 1.0 {
        Tier::Low
    } else if depth <= 5.0 {
        Tier::Medium
    } else {
        Tier::High
    }
}
