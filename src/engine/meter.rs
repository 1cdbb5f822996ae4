//! What one model runner measures: tokens, latencies, steps. The runner owns the meter and records into it without a lock;
//! `stats` publishes a copy of the figures once a turn. Times come from the clock readings that the runner makes anyway.

use std::time::{Duration, Instant};

use crate::metrics::{Histogram, Rate, Scale};
use crate::scheduler::StepSize;

/// Counts and histograms of one model, or sums over several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Prompt tokens fed to the device.
    pub prompt_tokens: u64,
    /// Tokens added to answers. A token that a finished row computed ahead is not counted.
    pub generated_tokens: u64,
    /// Times a row was parked because all its readers were behind.
    pub parks: u64,
    /// Times the device failed and was reset.
    pub recoveries: u64,
    /// Times the circuit breaker opened.
    pub circuit_opened: u64,
    /// Latencies of requests.
    pub latency: Latency,
    /// Times between two tokens of an answer.
    pub inter_token: Histogram,
    /// Times from submission to the first step, of requests that were computed.
    pub queue: Histogram,
    /// Device times of steps, where they are known, by [`StepKind`].
    pub step: [Histogram; StepKind::ALL.len()],
    /// Rows of steps.
    pub batch: Histogram,
    /// Generated tokens in the last minute.
    pub tokens: Rate,
}

/// Latencies of requests, from their submission. A request that shares an answer counts from its own submission.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Time to the first token.
    pub ttft: Histogram,
    /// Time to the end of a complete answer.
    pub request: Histogram,
}

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Only next tokens.
    Decode,
    /// Only prompts.
    Prefill,
    /// Both.
    Mixed,
}

impl StepKind {
    /// Every kind, with its name in metrics.
    pub const ALL: [(Self, &str); 3] = [(Self::Decode, "decode"), (Self::Prefill, "prefill"), (Self::Mixed, "mixed")];

    fn of(size: StepSize) -> Self {
        match size {
            StepSize { num_prompt_tokens: 0, .. } => Self::Decode,
            StepSize { num_decoding: 0, .. } => Self::Prefill,
            StepSize { .. } => Self::Mixed,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { ttft: Histogram::new(Scale::Times), request: Histogram::new(Scale::Times) }
    }
}

impl Latency {
    /// Records a request that got a complete answer at once.
    pub(super) fn at_once(&mut self, took: Duration) {
        self.ttft.time(took);
        self.request.time(took);
    }

    /// Adds the requests of another one.
    pub(super) fn merge(&mut self, other: &Self) {
        self.ttft.merge(&other.ttft);
        self.request.merge(&other.request);
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            prompt_tokens: 0,
            generated_tokens: 0,
            parks: 0,
            recoveries: 0,
            circuit_opened: 0,
            latency: Latency::default(),
            inter_token: Histogram::new(Scale::Times),
            queue: Histogram::new(Scale::Times),
            step: [Histogram::new(Scale::Times); StepKind::ALL.len()],
            batch: Histogram::new(Scale::Rows),
            tokens: Rate::default(),
        }
    }
}

impl Figures {
    /// Adds the figures of another model.
    pub(super) fn merge(&mut self, other: &Self) {
        // A new field must have its line here.
        let Self {
            prompt_tokens,
            generated_tokens,
            parks,
            recoveries,
            circuit_opened,
            latency,
            inter_token,
            queue,
            step,
            batch,
            tokens,
        } = other;
        self.prompt_tokens += prompt_tokens;
        self.generated_tokens += generated_tokens;
        self.parks += parks;
        self.recoveries += recoveries;
        self.circuit_opened += circuit_opened;
        self.latency.merge(latency);
        self.inter_token.merge(inter_token);
        self.queue.merge(queue);
        self.step.iter_mut().zip(step).for_each(|(own, other)| own.merge(other));
        self.batch.merge(batch);
        self.tokens.merge(tokens);
    }
}

/// Measures for one runner.
#[derive(Debug)]
pub struct Meter {
    /// The origin of rates, which all meters of an engine share.
    origin: Instant,
    pub(super) figures: Figures,
}

impl Meter {
    /// Nothing measured yet. `origin` is that of rates.
    pub fn new(origin: Instant) -> Self {
        Self { origin, figures: Figures::default() }
    }

    /// What was measured.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The first step of a generation is submitted, `waited` after its request.
    pub fn started(&mut self, waited: Duration) {
        self.figures.queue.time(waited);
    }

    /// An answer has a new token; `since_last` is the time since the one before it.
    pub fn token(&mut self, since_last: Option<Duration>, now: Instant) {
        self.figures.generated_tokens += 1;
        self.figures.tokens.add(now.saturating_duration_since(self.origin), 1);
        if let Some(time) = since_last {
            self.figures.inter_token.time(time);
        }
    }

    /// A request gets its first token.
    pub fn first_token(&mut self, took: Duration) {
        self.figures.latency.ttft.time(took);
    }

    /// A request has its complete answer.
    pub fn completed(&mut self, took: Duration) {
        self.figures.latency.request.time(took);
    }

    /// A step ran. `took` is the time of the device for it, if known. A step without rows only drops sequences.
    pub fn step(&mut self, size: StepSize, took: Option<Duration>) {
        self.figures.prompt_tokens += size.num_prompt_tokens as u64;
        if size.num_rows == 0 {
            return;
        }
        self.figures.batch.record(size.num_rows as u64);
        if let Some(took) = took {
            self.figures.step[StepKind::of(size) as usize].time(took);
        }
    }
}
