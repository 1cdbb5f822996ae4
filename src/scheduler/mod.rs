//! Decides which sequences run in the next step and what they feed. It has no threads, no channels and no clock: `now` is an
//! argument, and the next deadline is a return value. So tests of a decision check the plan that it makes.
//!
//! A sequence is in exactly one of three places: `queue` (it holds no KV), `running`, or `retry` (its step failed, and it waits
//! for its next attempt). A running sequence that was set aside for a more urgent one keeps its KV, and the queue decides when it
//! gets a row again. Measurements decide how many sequences run together (`batch_limit`), how many prompt tokens a step reads and
//! how many prompts join at a time (`prefill`), and whether an idle engine waits (`window`). `prefix` has prompts shared.
//!
//! Parts own their state and do not depend on the scheduler. `Scheduler` combines them: its interface is here, admission in
//! `admission`, one step in `step`, removal at deadlines in `expiry`, expected times in `times`.

mod admission;
mod batch_limit;
mod config;
mod curve;
mod ends;
mod expiry;
mod heads;
mod in_flight;
mod kv;
mod pins;
pub mod plan;
mod prefill;
mod prefix;
mod prefix_source;
mod prefix_tree;
mod prompts;
mod queue;
mod removal;
mod retained;
mod retry;
mod running;
mod saving;
mod sequence;
mod shares;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod times;
mod urgency;
mod window;

use std::time::{Duration, Instant};

use crate::constraint::ConstraintEnd;
use crate::request::{FinishReason, Request, SequenceId, TokenId};

pub use config::{AdaptiveWindow, BatchLimitConfig, Config, KvLimit, PrefixConfig, TuneConfig, WindowConfig};
pub use expiry::Expiry;
pub use pins::PinRefusal;
pub use retry::RetryConfig;
pub use saving::UnsavedPrefix;
pub use status::{AdmissionRecord, Counters, Load, Miss, MissRecord, PrefixCounters, Status};
pub use urgency::Urgency;
pub use window::{Reason, Tier};

use batch_limit::BatchLimit;
use ends::Ends;
use in_flight::InFlight;
use kv::KvBudget;
use plan::{ImportedPrefix, Overlap, Plan, RetainedPrefix, StepOutput};
use prefill::Prefill;
use prompts::Prompts;
use queue::Queue;
use retained::Retained;
use retry::Retries;
use running::Running;
use sequence::Sequence;
use window::Window;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Submit the plan. A plan without rows only drops or imports KV.
    Run,
    /// Nothing can run; ask again at this moment, and call [`Scheduler::expire`] before.
    WaitUntil(Instant),
    /// Nothing can run until a sequence is added or unparked, or a step is committed.
    Idle,
}

/// A token that the host read from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledToken {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token.
    pub token: TokenId,
    /// Set for the last token. The sequence is then removed.
    pub finish: Option<FinishReason>,
    /// Set if the sequence's constraint allows no further token. The caller removes a sequence whose constraint failed.
    pub constraint_end: Option<ConstraintEnd>,
}

/// The size of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepSize {
    /// Sequences that the step fed.
    pub num_rows: usize,
    /// Sequences that decoded.
    pub num_decoding: usize,
    /// Prompt tokens of the others.
    pub num_prompt_tokens: usize,
}

/// Decides what each step does for the sequences of one model.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    queue: Queue,
    retries: Retries,
    running: Running,
    /// What the next plan retains, releases and imports.
    retain: Vec<RetainedPrefix>,
    release: Vec<SequenceId>,
    import: Vec<ImportedPrefix>,
    retained: Retained,
    /// Sequences whose prompts will be pinned, and some that have ended.
    pinning: Vec<SequenceId>,
    in_flight: InFlight,
    window: Window,
    batch_limit: BatchLimit,
    prefill: Prefill,
    kv: KvBudget,
    ends: Ends,
    /// Steps in which waiting prompts were held although a row was free.
    num_held: u32,
    /// The step time of streams of other models on this device; `None` without such streams.
    streams_beside: Option<Duration>,
    next_step: u64,
    counters: Counters,
    admitted: Vec<AdmissionRecord>,
    misses: Vec<MissRecord>,
    prompts: Prompts,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            queue: Queue::new(config.ageing),
            retries: Retries::new(config.retry),
            running: Running::default(),
            retain: Vec::new(),
            release: Vec::new(),
            import: Vec::new(),
            retained: Retained::new(config.prefix),
            pinning: Vec::new(),
            in_flight: InFlight::default(),
            window: Window::new(config.window),
            batch_limit: BatchLimit::new(config.batch_limit),
            prefill: Prefill::new(config.prefill_chunk, config.stretch),
            kv: KvBudget::new(config.kv),
            ends: Ends::default(),
            num_held: 0,
            streams_beside: None,
            next_step: 0,
            counters: Counters::default(),
            admitted: Vec::new(),
            misses: Vec::new(),
            prompts: Prompts::default(),
        }
    }

    /// Adds a request to the queue. `id` must be new.
    pub fn add(&mut self, id: SequenceId, request: Request, now: Instant) {
        self.window.arrived(now);
        self.pinning.extend(request.pin.map(|_| id));
        let mut sequence = Sequence::new(id, request, now);
        sequence.answer_estimate = self.ends.estimate(self.queue.mean_answer(&sequence));
        if self.num_free() == 0 || !self.queue.is_empty() {
            self.keep_prefix(&sequence);
        }
        self.queue.push(sequence, now);
    }

    /// Whether a step may be planned before the steps in flight are committed. At most one step is submitted ahead, and only
    /// to a device that overlaps with the host.
    ///
    /// If `submit` may block, both steps must only decode: a step with a prompt would delay the tokens of the previous step, and
    /// the measured time of one step would include the other. If `submit` does not block, a step may also follow a prompt, and
    /// while rows decode it may read prompts itself: chunks are small then, so a new request waits for few tokens.
    pub fn may_plan(&self, overlap: Overlap) -> bool {
        let Some(step) = self.in_flight.front() else { return true };
        let may_follow = || match overlap {
            Overlap::None => false,
            Overlap::Bounded => step.num_prompt_tokens == 0 && !self.may_read(),
            Overlap::Whole => self.running.num_decoding() > 0 || !self.may_read(),
        };
        self.in_flight.len() == 1 && may_follow()
    }

    /// Sets how many bytes of KV the sequences may hold, and how many together with retained KV. Without a KV limit this has no
    /// effect.
    pub fn set_kv_bytes(&mut self, bytes: u64, with_retained: u64) {
        self.kv.set_bytes(bytes);
        self.kv.set_bytes_with_retained(with_retained);
    }

    /// Sets the bytes of KV of all models together. A request that needs more beside pinned prompts is refused.
    pub fn set_kv_total(&mut self, bytes: u64) {
        self.kv.set_total(bytes);
    }

    /// Bytes of KV that the sequences and pinned prompts hold; 0 without a KV limit.
    pub fn kv_bytes(&self) -> u64 {
        self.kv.bytes(self.running.positions_held(&self.kv) + self.kv.num_pinned())
    }

    /// Decides what to do now. For [`Decision::Run`], `plan` is overwritten. `num_coming` requests were accepted and are still
    /// being prepared.
    pub fn next(&mut self, now: Instant, num_coming: usize, plan: &mut Plan) -> Decision {
        plan.clear();
        while let Some(sequence) = self.retries.take_due(now) {
            self.queue.push(sequence, now);
        }
        self.queue.age(now);
        self.kv.grow(now);
        let window_end = self.admit(now, num_coming).err();
        self.make_room(now);
        self.plan_rows(plan);
        if plan.rows.is_empty() && self.release.is_empty() && self.import.is_empty() {
            if self.queue.next().is_none() && self.in_flight.is_empty() {
                self.window.rest(now);
            }
            let until = window_end.into_iter().chain(self.next_expiry()).chain(self.retries.next()).min();
            return until.map_or(Decision::Idle, Decision::WaitUntil);
        }
        plan.step = self.next_step;
        plan.retain.append(&mut self.retain);
        plan.release.append(&mut self.release);
        self.import_into(plan);
        self.next_step += 1;
        self.note_in_flight(plan);
        Decision::Run
    }

    /// Accounts for the oldest step in flight. Its tokens are appended to `sampled`, except those of sequences that ended or
    /// restarted meanwhile. `took` is the device's time for this step alone, if known. Returns the size of the step.
    pub fn commit(&mut self, output: &StepOutput, took: Option<Duration>, sampled: &mut Vec<SampledToken>) -> StepSize {
        let mut size = StepSize::default();
        if let Some(step) = self.in_flight.pop() {
            let (num_decoding, num_prompt_tokens) = (step.num_decoding, step.num_prompt_tokens);
            size = StepSize { num_rows: step.rows.len(), num_decoding, num_prompt_tokens };
            if let Some(took) = took {
                self.learn(&step, took);
            }
            self.in_flight.recycle(step);
        }
        if !output.tokens.is_empty() {
            self.ends.step();
        }
        // Tokens are in the order of the running sequences.
        let mut next = 0;
        for &(id, token) in &output.tokens {
            let Some(index) = self.running.position_from(next, id) else { continue };
            next = index;
            let closed = output.closed.iter().find(|(sequence, _)| *sequence == id);
            sampled.extend(self.take(index, token, closed.map(|(_, constraint_end)| *constraint_end), output.step));
        }
        size
    }

    /// Removes a sequence that has ended, by a token or by its text, and updates the estimates. Returns whether it existed.
    pub fn end(&mut self, id: SequenceId) -> bool {
        if let Some(sequence) = self.running.get(id) {
            self.ends.ended(sequence.num_read());
        }
        self.remove(id)
    }

    /// Changes the urgency of a sequence: requests have joined it or left it.
    pub fn revise(&mut self, id: SequenceId, urgency: Urgency, now: Instant) {
        match self.running.get_mut(id) {
            Some(sequence) if sequence.is_aside => {
                self.queue.forget_aside(sequence);
                sequence.revise(urgency);
                self.queue.set_aside(sequence);
            }
            Some(sequence) => sequence.revise(urgency),
            None => match self.retries.get_mut(id) {
                Some(sequence) => sequence.revise(urgency),
                None => self.queue.revise(id, urgency, now),
            },
        }
    }

    /// Number of tokens that the steps in flight sample for a sequence.
    pub fn num_under_way(&self, id: SequenceId) -> usize {
        self.running.get(id).map_or(0, Sequence::num_under_way)
    }

    /// Leaves a sequence out of plans until [`unpark`](Self::unpark). Its KV stays as long as memory allows. Returns whether the
    /// sequence ran before. A step in flight may still sample a token of it.
    pub fn park(&mut self, id: SequenceId, now: Instant) -> bool {
        let sequence = self.running.get_mut(id).filter(|sequence| sequence.parked_at.is_none());
        let Some(sequence) = sequence else { return false };
        self.queue.forget_aside(sequence);
        sequence.parked_at = Some(now);
        true
    }

    /// Lets a parked sequence run again. If its KV was dropped meanwhile, it waits in the queue.
    pub fn unpark(&mut self, id: SequenceId, now: Instant) {
        let Some(sequence) = self.running.get_mut(id) else { return };
        let was_parked = sequence.parked_at.take().is_some();
        if was_parked
            && !sequence.is_on_device()
            && let Some(sequence) = self.running.take(id)
        {
            self.queue.push(sequence, now);
        }
    }

    /// Steps that were planned and not committed.
    pub fn num_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Numbers of queued, running and parked sequences that requests wait for.
    pub fn load(&self) -> Load {
        let num_parked = self.running.len() - self.running.active().count();
        let (queued_again, running_again) = self.num_read_again();
        let num_queued = self.queue.len() + self.retries.len() - queued_again;
        Load { num_queued, num_running: self.running.len() - running_again, num_parked }
    }

    /// Sequences that are left out of plans because their readers are behind.
    pub fn num_behind(&self) -> usize {
        self.running.num_behind()
    }

    /// Whether the scheduler has no sequence.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.retries.is_empty() && self.running.is_empty()
    }

    /// The admissions since this was last called, oldest first.
    pub fn admissions(&mut self) -> impl Iterator<Item = AdmissionRecord> {
        self.admitted.drain(..)
    }

    /// The requests that found no prefix since this was last called, oldest first.
    pub fn misses(&mut self) -> impl Iterator<Item = MissRecord> {
        self.misses.drain(..)
    }

    /// The model's share of the device's time, relative to other models: the number of tenants with rows of the most urgent
    /// priority, times the weight of that priority, which is four times that of the next lower one.
    pub fn weight(&self) -> u32 {
        self.running.weight(self.queue.next().map(|next| next.rank))
    }

    /// Sets the step time of other models' streams; `None` without such streams. Chunks of prompts are then about as short as
    /// their steps.
    pub fn set_streams_beside(&mut self, step: Option<Duration>) {
        self.streams_beside = step;
    }

    /// Sequences that may run together now.
    pub fn batch_limit(&self) -> usize {
        self.batch_limit.limit()
    }

    /// Counters since the scheduler was created.
    pub fn counters(&self) -> Counters {
        let (tier_switches, tier_samples) = (self.window.num_switches, self.window.num_samples);
        Counters { tier_switches, tier_samples, limit_changes: self.batch_limit.num_changes(), ..self.counters }
    }

    /// Writes all figures. It allocates only if `status` had fewer step times before.
    pub fn write_status(&self, status: &mut Status) {
        let Status { load, counters, prefix, batch_limit, window, tier, step_times, prefill_cost } = status;
        *load = self.load();
        *counters = self.counters();
        *prefix = self.retained.counters(&self.kv);
        *batch_limit = self.batch_limit.limit();
        *window = self.window.length();
        *tier = self.window.tier();
        step_times.clear();
        step_times.extend(self.batch_limit.measured());
        *prefill_cost = self.prefill.line();
    }
}
