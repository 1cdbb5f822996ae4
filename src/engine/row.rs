//! One generation while it runs: its answer log, its readers, its text, its permit and its time stamps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};

use crate::answers::{AnswerLog, Backlog, Claim, Close, Finished, ReaderId, Stamps};
use crate::constraint::ConstraintEnd;
use crate::error::Error;
use crate::request::{FinishReason, Progress, TokenLogprob};
use crate::scheduler::plan::Prefix;
use crate::scheduler::{Drawn, Urgency};
use crate::text::{StreamState, TextStream};

use super::command::Submission;
use super::listeners::Readers;
use super::permit::Permit;

/// Dropping a row returns its permit. Readers that join bring none: they cost no place, only a cursor.
pub(super) struct Row {
    pub(super) log: Arc<AnswerLog>,
    pub(super) readers: SmallVec<[Follower; 1]>,
    /// What they want together with those who left since it was [looked at](Self::reconsider).
    urgency: Urgency,
    /// What the log says, where somebody left since it said something new.
    so_far: Option<Arc<AnswerLog>>,
    /// What others must ask for to share it, and the clearing after which they may not any more.
    pub(super) claim: Option<(Claim, u64)>,
    text: TextStream,
    _permit: Permit,
    stamps: Stamps,
    num_input_tokens: usize,
    num_cached_tokens: usize,
    num_output_tokens: usize,
    /// Its readers cannot be behind before it has this many tokens.
    check_backlog_at: usize,
    seed: u64,
}

/// A reader of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Follower {
    pub(super) reader: ReaderId,
    pub(super) urgency: Urgency,
}

impl Row {
    pub(super) fn new(submission: Submission, text: TextStream, epoch: u64) -> Self {
        let urgency = Urgency::of(&submission.request);
        Self {
            log: submission.log,
            readers: smallvec![Follower { reader: submission.reader, urgency }],
            urgency,
            so_far: None,
            claim: submission.claim.map(|claim| (claim, epoch)),
            text,
            _permit: submission.permit,
            stamps: Stamps::default(),
            num_input_tokens: submission.request.prompt.len(),
            num_cached_tokens: 0,
            num_output_tokens: 0,
            check_backlog_at: 0,
            seed: submission.request.sampling.seed,
        }
    }

    /// Notes that a step holds the request.
    pub(super) fn start(&mut self, now: Instant) {
        self.stamps.started.get_or_insert(now);
    }

    /// Notes that it begins with KV of another one. What it gets where it begins anew was computed for it once.
    pub(super) fn copies(&mut self, prefix: Prefix) {
        if self.stamps.started.is_none() {
            self.num_cached_tokens = prefix.num_positions;
        }
    }

    /// Its prompt has been read up to that position; behind it comes what was said before it began anew.
    pub(super) fn prompt_read_to(&self, position: usize) -> Progress {
        let total = self.num_input_tokens;
        Progress { processed: position.min(total), total, cached: self.num_cached_tokens }
    }

    /// Its prompt has been read.
    pub(super) fn prompt_read(&self) -> Progress {
        self.prompt_read_to(self.num_input_tokens)
    }

    /// Its prompt was there, for a reader that came later.
    pub(super) fn prompt_there(&self) -> Progress {
        Progress { cached: self.num_input_tokens, ..self.prompt_read() }
    }

    /// Takes a token that was read, with the log-probabilities that were asked for. Says whether a stop sequence was
    /// completed by it. One that only ends the sequence, an end-of-sequence token, has no text of its own; one with
    /// which a constraint finds the answer complete is part of it.
    pub(super) fn push(&mut self, drawn: Drawn, logprobs: &[TokenLogprob], now: Instant) -> StreamState {
        let Drawn { token, finish, constraint_end, .. } = drawn;
        let is_end = finish == Some(FinishReason::Stop) && constraint_end != Some(ConstraintEnd::Complete);
        self.stamps.first_token.get_or_insert(now);
        self.stamps.last_token = Some(now);
        self.num_output_tokens += 1;
        self.so_far = None;
        let text = &mut self.text;
        self.log.write(token, logprobs, |out| if is_end { StreamState::Open } else { text.push(token, out) })
    }

    /// Whether every reader is behind, with the tokens that are under way. Asked of the readers, who share a lock, only
    /// when it can be so.
    pub(super) fn is_out_of_credit(&mut self, readers: &Readers, num_under_way: impl FnOnce() -> usize) -> bool {
        if self.num_output_tokens < self.check_backlog_at {
            return false;
        }
        match readers.backlog(self.readers.iter().map(|follower| follower.reader), num_under_way()) {
            Backlog::Exceeded => true,
            Backlog::Room(room) => {
                // By then one more may be under way.
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

    /// Takes a reader out; the last one takes its place.
    pub(super) fn leave(&mut self, index: usize) -> Follower {
        // The one that kept up may have been the one that left.
        self.check_backlog_at = 0;
        self.readers.swap_remove(index)
    }

    /// What its readers want together.
    pub(super) fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Leaves out of that who has left. Looks at every reader: done once for many who left together.
    pub(super) fn reconsider(&mut self) {
        self.urgency = self.readers.iter().map(|follower| follower.urgency).reduce(Urgency::and).unwrap_or_default();
    }

    /// What it says so far, for a reader that leaves while others go on. All who leave before it says more share that.
    pub(super) fn so_far(&mut self) -> Arc<AnswerLog> {
        Arc::clone(self.so_far.get_or_insert_with(|| Arc::new(self.log.so_far())))
    }

    /// Ends the answer well. Text that was held back is delivered; it may complete a stop sequence, which then is why.
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

    /// How long it was on the device, if its answer is complete.
    pub(super) fn stay(end: &Close) -> Option<Duration> {
        let finished = end.as_ref().ok().filter(|finished| finished.finish_reason != FinishReason::Cancelled)?;
        Some(finished.stamps.ended?.saturating_duration_since(finished.stamps.started?))
    }

    /// Ends the answer with an error.
    pub(super) fn fail(&mut self, error: Error) -> Close {
        self.log.close("", Err(error.clone()));
        Err(error)
    }

    /// What it would have come to if it ended here. Text that is held back is not part of it.
    pub(super) fn finished(&self, finish_reason: FinishReason, now: Instant) -> Finished {
        let stamps = Stamps { ended: Some(now), ..self.stamps };
        let Self { num_input_tokens, num_cached_tokens, seed, .. } = *self;
        Finished { finish_reason, num_input_tokens, num_cached_tokens, seed, stamps }
    }
}
