//! One generation from its submission to its end: its answer log, its readers, its text and its time stamps.
//! `rows` finds rows and owns deadlines; the scheduler has the sequence of the row.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};

use crate::answers::{AnswerLog, Backlog, Begun, Claim, Close, Finished, ReaderId, Stamps};
use crate::constraint::ConstraintEnd;
use crate::error::Error;
use crate::request::{FinishReason, PinId, Progress, TokenLogprob};
use crate::scheduler::plan::Prefix;
use crate::scheduler::{SampledToken, Urgency};
use crate::text::{StreamState, TextStream};

use super::answer_parser::Readers;
use super::asked::Asked;
use super::command::Submission;

/// A generation. `router` keeps its request, and the permit of its first reader; readers that joined have none.
pub(super) struct Row {
    pub(super) log: Arc<AnswerLog>,
    pub(super) readers: SmallVec<[Follower; 1]>,
    /// The combined urgency of the readers, including readers that left since [`reconsider`](Self::reconsider).
    urgency: Urgency,
    /// A copy of the log for readers that left since the last token.
    so_far: Option<Arc<AnswerLog>>,
    /// The key under which the answer is shared, and the epoch of the cache when the row started.
    pub(super) claim: Option<(Claim, u64)>,
    text: TextStream,
    stamps: Stamps,
    /// When its request was submitted.
    submitted: Instant,
    num_input_tokens: usize,
    num_cached_tokens: usize,
    num_output_tokens: usize,
    /// Before the row has this many tokens, its readers have credit.
    check_backlog_at: usize,
    seed: u64,
    /// Set if the request pins its prompt.
    pub(super) pin: Option<PinId>,
}

/// A reader of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Follower {
    pub(super) asked: Asked,
    pub(super) urgency: Urgency,
}

impl Follower {
    pub(super) fn reader(&self) -> ReaderId {
        self.asked.reader
    }
}

impl Row {
    pub(super) fn new(submission: Submission, text: TextStream, epoch: u64) -> Self {
        let urgency = Urgency::of(&submission.request);
        Self {
            log: submission.log,
            readers: smallvec![Follower { asked: submission.asked, urgency }],
            urgency,
            so_far: None,
            claim: submission.claim.map(|claim| (claim, epoch)),
            text,
            stamps: Stamps::default(),
            submitted: submission.asked.at,
            num_input_tokens: submission.request.prompt.len(),
            num_cached_tokens: 0,
            num_output_tokens: 0,
            check_backlog_at: 0,
            seed: submission.request.sampling.seed,
            pin: submission.request.pin,
        }
    }

    /// Records that a step runs the request. Returns how long the request had waited, if it is the first step.
    pub(super) fn start(&mut self, now: Instant) -> Option<Duration> {
        if self.stamps.started.is_some() {
            return None;
        }
        self.stamps.started = Some(now);
        self.log.begin(self.begun());
        Some(now.saturating_duration_since(self.submitted))
    }

    /// When its last token came.
    pub(super) fn last_token(&self) -> Option<Instant> {
        self.stamps.last_token
    }

    /// Records the KV that the row starts with. A row that starts again, before its first token, may have lost KV that it had
    /// copied. KV that it computed itself never counts as cached.
    pub(super) fn copies(&mut self, prefix: Option<Prefix>) {
        let num_copied = prefix.map_or(0, |prefix| prefix.num_positions);
        if self.stamps.started.is_none() {
            self.num_cached_tokens = num_copied;
        } else if self.num_output_tokens == 0 && num_copied < self.num_cached_tokens {
            self.num_cached_tokens = num_copied;
            self.log.begin(self.begun());
        }
    }

    fn begun(&self) -> Begun {
        Begun { num_input_tokens: self.num_input_tokens, num_cached_tokens: self.num_cached_tokens }
    }

    /// Progress at a position. After preemption, positions beyond the prompt are tokens of the answer.
    pub(super) fn prompt_read_to(&self, position: usize) -> Progress {
        let total = self.num_input_tokens;
        Progress { processed: position.min(total), total, cached: self.num_cached_tokens }
    }

    /// Progress of a complete prompt.
    pub(super) fn prompt_read(&self) -> Progress {
        self.prompt_read_to(self.num_input_tokens)
    }

    /// Progress for a reader that joined after the prompt was complete.
    pub(super) fn prompt_cached(&self) -> Progress {
        Progress { cached: self.num_input_tokens, ..self.prompt_read() }
    }

    /// Adds a token with its log-probabilities to the answer. Returns whether it completed a stop sequence. An
    /// end-of-sequence token has no text; a token that completes a constraint is part of the text.
    pub(super) fn push(&mut self, sampled: SampledToken, logprobs: &[TokenLogprob], now: Instant) -> StreamState {
        let SampledToken { token, finish, constraint_end, .. } = sampled;
        let is_end = finish == Some(FinishReason::Stop) && constraint_end != Some(ConstraintEnd::Complete);
        self.stamps.first_token.get_or_insert(now);
        self.stamps.last_token = Some(now);
        self.num_output_tokens += 1;
        self.so_far = None;
        let text = &mut self.text;
        self.log.write(token, logprobs, |out| if is_end { StreamState::Open } else { text.push(token, out) })
    }

    /// Whether no reader has credit for the tokens in flight. Readers are behind a lock, so they are checked only when that
    /// is possible.
    pub(super) fn is_out_of_credit(&mut self, readers: &Readers, num_under_way: impl FnOnce() -> usize) -> bool {
        if self.num_output_tokens < self.check_backlog_at {
            return false;
        }
        match readers.backlog(self.readers.iter().map(Follower::reader), num_under_way()) {
            Backlog::Exceeded => true,
            Backlog::Room(room) => {
                // One more token may be in flight by then.
                self.check_backlog_at = self.num_output_tokens + (room - 1).max(1);
                false
            }
        }
    }

    /// Adds a reader.
    pub(super) fn join(&mut self, follower: Follower) {
        self.readers.push(follower);
        self.urgency = self.urgency.and(follower.urgency);
    }

    /// Removes a reader; the last reader takes its index.
    pub(super) fn leave(&mut self, index: usize) -> Follower {
        // The reader that left may have been the only one with credit.
        self.check_backlog_at = 0;
        self.readers.swap_remove(index)
    }

    /// The combined urgency of the readers.
    pub(super) fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Computes the urgency without readers that left. It visits every reader, so it is called once for many that left.
    pub(super) fn reconsider(&mut self) {
        self.urgency = self.readers.iter().map(|follower| follower.urgency).reduce(Urgency::and).unwrap_or_default();
    }

    /// A copy of the answer so far, for a reader that leaves while others continue. Readers that leave between two tokens
    /// share one copy.
    pub(super) fn so_far(&mut self) -> Arc<AnswerLog> {
        Arc::clone(self.so_far.get_or_insert_with(|| Arc::new(self.log.so_far())))
    }

    /// Ends the answer without an error. Text that was held back is added; if it completes a stop sequence, that is the
    /// finish reason.
    pub(super) fn finish(&mut self, reason: FinishReason, now: Instant) -> Close {
        let mut rest = String::new();
        let reason = match self.text.finish(&mut rest) {
            StreamState::Stopped => FinishReason::Stop,
            StreamState::Open => reason,
        };
        let end = Ok(self.finished(reason, now));
        self.log.close(&rest, end.clone());
        end
    }

    /// Time from the first step to the end, if the answer is complete.
    pub(super) fn stay(end: &Close) -> Option<Duration> {
        let finished = end.as_ref().ok().filter(|finished| finished.finish_reason != FinishReason::Cancelled)?;
        Some(finished.stamps.ended?.saturating_duration_since(finished.stamps.started?))
    }

    /// Tokens of the prompt that were computed for the row, and tokens of its answer.
    pub(super) fn num_computed(&self) -> (usize, usize) {
        (self.num_input_tokens - self.num_cached_tokens, self.num_output_tokens)
    }

    /// Ends the answer with an error.
    pub(super) fn fail(&mut self, error: Error) -> Close {
        self.log.close("", Err(error.clone()));
        Err(error)
    }

    /// The end of the answer at this point, for a reader that leaves. It does not include text that is held back.
    pub(super) fn finished(&self, finish_reason: FinishReason, now: Instant) -> Finished {
        let stamps = Stamps { ended: Some(now), ..self.stamps };
        let Self { num_input_tokens, num_cached_tokens, seed, .. } = *self;
        Finished { finish_reason, num_input_tokens, num_cached_tokens, seed, stamps }
    }
}
