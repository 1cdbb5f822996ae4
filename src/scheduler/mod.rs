//! Pure decisions: who runs in the next step and what it feeds. No threads, no channels, no clock: `now` is an argument
//! and the next deadline a return value, so that every decision is tested on the plan it makes.
//!
//! A sequence is in exactly one of two places: `queue` (holds no KV) or `running`. One that runs may wait for its turn as well:
//! it was set aside for a more urgent one and keeps its KV. What is decided from measurements:
//! how many run together (`batch_limit`), how many prompt tokens a step takes and how many prompts join at a time (`prefill`),
//! and whether an idle engine waits for company (`window`). Prompts that are one are read once (`prefix`).

mod admission;
mod batch_limit;
mod beside;
mod config;
mod curve;
mod kv;
pub mod plan;
mod planning;
mod prefill;
mod prefix;
mod prefix_source;
mod queue;
mod recovery;
mod sequence;
mod shares;
mod status;
#[cfg(test)]
mod tests;
mod urgency;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::constraint::ConstraintEnd;
use crate::request::{FinishReason, Priority, Request, SequenceId, TokenId};

pub use config::{AdaptiveWindow, BatchLimitConfig, Config, KvLimit, TuneConfig, WindowConfig};
pub use status::{AdmissionRecord, Counters, Load, Status};
pub use urgency::Urgency;
pub use window::{Reason, Tier};

use batch_limit::BatchLimit;
use kv::KvBudget;
use plan::{Overlap, Plan, StepOutput};
use prefill::Prefill;
use queue::Queue;
use sequence::Sequence;
use window::Window;

/// Parked sequences that may hold KV at a time, for each row of the widest batch: they gave their rows away.
const PARKED_PER_ROW: usize = 3;
/// Weight of a new sample of how many sequences end in a step, and of how many tokens they had.
const ENDS_ALPHA: f64 = 0.05;

/// Tokens that an answer is expected to have before any has ended.
const FIRST_ANSWER_ESTIMATE: usize = 256;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Submit the plan. One without rows only drops KV.
    Run,
    /// Nothing can run; ask again at this moment, and call [`Scheduler::expire`] before.
    WaitUntil(Instant),
    /// Nothing can run until a sequence is added or unparked, or a step is committed.
    Idle,
}

/// A token that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledToken {
    /// Whose.
    pub sequence: SequenceId,
    /// Which.
    pub token: TokenId,
    /// Set when it was the last; the sequence is gone then.
    pub finish: Option<FinishReason>,
    /// Set where its constraint lets nothing follow. One that failed is left for the caller to remove.
    pub constraint_end: Option<ConstraintEnd>,
}

/// What a step was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepSize {
    /// Sequences that it fed.
    pub num_rows: usize,
    /// Prompt tokens of these.
    pub num_prompt_tokens: usize,
}

/// Why a sequence was taken out without having finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Its deadline passed.
    Deadline,
    /// Its deadline is nearer than reading its prompt takes.
    Hopeless,
    /// Its reader was behind for longer than the park timeout.
    Parked,
}

/// Decides what each step does for the sequences of one model.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    queue: Queue,
    running: Vec<Sequence>,
    release: Vec<SequenceId>,
    in_flight: VecDeque<InFlight>,
    /// Lists of steps that were committed, to be used again.
    spare: Vec<Vec<SequenceId>>,
    window: Window,
    batch_limit: BatchLimit,
    prefill: Prefill,
    kv: KvBudget,
    /// Mean number of sequences that end in a step.
    ends_per_step: f64,
    /// Mean number of tokens of an answer, as far as any ended.
    answer_tokens: f64,
    /// Steps for which prompts were held back although a place was free.
    num_held: u32,
    /// The step time of streams of other models on this device, while there are any.
    streams_beside: Option<Duration>,
    next_step: u64,
    counters: Counters,
    admitted: Vec<AdmissionRecord>,
    /// Rows of a plan that read their prompt: rank, tokens to go and index; kept to spare allocations.
    prefilling: Vec<(Priority, usize, usize)>,
}

/// A step that was planned and not committed.
#[derive(Debug)]
struct InFlight {
    num_decoding: usize,
    num_prompt_tokens: usize,
    rows: Vec<SequenceId>,
    /// What is held with it: sequences, and positions in whole blocks.
    num_holders: usize,
    num_positions: usize,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            queue: Queue::new(config.ageing),
            running: Vec::new(),
            release: Vec::new(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            window: Window::new(config.window),
            batch_limit: BatchLimit::new(config.batch_limit),
            prefill: Prefill::new(config.prefill_chunk, config.stretch),
            kv: KvBudget::new(config.kv),
            ends_per_step: 0.0,
            answer_tokens: 0.0,
            num_held: 0,
            streams_beside: None,
            next_step: 0,
            counters: Counters::default(),
            admitted: Vec::new(),
            prefilling: Vec::new(),
        }
    }

    /// Adds a request to the queue. `id` must be new.
    pub fn add(&mut self, id: SequenceId, request: Request, now: Instant) {
        self.window.arrived(now);
        let mut sequence = Sequence::new(id, request, now);
        let mean = self.queue.mean_answer(&sequence).unwrap_or(self.answer_tokens);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of counts")]
        let estimate = if mean > 0.0 { mean.ceil() as usize } else { FIRST_ANSWER_ESTIMATE };
        sequence.answer_estimate = estimate;
        self.queue.push(sequence, now);
    }

    /// Whether a step is to be planned before those in flight are committed: one ahead of another, where the device
    /// overlaps with the host.
    ///
    /// Where submitting may wait for the device, only if both are sure to decode only: a step with a prompt would keep
    /// the tokens of the one before, and take its time for its own. Where it does not, also behind a prompt and, beside
    /// rows that decode, ahead of the next part of one; chunks are small there, so that who comes meanwhile waits no
    /// longer than for a few tokens.
    pub fn may_plan(&self, overlap: Overlap) -> bool {
        let Some(step) = self.in_flight.front() else { return true };
        let may_follow = || match overlap {
            Overlap::None => false,
            Overlap::Bounded => step.num_prompt_tokens == 0 && !self.may_read(),
            Overlap::Whole => self.running.iter().any(Sequence::decodes_next) || !self.may_read(),
        };
        self.in_flight.len() == 1 && may_follow()
    }

    /// Sets how many bytes of KV its sequences may hold, where that is limited.
    pub fn set_kv_bytes(&mut self, bytes: u64) {
        self.kv.set_bytes(bytes);
    }

    /// Bytes of KV that its sequences hold, where that is limited.
    pub fn kv_bytes(&self) -> u64 {
        self.kv.bytes(self.positions_held())
    }

    /// Decides what to do now; a plan to be run is written to `plan`, whatever was there before. `num_coming` requests
    /// were accepted and are still being prepared.
    pub fn next(&mut self, now: Instant, num_coming: usize, plan: &mut Plan) -> Decision {
        plan.clear();
        self.queue.age(now);
        self.kv.grow(now);
        let window_end = self.admit(now, num_coming).err();
        self.make_room(now);
        self.share_prompts();
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

    /// Accounts for the oldest step that was not committed: its tokens, appended to `drawn`, and the time the device
    /// had for it alone, where that is known. Tokens of sequences that ended or began anew while the step was in flight
    /// are dropped. Says how large the step was.
    pub fn commit(&mut self, output: &StepOutput, took: Option<Duration>, drawn: &mut Vec<SampledToken>) -> StepSize {
        let mut size = StepSize::default();
        if let Some(step) = self.in_flight.pop_front() {
            size = StepSize { num_rows: step.rows.len(), num_prompt_tokens: step.num_prompt_tokens };
            if let Some(took) = took {
                self.learn(&step, took);
            }
            self.recycle(step);
        }
        if !output.tokens.is_empty() {
            self.ends_per_step -= ENDS_ALPHA * self.ends_per_step;
        }
        // Rows come in the order of those who run, and so do their tokens.
        let mut next = 0;
        for &(id, token) in &output.tokens {
            let Some(index) = self.position_from(next, id) else { continue };
            next = index;
            let closed = output.closed.iter().find(|(sequence, _)| *sequence == id);
            drawn.extend(self.take(index, token, closed.map(|(_, constraint_end)| *constraint_end), output.step));
        }
        size
    }

    /// Takes a sequence out that has come to its end, by a token or by its text, and learns from it. Says whether it
    /// was there.
    pub fn end(&mut self, id: SequenceId) -> bool {
        if let Some(sequence) = self.running_mut(id) {
            let num_tokens = sequence.num_read() as f64;
            let is_first = self.answer_tokens == 0.0;
            self.answer_tokens += if is_first { num_tokens } else { ENDS_ALPHA * (num_tokens - self.answer_tokens) };
            self.ends_per_step += ENDS_ALPHA;
        }
        self.remove(id)
    }

    /// Takes a sequence out that is not wanted any more. Says whether it was there.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        let is_running = self.running.iter().position(|sequence| sequence.id == id);
        let sequence = match is_running {
            Some(index) => Some(self.running.remove(index)),
            None => self.queue.remove(id),
        };
        self.release.extend(is_running.map(|_| id));
        sequence.map(|mut sequence| self.queue.settle(&mut sequence)).is_some()
    }

    /// Changes how urgent a sequence is and until when it is wanted: others have come to wait for it, or have left.
    pub fn revise(&mut self, id: SequenceId, urgency: Urgency, now: Instant) {
        match self.running.iter_mut().find(|sequence| sequence.id == id) {
            Some(sequence) if sequence.is_aside => {
                self.queue.forget_aside(sequence);
                sequence.revise(urgency);
                self.queue.set_aside(sequence);
            }
            Some(sequence) => sequence.revise(urgency),
            None => self.queue.revise(id, urgency, now),
        }
    }

    /// Tokens of a sequence that planned steps draw and that were not read.
    pub fn num_under_way(&self, id: SequenceId) -> usize {
        self.running.iter().find(|sequence| sequence.id == id).map_or(0, Sequence::num_under_way)
    }

    /// Leaves a sequence out of plans until [`unpark`](Self::unpark); its KV stays as long as there is memory. Says
    /// whether that is new: a step that was planned before may bring another token of it.
    pub fn park(&mut self, id: SequenceId, now: Instant) -> bool {
        let is_it = |sequence: &&mut Sequence| sequence.id == id && sequence.parked_at.is_none();
        let Some(sequence) = self.running.iter_mut().find(is_it) else { return false };
        self.queue.forget_aside(sequence);
        sequence.parked_at = Some(now);
        true
    }

    /// Lets a parked sequence run again. One whose KV was taken meanwhile waits for its turn.
    pub fn unpark(&mut self, id: SequenceId, now: Instant) {
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        let was_parked = self.running[index].parked_at.take().is_some();
        if was_parked && !self.running[index].is_on_device() {
            let sequence = self.running.remove(index);
            self.queue.push(sequence, now);
        }
    }

    /// Takes out what is past its time or cannot be in time any more, wherever it is.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<(SequenceId, Expiry)>) {
        let from = expired.len();
        let due = |sequence: &Sequence| self.expiry_of(sequence).filter(|&(at, _)| at <= now);
        expired.extend(self.running.iter().filter_map(|sequence| due(sequence).map(|(_, why)| (sequence.id, why))));
        for &(id, _) in &expired[from..] {
            self.remove(id);
        }
        while let Some((_, id)) = self.queue.first_deadline().filter(|&(at, _)| at <= now) {
            self.queue.remove(id);
            expired.push((id, Expiry::Deadline));
        }
        // Where nobody runs it costs nobody anything to try, and teaches what prompts cost by now.
        let is_busy = self.active().next().is_some();
        let next_hopeless = |it: &Self| it.queue.peek().filter(|next| it.is_hopeless(next, now)).map(|next| next.id);
        while is_busy && let Some(id) = next_hopeless(self) {
            self.queue.remove(id);
            expired.push((id, Expiry::Hopeless));
        }
    }

    /// Steps that were planned and not committed.
    pub fn num_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How full the scheduler is.
    pub fn load(&self) -> Load {
        let num_parked = self.running.len() - self.active().count();
        Load { num_queued: self.queue.len(), num_running: self.running.len(), num_parked }
    }

    /// Sequences that are left out of plans because their readers are behind.
    pub fn num_behind(&self) -> usize {
        self.running.iter().filter(|sequence| sequence.parked_at.is_some()).count()
    }

    /// Whether no sequence is left.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// The admissions since this was last called, oldest first.
    pub fn admissions(&mut self) -> impl Iterator<Item = AdmissionRecord> {
        self.admitted.drain(..)
    }

    fn next_expiry(&self) -> Option<Instant> {
        let running = self.running.iter().filter_map(|sequence| self.expiry_of(sequence)).map(|(at, _)| at);
        running.chain(self.queue.first_deadline().map(|(at, _)| at)).min()
    }

    fn expiry_of(&self, sequence: &Sequence) -> Option<(Instant, Expiry)> {
        let parked = sequence.parked_at.and_then(|since| since.checked_add(self.config.park_timeout));
        let deadline = sequence.deadline.map(|at| (at, Expiry::Deadline));
        [deadline, parked.map(|at| (at, Expiry::Parked))].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Whether there is less than half the time that reading the prompt alone takes, as far as was measured.
    fn is_hopeless(&self, sequence: &Sequence, now: Instant) -> bool {
        let prompt = self.prefill.cost(sequence.num_known());
        sequence.deadline.zip(prompt).is_some_and(|(at, cost)| at.saturating_duration_since(now) < cost / 2)
    }

    /// Those that take part in steps.
    fn active(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().filter(|sequence| !sequence.is_parked())
    }

    /// Where a sequence is among those who run; looked for from an index on, then from the beginning.
    fn position_from(&self, start: usize, id: SequenceId) -> Option<usize> {
        let (before, after) = self.running.split_at(start.min(self.running.len()));
        let place_in = |part: &[Sequence]| part.iter().position(|sequence| sequence.id == id);
        place_in(after).map(|index| before.len() + index).or_else(|| place_in(before))
    }

    fn running_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.running.iter_mut().find(|sequence| sequence.id == id)
    }
}
