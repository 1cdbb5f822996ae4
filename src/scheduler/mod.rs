//! Decides which sequences run in the next step and what they feed. It has no threads, no channels and no clock: `now` is an
//! argument, and the next deadline is a return value. So tests of a decision check the plan that it makes.
//!
//! A sequence is in exactly one of two places: `queue` (it holds no KV) or `running`. A running sequence that was set aside for
//! a more urgent one keeps its KV, and the queue decides when it gets a row again. Measurements decide how many sequences run
//! together (`batch_limit`), how many prompt tokens a step reads and how many prompts join at a time (`prefill`), and whether an
//! idle engine waits for more requests (`window`). A prompt that several sequences share is read once (`prefix`).
//!
//! Parts own their state and do not depend on the scheduler. `Scheduler` combines them: its interface is here, admission in
//! `admission`, one step in `step`, removal at deadlines in `expiry`.

mod admission;
mod batch_limit;
mod config;
mod curve;
mod ends;
mod expiry;
mod in_flight;
mod kv;
pub mod plan;
mod prefill;
mod prefix;
mod prefix_source;
mod prompts;
mod queue;
mod running;
mod sequence;
mod shares;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod urgency;
mod window;

use std::time::{Duration, Instant};

use crate::constraint::ConstraintEnd;
use crate::request::{FinishReason, Request, SequenceId, TokenId};

pub use config::{AdaptiveWindow, BatchLimitConfig, Config, KvLimit, TuneConfig, WindowConfig};
pub use expiry::Expiry;
pub use status::{AdmissionRecord, Counters, Load, Status};
pub use urgency::Urgency;
pub use window::{Reason, Tier};

use batch_limit::BatchLimit;
use ends::Ends;
use in_flight::InFlight;
use kv::KvBudget;
use plan::{Overlap, Plan, StepOutput};
use prefill::Prefill;
use prompts::Prompts;
use queue::Queue;
use running::Running;
use sequence::Sequence;
use window::Window;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Submit the plan. A plan without rows only drops KV.
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
    /// Prompt tokens of these sequences.
    pub num_prompt_tokens: usize,
}

/// Decides what each step does for the sequences of one model.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    queue: Queue,
    running: Running,
    release: Vec<SequenceId>,
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
    prompts: Prompts,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            queue: Queue::new(config.ageing),
            running: Running::default(),
            release: Vec::new(),
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
            prompts: Prompts::default(),
        }
    }

    /// Adds a request to the queue. `id` must be new.
    pub fn add(&mut self, id: SequenceId, request: Request, now: Instant) {
        self.window.arrived(now);
        let mut sequence = Sequence::new(id, request, now);
        sequence.answer_estimate = self.ends.estimate(self.queue.mean_answer(&sequence));
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

    /// Sets how many bytes of KV the sequences may hold. Without a KV limit this has no effect.
    pub fn set_kv_bytes(&mut self, bytes: u64) {
        self.kv.set_bytes(bytes);
    }

    /// Bytes of KV that the sequences hold; 0 without a KV limit.
    pub fn kv_bytes(&self) -> u64 {
        self.kv.bytes(self.running.positions_held(&self.kv))
    }

    /// Decides what to do now. For [`Decision::Run`], `plan` is overwritten. `num_coming` requests were accepted and are still
    /// being prepared.
    pub fn next(&mut self, now: Instant, num_coming: usize, plan: &mut Plan) -> Decision {
        plan.clear();
        self.queue.age(now);
        self.kv.grow(now);
        let window_end = self.admit(now, num_coming).err();
        self.make_room(now);
        prefix::share_prompts(&mut self.running, &self.kv);
        self.plan_rows(plan);
        if plan.rows.is_empty() && self.release.is_empty() {
            if self.queue.next().is_none() && self.in_flight.is_empty() {
                self.window.rest(now);
            }
            let until = window_end.into_iter().chain(self.next_expiry()).min();
            return until.map_or(Decision::Idle, Decision::WaitUntil);
        }
        plan.step = self.next_step;
        plan.release.append(&mut self.release);
        self.next_step += 1;
        self.note_in_flight(plan);
        Decision::Run
    }

    /// Accounts for the oldest step in flight. Its tokens are appended to `sampled`, except those of sequences that ended or
    /// restarted meanwhile. `took` is the device's time for this step alone, if known. Returns the size of the step.
    pub fn commit(&mut self, output: &StepOutput, took: Option<Duration>, sampled: &mut Vec<SampledToken>) -> StepSize {
        let mut size = StepSize::default();
        if let Some(step) = self.in_flight.pop() {
            size = StepSize { num_rows: step.rows.len(), num_prompt_tokens: step.num_prompt_tokens };
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

    /// Removes a sequence that no request reads any more. Returns whether it existed.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        let running = self.running.take(id);
        self.release.extend(running.as_ref().map(|sequence| sequence.id));
        let sequence = running.or_else(|| self.queue.remove(id));
        sequence.map(|mut sequence| self.queue.settle(&mut sequence)).is_some()
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
            None => self.queue.revise(id, urgency, now),
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

    /// Numbers of queued, running and parked sequences.
    pub fn load(&self) -> Load {
        let num_parked = self.running.len() - self.running.active().count();
        Load { num_queued: self.queue.len(), num_running: self.running.len(), num_parked }
    }

    /// Sequences that are left out of plans because their readers are behind.
    pub fn num_behind(&self) -> usize {
        self.running.num_behind()
    }

    /// Whether the scheduler has no sequence.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// The admissions since this was last called, oldest first.
    pub fn admissions(&mut self) -> impl Iterator<Item = AdmissionRecord> {
        self.admitted.drain(..)
    }

    /// The model's share of the device's time, relative to other models: the number of tenants with rows of the most urgent
    /// priority, times the weight of that priority, which is four times that of the next lower one.
    pub fn weight(&self) -> u32 {
        self.running.weight(self.queue.next().map(|next| next.rank))
    }

    /// The time of a decode step; `None` while no row decodes, zero before a measurement.
    pub fn stream_step(&self) -> Option<Duration> {
        let num_rows = self.running.num_decoding();
        let is_active = num_rows > 0;
        is_active.then(|| self.batch_limit.step_time(num_rows).unwrap_or_default())
    }

    /// Sets the step time of other models' streams; `None` without such streams. Chunks of prompts are then about as short as
    /// their steps.
    pub fn set_streams_beside(&mut self, step: Option<Duration>) {
        self.streams_beside = step;
    }

    /// Removes all sequences.
    pub fn clear(&mut self) {
        self.release.extend(self.running.take_all().map(|sequence| sequence.id));
        self.queue = Queue::new(self.config.ageing);
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
        let Status { load, counters, batch_limit, window, tier, step_times, prefill_cost } = status;
        *load = self.load();
        *counters = self.counters();
        *batch_limit = self.batch_limit.limit();
        *window = self.window.length();
        *tier = self.window.tier();
        step_times.clear();
        step_times.extend(self.batch_limit.measured());
        *prefill_cost = self.prefill.line();
    }
}
