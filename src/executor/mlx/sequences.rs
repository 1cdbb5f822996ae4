//! The host's state of each sequence, and the checks of a plan against it. A whole plan is checked before anything changes,
//! because MLX checks no index. `executor` runs the plan; `attention` has the KV.

use std::rc::Rc;
use std::sync::Arc;

use mlx_rs::Array;
use rustc_hash::{FxHashMap, FxHashSet};

use super::attention::Span;
use super::failure::bad_plan;
use super::logits_processors::LogitsProcessor;
use crate::error::Result;
use crate::executor::{ConstraintState, KV_BLOCK};
use crate::request::{SamplingParams, SequenceId, TokenId};
use crate::scheduler::plan::{Admission, Feed, ImportedPrefix, Plan, Prefix, RetainedPrefix, Row};

/// Most tokens of a step: far above any useful chunk, far below the range of an index.
const MAX_STEP_TOKENS: usize = 1 << 20;

/// A sequence.
pub(super) struct Sequence {
    pub(super) prompt: Arc<[TokenId]>,
    pub(super) sampling: SamplingParams,
    /// Tokens of `prompt` that are the caller's prompt; the rest is the answer before a preemption.
    num_prompt: usize,
    logit_bias: Arc<[(TokenId, f32)]>,
    /// How many of the most probable tokens are reported with each sampled one, if any are.
    pub(super) logprobs: Option<u8>,
    end_tokens: Arc<[TokenId]>,
    min_tokens: usize,
    answer: AnswerTokens,
    /// The state of the constraint, if the answer has one.
    pub(super) constraint: Option<ConstraintState>,
    /// The step that admitted the sequence. Tokens of earlier steps belong to a former sequence with this id.
    since_step: u64,
    /// Whether it gets no further rows.
    is_retained: bool,
    pub(super) max_positions: usize,
    /// Positions with KV, including launched steps.
    pub(super) computed: usize,
    /// The token sampled for position `computed`.
    pub(super) sampled: LastToken,
}

/// The tokens of an answer that the host has read, recorded only if sampling depends on them.
#[derive(Default)]
struct AnswerTokens {
    /// Tokens since admission.
    tokens: Vec<TokenId>,
    /// Number of occurrences in the whole answer.
    times: FxHashMap<TokenId, u32>,
}

/// Where the last sampled token of a sequence is.
#[derive(Clone)]
pub(super) enum LastToken {
    /// No token was sampled for this position.
    Nothing,
    /// The host has read the token.
    Host(TokenId),
    /// The token is row `row` of the tokens of step `step`, not yet read.
    Device { step: u64, tokens: Rc<Array>, row: usize },
    /// A launched step samples the token after the previous step was read.
    Later,
}

/// All sequences the executor holds.
#[derive(Default)]
pub(super) struct Sequences {
    by_id: FxHashMap<SequenceId, Sequence>,
}

/// The bounds of numbers in a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) context_length: usize,
    pub(super) vocab_size: usize,
}

impl Sequences {
    pub(super) fn get(&self, id: SequenceId) -> Result<&Sequence> {
        self.by_id.get(&id).ok_or_else(|| bad_plan(format!("{id} is unknown")))
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.by_id.get_mut(&id)
    }

    /// Keeps a sequence as a prefix for others that begin with its tokens. It gets no further rows, so its sampling state is
    /// dropped.
    pub(super) fn retain(&mut self, id: SequenceId, tokens: &Arc<[TokenId]>) {
        let Some(sequence) = self.by_id.get_mut(&id) else { return };
        sequence.prompt = Arc::clone(tokens);
        sequence.sampled = LastToken::Nothing;
        sequence.is_retained = true;
        (sequence.constraint, sequence.answer) = (None, AnswerTokens::default());
    }

    /// Adds a retained sequence whose KV comes from the host.
    pub(super) fn import(&mut self, id: SequenceId, tokens: &Arc<[TokenId]>) {
        let mut sequence = Sequence::new(&Admission::of(id, tokens), 0);
        (sequence.computed, sequence.is_retained) = (tokens.len(), true);
        self.by_id.insert(id, sequence);
    }

    pub(super) fn remove(&mut self, id: SequenceId) {
        self.by_id.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    pub(super) fn admit(&mut self, admission: &Admission, step: u64) {
        self.by_id.insert(admission.sequence, Sequence::new(admission, step));
    }

    /// Checks every number of the plan against the sequences. Changes nothing.
    pub(super) fn check(&self, plan: &Plan, bounds: Bounds) -> Result<()> {
        let released: FxHashSet<SequenceId> = plan.release.iter().copied().collect();
        self.check_retained(plan)?;
        for ImportedPrefix { sequence: id, tokens, kv } in &plan.import {
            if self.by_id.contains_key(id)
                || tokens.len() != kv.len() * KV_BLOCK
                || tokens.len() > bounds.context_length
            {
                return Err(bad_plan(format!("{id} is imported twice, or with KV of another length")));
            }
        }
        let (mut admitted, mut taken) = (FxHashMap::default(), FxHashSet::default());
        for admission in &plan.admit {
            let id = admission.sequence;
            check_admission(admission, bounds)?;
            let held = |id| self.by_id.get(&id).filter(|_| !released.contains(&id));
            if held(id).is_some() || admitted.insert(id, admission).is_some() {
                return Err(bad_plan(format!("{id} is admitted twice")));
            }
            if let Some(prefix) = admission.prefix {
                let tokens = prefix_tokens(prefix, held(prefix.of), plan).filter(|_| !taken.contains(&prefix.of));
                check_prefix(prefix, admission, tokens)?;
                taken.extend(prefix.takes_over.then_some(prefix.of));
            }
        }
        let mut seen = FxHashSet::default();
        for row in &plan.rows {
            let id = row.sequence;
            if !seen.insert(id) {
                return Err(bad_plan(format!("{id} has two rows")));
            }
            let is_gone = released.contains(&id) || taken.contains(&id) || is_retained_by(plan, id);
            match (admitted.get(&id), self.by_id.get(&id).filter(|_| !is_gone)) {
                (Some(admission), _) => check_first_row(row, admission)?,
                (None, Some(sequence)) => sequence.check_row(row)?,
                (None, None) => return Err(bad_plan(format!("{id} is unknown"))),
            }
        }
        // The rows were checked before, so each is short and the sum cannot overflow.
        match plan.num_tokens() {
            0..=MAX_STEP_TOKENS => Ok(()),
            tokens => Err(bad_plan(format!("{tokens} tokens in one step, at most {MAX_STEP_TOKENS}"))),
        }
    }
}

impl Sequences {
    /// A sequence cannot be retained with more positions than it has.
    fn check_retained(&self, plan: &Plan) -> Result<()> {
        for RetainedPrefix { sequence: id, tokens } in &plan.retain {
            let num_computed = self.by_id.get(id).map_or(usize::MAX, |sequence| sequence.computed);
            if tokens.len() > num_computed {
                return Err(bad_plan(format!(
                    "{id} has {num_computed} positions, {} are to be retained",
                    tokens.len()
                )));
            }
        }
        Ok(())
    }
}

fn is_retained_by(plan: &Plan, id: SequenceId) -> bool {
    plan.retain.iter().any(|retained| retained.sequence == id)
}

impl AnswerTokens {
    fn after(admission: &Admission) -> Self {
        let mut answer = Self::default();
        if admission.sampling.penalizes() {
            let before = admission.prompt.get(admission.num_prompt..).unwrap_or_default();
            for token in before {
                answer.count(*token);
            }
        }
        answer
    }

    fn count(&mut self, token: TokenId) {
        *self.times.entry(token).or_default() += 1;
    }
}

impl Sequence {
    fn new(admission: &Admission, step: u64) -> Self {
        Self {
            prompt: Arc::clone(&admission.prompt),
            sampling: admission.sampling,
            num_prompt: admission.num_prompt,
            logit_bias: Arc::clone(&admission.logit_bias),
            logprobs: admission.logprobs,
            end_tokens: Arc::clone(&admission.end_tokens),
            min_tokens: admission.min_tokens,
            answer: AnswerTokens::after(admission),
            constraint: ConstraintState::new(admission),
            since_step: step,
            is_retained: false,
            max_positions: admission.max_positions,
            computed: admission.prefix.map_or(0, |prefix| prefix.num_positions),
            sampled: LastToken::Nothing,
        }
    }

    /// Records a token that the host read from step `collected`. If no later step has sampled, the token is the last one and
    /// need not be taken from the device again.
    pub(super) fn read(&mut self, collected: u64, token: TokenId) {
        if collected < self.since_step {
            return;
        }
        if matches!(&self.sampled, LastToken::Device { step, .. } if *step == collected) {
            self.sampled = LastToken::Host(token);
        }
        if self.sampling.penalizes() {
            self.answer.tokens.push(token);
            self.answer.count(token);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token);
        }
    }

    /// Whether the tokens that are allowed next depend on an unread token.
    pub(super) fn waits_for_token(&self) -> bool {
        self.constraint.is_some() && matches!(self.sampled, LastToken::Device { .. })
    }

    /// The logits processor for sampling the token at `position`, if the sequence needs one.
    pub(super) fn processor(&self, position: usize) -> Option<LogitsProcessor> {
        let bias = self.bias(position);
        if bias.is_empty() && !self.sampling.penalizes() {
            return None;
        }
        let has_unread = matches!(self.sampled, LastToken::Device { .. });
        let num_recent = if self.sampling.penalizes_repetition() { self.sampling.repetition_context } else { 0 };
        let num_recent = (num_recent as usize).saturating_sub(usize::from(has_unread));
        let known = self.prompt.iter().chain(&self.answer.tokens).copied();
        let num_known = self.prompt.len() + self.answer.tokens.len();
        Some(LogitsProcessor {
            bias,
            recent: known.skip(num_known.saturating_sub(num_recent)).collect(),
            token_counts: self.answer.times.iter().map(|(token, times)| (*token, *times)).collect(),
            has_unread,
            params: self.sampling,
        })
    }

    /// The last sampled token, or the last token of the prompt.
    pub(super) fn last(&self) -> LastToken {
        match &self.sampled {
            LastToken::Nothing | LastToken::Later => LastToken::Host(self.prompt.last().copied().unwrap_or_default()),
            sampled => sampled.clone(),
        }
    }

    fn bias(&self, position: usize) -> Vec<(TokenId, f32)> {
        if position >= self.num_prompt + self.min_tokens {
            return self.logit_bias.to_vec();
        }
        let ends: FxHashSet<_> = self.end_tokens.iter().copied().collect();
        let others = self.logit_bias.iter().copied().filter(|(token, _)| !ends.contains(token));
        ends.iter().map(|token| (*token, f32::NEG_INFINITY)).chain(others).collect()
    }

    fn check_row(&self, row: &Row) -> Result<()> {
        if self.is_retained {
            return Err(bad_plan(format!("{} is retained and has a row", row.sequence)));
        }
        if row.start != self.computed {
            let (id, start) = (row.sequence, row.start);
            return Err(bad_plan(format!(
                "{id} continues at position {start}, but has KV of {} positions",
                self.computed
            )));
        }
        if row.feed == Feed::Sampled && matches!(self.sampled, LastToken::Nothing | LastToken::Later) {
            return Err(bad_plan(format!("{} is fed a token that was never sampled", row.sequence)));
        }
        check_reach(row, self.prompt.len(), self.max_positions)
    }
}

fn check_admission(admission: &Admission, bounds: Bounds) -> Result<()> {
    let id = admission.sequence;
    if admission.max_positions > bounds.context_length {
        let (asked, most) = (admission.max_positions, bounds.context_length);
        return Err(bad_plan(format!("{id} may have {asked} positions, the model has {most}")));
    }
    if let Some(token) = admission.prompt.iter().find(|token| **token as usize >= bounds.vocab_size) {
        return Err(bad_plan(format!("{id} holds token {token}, the vocabulary has {}", bounds.vocab_size)));
    }
    check_sampling(admission)?;
    let biased = admission.logit_bias.iter().map(|(token, _)| token);
    match biased.chain(admission.end_tokens.iter()).find(|token| **token as usize >= bounds.vocab_size) {
        Some(token) => {
            Err(bad_plan(format!("{id} has a bias for token {token}, the vocabulary has {}", bounds.vocab_size)))
        }
        None => Ok(()),
    }
}

fn check_sampling(admission: &Admission) -> Result<()> {
    let is_valid = admission.sampling.is_valid() && admission.logit_bias.iter().all(|(_, bias)| bias.is_finite());
    if is_valid {
        return Ok(());
    }
    Err(bad_plan(format!("{} has invalid sampling parameters: {:?}", admission.sequence, admission.sampling)))
}

/// The tokens whose KV a sequence may begin with: those of a sequence that is imported, or of one that is held.
fn prefix_tokens<'a>(prefix: Prefix, held: Option<&'a Sequence>, plan: &'a Plan) -> Option<&'a [TokenId]> {
    let Prefix { of, num_positions, takes_over } = prefix;
    if let Some(imported) = plan.import.iter().find(|imported| imported.sequence == of) {
        return Some(&imported.tokens);
    }
    let retained = plan.retain.iter().find(|retained| retained.sequence == of);
    let may_end = |source: &Sequence| !takes_over || source.is_retained || retained.is_some();
    let source = held.filter(|source| source.computed >= num_positions && may_end(source))?;
    Some(retained.map_or(&source.prompt, |retained| &retained.tokens))
}

fn check_prefix(prefix: Prefix, admission: &Admission, tokens: Option<&[TokenId]>) -> Result<()> {
    let Prefix { of, num_positions, .. } = prefix;
    match (admission.prompt.get(..num_positions), tokens) {
        (Some(own), Some(tokens)) if tokens.starts_with(own) => Ok(()),
        _ => Err(bad_plan(format!("{} cannot begin with {num_positions} positions of {of}", admission.sequence))),
    }
}

fn check_first_row(row: &Row, admission: &Admission) -> Result<()> {
    let begins_at = admission.prefix.map_or(0, |prefix| prefix.num_positions);
    if row.start != begins_at || row.feed == Feed::Sampled {
        return Err(bad_plan(format!("{} does not begin with its prompt", row.sequence)));
    }
    check_reach(row, admission.prompt.len(), admission.max_positions)
}

fn check_reach(row: &Row, prompt: usize, max_positions: usize) -> Result<()> {
    let id = row.sequence;
    let end = row.start.saturating_add(row.len());
    if row.is_empty() {
        return Err(bad_plan(format!("{id} has a row without tokens")));
    }
    if end > max_positions {
        return Err(bad_plan(format!("{id} would reach position {end}, at most {max_positions} were announced")));
    }
    if matches!(row.feed, Feed::Prompt { .. }) && end > prompt {
        return Err(bad_plan(format!("{id} is fed {end} prompt tokens, its prompt has {prompt}")));
    }
    Ok(())
}

/// The spans of a checked plan's rows in the packed matrix, in the plan's order.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // bounded by context length and step size
pub(super) fn spans(plan: &Plan) -> Vec<Span> {
    let mut offset = 0;
    let span = |(index, row): (usize, &Row)| {
        let len = row.len() as i32;
        let (sequence, start, sampled) = (row.sequence, row.start as i32, row.sample);
        offset += len;
        Span { row: index, sequence, start, len, offset: offset - len, sampled }
    };
    plan.rows.iter().enumerate().map(span).collect()
}
