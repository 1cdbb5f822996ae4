//! The scheduler's state of a sequence: how many positions were fed to the device, and how many tokens were sampled and read. A
//! step feeds known tokens that are not fed yet, in prefill and decode alike.

use std::sync::Arc;
use std::time::Instant;

use crate::constraint::{Constraint, ConstraintEnd};
use crate::request::{
    FinishReason, PinId, PrefixScope, Priority, Request, SamplingParams, ScriptedTokens, SequenceId, StopRules, TokenId,
};

use super::plan::{Admission, Feed, Row};
use super::prefix_source::PrefixSource;
use super::shares::{Place, Tag};
use super::urgency::Urgency;

/// Capacity for read tokens that a sequence reserves at admission, so that later steps do not allocate.
const ROOM_FOR_READ: usize = 4_096;

/// A request that was added and has not ended.
#[expect(clippy::struct_excessive_bools, reason = "they are independent: each combination occurs")]
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    pub(super) arrived: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) priority: Priority,
    pub(super) tenant: Option<Arc<str>>,
    /// Failed steps that it was a row of.
    pub(super) num_failures: usize,
    /// Expected number of tokens of its answer.
    pub(super) answer_estimate: usize,
    /// The tokens that its tenant was charged when the request first ran.
    pub(super) charge: Option<Charge>,
    /// Set while it runs on tokens that its priority is owed.
    pub(super) promotion: Option<Promotion>,
    /// Set while a more urgent sequence has its row: it keeps its KV, is left out of plans, and waits for a row.
    pub(super) is_aside: bool,
    /// Prompt tokens that the next step may feed. Set for each plan.
    pub(super) share: usize,
    /// The first step that was planned since admission. Tokens of earlier steps are ignored.
    pub(super) since_step: u64,
    /// Set while the reader is behind: the sequence keeps its KV and is left out of plans.
    pub(super) parked_at: Option<Instant>,
    /// The prompt from the caller. All choices of a request share the allocation.
    pub(super) prompt: Arc<[TokenId]>,
    /// The requests with which it shares KV.
    pub(super) scope: Option<PrefixScope>,
    /// The pinned prompts that its prompt becomes.
    pub(super) pins: Vec<PinId>,
    /// Set for a pinned prompt that is read again. No request waits for it.
    pub(super) is_read_again: bool,
    /// Tokens of the longest common beginning with the prompt of a running sequence, if that is too short to be shared.
    pub(super) num_matched: usize,
    /// Set while other sequences wait to copy its KV: the fewest positions that one of them waits for.
    pub(super) awaited: Option<usize>,
    prefix_source: PrefixSource,
    sampling: SamplingParams,
    logit_bias: Arc<[(TokenId, f32)]>,
    logprobs: Option<u8>,
    stop: StopRules,
    constraint: Option<Constraint>,
    scripted: Option<ScriptedTokens>,
    max_positions: usize,
    /// The tokens that the executor gets at admission: the prompt, and after a restart the tokens that were generated before.
    known: Arc<[TokenId]>,
    /// Tokens read since admission.
    read: Vec<TokenId>,
    /// Tokens read before the last restart.
    num_read_before: usize,
    /// Positions submitted to the device since admission, copied ones included.
    num_fed: usize,
    /// Fed positions that were copied from another sequence.
    num_copied: usize,
    /// The most prompt tokens that were computed for it before the last restart.
    num_prompt_before: usize,
    /// Tokens sampled by submitted steps since admission. Tokens beyond `read` are in flight.
    num_drawn: usize,
    admitted: bool,
    /// Whether it lost its KV before.
    pub(super) has_restarted: bool,
}

/// The tokens that a tenant was charged for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    /// Priority of the request at that time.
    pub(super) class: usize,
    pub(super) tokens: Tag,
}

/// The part of the tokens owed to a priority that a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Promotion {
    pub(super) class: usize,
    /// Tokens that the request was expected to need.
    pub(super) cost: Tag,
    /// Tokens that the request had used before.
    pub(super) num_used_before: Tag,
}

impl Sequence {
    pub(super) fn new(id: SequenceId, request: Request, arrived: Instant) -> Self {
        Self {
            id,
            arrived,
            deadline: request.deadline,
            priority: request.priority,
            tenant: request.tenant.clone(),
            num_failures: 0,
            answer_estimate: usize::MAX,
            charge: None,
            promotion: None,
            is_aside: false,
            share: 0,
            since_step: 0,
            parked_at: None,
            sampling: request.sampling,
            logit_bias: Arc::clone(&request.logit_bias),
            logprobs: request.logprobs,
            max_positions: request.max_positions(),
            stop: request.stop,
            prompt: Arc::clone(&request.prompt),
            scope: request.prefix_scope,
            pins: request.pin.into_iter().collect(),
            is_read_again: false,
            num_matched: 0,
            awaited: None,
            prefix_source: PrefixSource::default(),
            constraint: request.constraint,
            scripted: request.scripted,
            known: request.prompt,
            read: Vec::new(),
            num_read_before: 0,
            num_fed: 0,
            num_copied: 0,
            num_prompt_before: 0,
            num_drawn: 0,
            admitted: false,
            has_restarted: false,
        }
    }

    /// Sets the urgency after the readers changed.
    pub(super) fn revise(&mut self, urgency: Urgency) {
        (self.deadline, self.priority) = (urgency.deadline, urgency.priority);
    }

    /// The admission, if it has not been planned: it must precede the first row.
    pub(super) fn admit(&mut self, step: u64) -> Option<Admission> {
        if self.admitted {
            return None;
        }
        self.admitted = true;
        self.since_step = step;
        self.read.reserve(self.stop.max_tokens.saturating_sub(self.num_read_before).min(ROOM_FOR_READ));
        Some(Admission {
            sequence: self.id,
            prefix: self.prefix_source.given(),
            prompt: Arc::clone(&self.known),
            num_prompt: self.known.len() - self.num_read_before,
            sampling: self.sampling,
            logit_bias: Arc::clone(&self.logit_bias),
            logprobs: self.logprobs,
            end_tokens: Arc::clone(&self.stop.end_tokens),
            min_tokens: self.stop.min_tokens,
            constraint: self.constraint.clone(),
            scripted: self.scripted.clone(),
            max_positions: self.max_positions,
        })
    }

    /// Sets the prefix source. Only for a sequence that is not on the device.
    pub(super) fn set_prefix_source(&mut self, source: PrefixSource) {
        self.prefix_source = source;
        self.num_fed = source.given().map_or(0, |prefix| prefix.num_positions);
        self.num_copied = self.num_fed;
    }

    /// Where it gets the KV with which it starts.
    pub(super) fn prefix_source(&self) -> PrefixSource {
        self.prefix_source
    }

    /// Whether it waits until another sequence has read a part of its prompt.
    pub(super) fn awaits_prompt(&self) -> bool {
        !self.admitted && matches!(self.prefix_source, PrefixSource::Awaited { .. })
    }

    /// Whether both are choices of one request, which have the same prompt allocation.
    pub(super) fn is_choice_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.prompt, &other.prompt)
    }

    /// The tokens that the executor gets at admission.
    pub(super) fn known(&self) -> &Arc<[TokenId]> {
        &self.known
    }

    /// The tokens of the positions that the device holds, as far as they were read.
    pub(super) fn computed_tokens(&self) -> Arc<[TokenId]> {
        let all = self.known.iter().chain(&self.read);
        all.take(self.num_fed).copied().collect()
    }

    /// Number of tokens of [`computed_tokens`](Self::computed_tokens).
    pub(super) fn num_computed(&self) -> usize {
        if self.admitted { self.num_fed.min(self.known.len() + self.read.len()) } else { 0 }
    }

    /// Whether planned steps compute the whole prompt.
    pub(super) fn is_prompt_computed(&self) -> bool {
        self.num_computed() >= self.prompt.len()
    }

    /// The most positions that it can occupy.
    pub(super) fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Positions that planned steps feed or copy.
    pub(super) fn num_fed(&self) -> usize {
        self.num_fed
    }

    /// Whether the device holds KV of it.
    pub(super) fn is_on_device(&self) -> bool {
        self.admitted
    }

    /// Number of tokens that the executor gets at admission.
    pub(super) fn num_known(&self) -> usize {
        self.known.len()
    }

    /// Number of prompt tokens that are not fed.
    pub(super) fn num_unfed(&self) -> usize {
        self.known.len().saturating_sub(self.num_fed)
    }

    /// Positions after the next step. The whole prompt counts, even if it is not fed yet.
    pub(super) fn num_positions(&self) -> usize {
        self.known.len().max(self.num_fed) + 1
    }

    /// The most tokens that it may still generate.
    pub(super) fn num_left(&self) -> usize {
        self.stop.max_tokens.saturating_sub(self.num_read())
    }

    pub(super) fn is_prefilling(&self) -> bool {
        self.num_fed < self.known.len()
    }

    /// Whether it is left out of plans, because its reader is behind or a more urgent sequence has its row.
    pub(super) fn is_parked(&self) -> bool {
        self.parked_at.is_some() || self.is_aside
    }

    /// Its rank among sequences: urgent while it runs on tokens that its priority is owed.
    pub(super) fn rank(&self) -> Priority {
        if self.promotion.is_some() { Priority::Urgent } else { self.priority }
    }

    pub(super) fn promote(&mut self, promotion: Option<Promotion>) {
        let num_used_before = self.num_used();
        self.promotion = promotion.map(|promotion| Promotion { num_used_before, ..promotion });
    }

    /// Its place in the order of arrival.
    pub(super) fn place(&self) -> Place {
        (self.arrived, self.id)
    }

    /// Number of tokens that it is still expected to need.
    pub(super) fn expected(&self) -> Tag {
        (self.num_unfed() + self.num_left().min(self.answer_estimate).max(1)) as Tag
    }

    /// Tokens that its tenant is charged: prompt tokens that were computed for it, and its answer. Tokens that are recomputed
    /// after a restart count once.
    pub(super) fn num_used(&self) -> Tag {
        (self.num_prompt_computed() + self.num_read()) as Tag
    }

    fn num_prompt_computed(&self) -> usize {
        self.num_prompt_before.max(self.num_fed.min(self.prompt.len()).saturating_sub(self.num_copied))
    }

    /// Whether another step has a token to feed, as far as is known before the tokens in flight are read.
    pub(super) fn wants_step(&self) -> bool {
        !self.is_parked() && (self.is_prefilling() || self.num_drawn_total() < self.stop.max_tokens)
    }

    /// Whether the next step feeds a sampled token.
    pub(super) fn decodes_next(&self) -> bool {
        self.wants_step() && !self.is_prefilling()
    }

    /// Plans the next row and counts it as fed: the share of prompt tokens, or the last sampled token.
    pub(super) fn advance(&mut self) -> Row {
        let start = self.num_fed;
        let feed =
            if self.is_prefilling() { Feed::Prompt { len: self.num_unfed().min(self.share) } } else { Feed::Sampled };
        let mut row = Row { sequence: self.id, start, feed, sample: false };
        self.num_fed += row.len();
        row.sample = !self.is_prefilling();
        self.num_drawn += usize::from(row.sample);
        row
    }

    /// Takes a token that was read, with the end of the constraint if it ends there. Returns the finish reason of a last token.
    pub(super) fn take(&mut self, token: TokenId, constraint_end: Option<ConstraintEnd>) -> Option<FinishReason> {
        self.read.push(token);
        match constraint_end {
            Some(ConstraintEnd::Complete) => Some(FinishReason::Stop),
            // The caller fails the request, so it has no finish reason.
            Some(ConstraintEnd::Failed(_)) => None,
            None if self.stop.end_tokens.contains(&token) => Some(FinishReason::Stop),
            None => (self.num_read() >= self.stop.max_tokens).then_some(FinishReason::Length),
        }
    }

    /// Starts again from all tokens that were read, because the device no longer has the KV. Sampling at a position depends only
    /// on seed and position, so the answer does not change.
    pub(super) fn restart(&mut self) {
        self.num_prompt_before = self.num_prompt_computed();
        self.num_read_before += self.read.len();
        self.known = self.known.iter().copied().chain(self.read.drain(..)).collect();
        self.set_prefix_source(PrefixSource::Computed);
        self.num_drawn = 0;
        self.admitted = false;
        self.has_restarted = true;
    }

    pub(super) fn num_read(&self) -> usize {
        self.num_read_before + self.read.len()
    }

    /// Number of tokens that submitted steps sample and that were not read.
    pub(super) fn num_under_way(&self) -> usize {
        self.num_drawn.saturating_sub(self.read.len())
    }

    fn num_drawn_total(&self) -> usize {
        self.num_read_before + self.num_drawn
    }
}
