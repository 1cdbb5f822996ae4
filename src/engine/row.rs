//! One request while it runs: its answer log, its readers, its text, its permit and its time stamps.

use std::sync::Arc;
use std::time::Instant;

use crate::answers::{AnswerLog, Backlog, End, ReaderId, Readers};
use crate::error::Error;
use crate::request::{FinishReason, Served, Summary, Timings, TokenId, Usage};
use crate::text::{StreamState, TextStream};

use super::command::Submission;
use super::permit::Permit;

/// Dropping a row returns its permit.
pub(super) struct Row {
    pub(super) log: Arc<AnswerLog>,
    pub(super) readers: Vec<ReaderId>,
    text: TextStream,
    _permit: Permit,
    stamps: Stamps,
    num_input_tokens: usize,
    num_output_tokens: usize,
    /// Its readers cannot be behind before it has this many tokens.
    check_backlog_at: usize,
    seed: u64,
    /// Text of the present token; kept to spare an allocation a token.
    piece: String,
}

#[derive(Debug, Clone, Copy)]
struct Stamps {
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Row {
    pub(super) fn new(submission: Submission, text: TextStream) -> Self {
        Self {
            log: submission.log,
            readers: vec![submission.reader],
            text,
            _permit: submission.permit,
            stamps: Stamps { submitted: submission.submitted_at, started: None, first_token: None, last_token: None },
            num_input_tokens: submission.request.prompt.len(),
            num_output_tokens: 0,
            check_backlog_at: 0,
            seed: submission.request.sampling.seed,
            piece: String::new(),
        }
    }

    /// Notes that a step holds the request.
    pub(super) fn start(&mut self, now: Instant) {
        self.stamps.started.get_or_insert(now);
    }

    /// Takes a token that was read. Says whether a stop sequence was completed by it.
    ///
    /// `is_end` tells that it is an end-of-sequence token, which has no text of its own.
    pub(super) fn push(&mut self, token: TokenId, is_end: bool, now: Instant) -> StreamState {
        self.stamps.first_token.get_or_insert(now);
        self.stamps.last_token = Some(now);
        self.piece.clear();
        let state = if is_end { StreamState::Open } else { self.text.push(token, &mut self.piece) };
        self.log.append(token, &self.piece);
        self.num_output_tokens += 1;
        state
    }

    /// Whether every reader is behind. Asked of the readers, who share a lock, only when it can be so.
    pub(super) fn is_out_of_credit(&mut self, readers: &Readers) -> bool {
        if self.num_output_tokens < self.check_backlog_at {
            return false;
        }
        match readers.backlog(&self.readers) {
            Backlog::Exceeded => true,
            Backlog::Room(room) => {
                self.check_backlog_at = self.num_output_tokens + room;
                false
            }
        }
    }

    /// Ends the answer well. Text that was held back is delivered; it may complete a stop sequence, which then is why.
    pub(super) fn finish(&mut self, reason: FinishReason, now: Instant) -> End {
        let mut rest = String::new();
        let reason = match self.text.finish(&mut rest) {
            StreamState::Stopped => FinishReason::Stop,
            StreamState::Open => reason,
        };
        let end = Ok(self.summary(reason, now));
        self.log.close(&rest, end.clone());
        end
    }

    /// Ends the answer with an error.
    pub(super) fn fail(&mut self, error: Error) -> End {
        self.log.close("", Err(error.clone()));
        Err(error)
    }

    fn summary(&self, finish_reason: FinishReason, now: Instant) -> Summary {
        let usage = Usage {
            input_tokens: self.num_input_tokens,
            cached_input_tokens: 0,
            output_tokens: self.num_output_tokens,
        };
        let timings = self.stamps.timings(now);
        Summary { finish_reason, usage, timings, served: Served::Computed, seed: self.seed }
    }
}

impl Stamps {
    /// Spans that never began are zero.
    fn timings(&self, now: Instant) -> Timings {
        let started = self.started.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        let last = self.last_token.unwrap_or(first);
        Timings {
            queue: started.saturating_duration_since(self.submitted),
            prefill: first.saturating_duration_since(started),
            ttft: first.saturating_duration_since(self.submitted),
            decode: last.saturating_duration_since(first),
            total: now.saturating_duration_since(self.submitted),
        }
    }
}
