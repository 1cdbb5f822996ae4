//! When an idle engine starts: at once, or after a short window in which company may come. Joining is possible at every
//! step border, so a window earns only where requests come in bursts on an engine that is often idle and a step takes much
//! longer than the window; all of it is measured. While anything runs there is no window.

use std::time::{Duration, Instant};

use super::config::{AdaptiveWindow, WindowConfig};

/// Share of idle starts with company from which on company is expected.
const EXPECTED_COMPANY: f64 = 0.5;
/// Share of the time that an engine has to be idle to wait for company that is only expected. One that seldom is has few idle
/// starts to gain by; what it would measure in them changes more than they bring (`docs/scheduler.md`).
const LEAST_IDLE: f64 = 0.5;
/// Weight of a new sample of either share.
const ALPHA: f64 = 0.25;

/// Which of the three windows is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tier {
    /// Depth 1 or less.
    Low,
    /// Depth 2 to 5; where a scheduler begins.
    #[default]
    Medium,
    /// Depth 6 or more.
    High,
}

/// Why a request was admitted when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The engine was idle and nobody else waited: no timer was armed.
    FastPath,
    /// It joined what was running, at a step border.
    Joined,
    /// Others waited as well, and nobody else was expected.
    Together,
    /// As many waited as may run.
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

/// What waits while the engine is idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) depth: usize,
    /// Since when the one that came first waits.
    pub(super) since: Instant,
    pub(super) has_urgent: bool,
    pub(super) is_full: bool,
    /// Requests that were accepted and are still on their way here.
    pub(super) num_coming: usize,
    /// What the first step is expected to take; a latecomer would wait that long.
    pub(super) first_step: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Window {
    config: WindowConfig,
    tier: Tier,
    /// Moving average of the queue depth.
    depth: Option<f64>,
    /// Another tier that the last samples asked for, and how many did.
    asked: Option<(Tier, u32)>,
    /// Moving share of idle starts that had company.
    company: f64,
    /// When the engine last became busy, until it is known whether company came.
    started: Option<Instant>,
    /// Moving averages of how long the engine is idle before it becomes busy, and of how long it is until it does so again.
    idle: f64,
    all: f64,
    /// When it last became busy, and when idle after that.
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
            company: 0.0,
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

    /// A request has arrived: it may be the company of the last idle start.
    pub(super) fn arrived(&mut self, now: Instant) {
        let window = self.length();
        if self.started.is_some_and(|started| now.saturating_duration_since(started) <= window) {
            self.settle_company(1.0);
        }
    }

    /// Whether an idle engine starts now, and why; else when to ask again.
    pub(super) fn judge(&self, now: Instant, waiting: Waiting) -> Result<Reason, Instant> {
        if waiting.has_urgent {
            return Ok(Reason::Urgent);
        }
        if waiting.is_full {
            return Ok(Reason::Full);
        }
        let is_alone = waiting.depth == 1;
        // Asked first: who is looked at late has not waited for anybody.
        let is_worth_it = if self.config.adaptive.is_some() { self.earns(waiting) } else { !is_alone };
        if self.length().is_zero() || (self.config.fast_path && !is_worth_it) {
            return Ok(without_window(is_alone));
        }
        let until = waiting.since + self.length();
        if until <= now { Ok(Reason::Window) } else { Err(until) }
    }

    /// There is nothing to do.
    pub(super) fn rest(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// An idle engine starts with what waits.
    pub(super) fn start(&mut self, now: Instant, depth: usize) {
        let seconds_since = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let idle = self.idle_since.take().map_or(0.0, seconds_since);
        if let Some(all) = self.busy_since.replace(now).map(seconds_since) {
            self.idle += ALPHA * (idle - self.idle);
            self.all += ALPHA * (all - self.all);
        }
        if self.started.is_some() {
            self.settle_company(0.0);
        }
        if depth > 1 {
            self.settle_company(1.0);
        } else {
            self.started = Some(now);
        }
    }

    /// So many waited when an idle engine started. What joins a running batch needs no window and does not count.
    pub(super) fn sample_depth(&mut self, depth: usize) {
        let Some(config) = self.config.adaptive else { return };
        let sample = depth as f64;
        let mean = self.depth.map_or(sample, |mean| mean + config.ema_alpha * (sample - mean));
        self.depth = Some(mean);
        self.num_samples += 1;
        self.ask_for(tier_of(mean), config);
    }

    /// A window earns what company gains by not having to wait for the first step, and costs all who wait its length.
    fn earns(&self, waiting: Waiting) -> bool {
        let Some(first_step) = waiting.first_step else { return false };
        let may_have_company = || self.idle >= LEAST_IDLE * self.all && self.company >= EXPECTED_COMPANY;
        let is_expected = waiting.num_coming > 0 || (waiting.depth == 1 && may_have_company());
        let cost = self.length().as_secs_f64() * waiting.depth as f64;
        is_expected && first_step.as_secs_f64() * EXPECTED_COMPANY > cost
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

    fn settle_company(&mut self, had: f64) {
        self.started = None;
        self.company += ALPHA * (had - self.company);
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
