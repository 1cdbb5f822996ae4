//! One request as the scheduler sees it: how many positions were fed to the device and how many tokens were drawn and
//! read. A step lets the fed positions catch up with the known tokens; prefill and decode are the same motion.

use std::sync::Arc;
use std::time::Instant;

use crate::request::{FinishReason, Request, SamplingParams, SequenceId, StopRules, TokenId};

use super::plan::{Admission, Feed, Row};

/// A request that was added and has not ended.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    pub(super) deadline: Option<Instant>,
    /// Set while the reader is behind: the sequence keeps its KV and is left out of plans.
    pub(super) parked_at: Option<Instant>,
    sampling: SamplingParams,
    stop: StopRules,
    max_positions: usize,
    /// The tokens handed to the executor at admission: the prompt, and after a restart what was generated before it.
    known: Arc<[TokenId]>,
    /// Tokens read since admission.
    read: Vec<TokenId>,
    /// Tokens read before the last restart.
    num_read_before: usize,
    /// Positions submitted to the device since admission.
    num_fed: usize,
    /// Tokens drawn by submitted steps since admission; those beyond `read` are in flight.
    num_drawn: usize,
    admitted: bool,
}

impl Sequence {
    pub(super) fn new(id: SequenceId, request: Request) -> Self {
        Self {
            id,
            deadline: request.deadline,
            parked_at: None,
            sampling: request.sampling,
            max_positions: request.max_positions(),
            stop: request.stop,
            known: request.prompt,
            read: Vec::new(),
            num_read_before: 0,
            num_fed: 0,
            num_drawn: 0,
            admitted: false,
        }
    }

    /// The admission that must precede the first row, once.
    pub(super) fn admit(&mut self) -> Option<Admission> {
        (!std::mem::replace(&mut self.admitted, true)).then(|| Admission {
            sequence: self.id,
            prompt: Arc::clone(&self.known),
            sampling: self.sampling,
            max_positions: self.max_positions,
        })
    }

    pub(super) fn is_prefilling(&self) -> bool {
        self.num_fed < self.known.len()
    }

    /// Whether another step has anything to do, as far as is known before tokens in flight are read.
    pub(super) fn wants_step(&self) -> bool {
        self.parked_at.is_none() && (self.is_prefilling() || self.num_drawn_total() < self.stop.max_tokens)
    }

    /// The next row, which is then counted as fed: at most `budget` prompt tokens, or the token drawn last.
    pub(super) fn advance(&mut self, budget: usize) -> Row {
        let start = self.num_fed;
        let feed = if self.is_prefilling() {
            Feed::Prompt { len: (self.known.len() - start).min(budget) }
        } else {
            Feed::Sampled
        };
        let mut row = Row { sequence: self.id, start, feed, sample: false };
        self.num_fed += row.len();
        row.sample = !self.is_prefilling();
        self.num_drawn += usize::from(row.sample);
        row
    }

    /// Takes a token that was read; says whether it is the last.
    pub(super) fn take(&mut self, token: TokenId) -> Option<FinishReason> {
        self.read.push(token);
        if self.stop.end_tokens.contains(&token) {
            Some(FinishReason::Stop)
        } else if self.num_read() >= self.stop.max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        }
    }

    /// The device forgot everything: start again from all tokens read so far. Draws are keyed by position, so the
    /// continuation is the one that would have come.
    pub(super) fn restart(&mut self) {
        self.num_read_before += self.read.len();
        self.known = self.known.iter().copied().chain(self.read.drain(..)).collect();
        self.num_fed = 0;
        self.num_drawn = 0;
        self.admitted = false;
    }

    fn num_read(&self) -> usize {
        self.num_read_before + self.read.len()
    }

    fn num_drawn_total(&self) -> usize {
        self.num_read_before + self.num_drawn
    }
}
