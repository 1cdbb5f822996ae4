//! What is known on the host of each sequence, and whether a plan fits it. A plan is checked as a whole before anything
//! is changed: MLX checks no index, so nothing unchecked may reach it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use mlx_rs::Array;

use super::attention::Span;
use super::failure::bad_plan;
use crate::error::Result;
use crate::request::{SamplingParams, SequenceId, TokenId};
use crate::scheduler::plan::{Admission, Feed, Plan, Row};

/// Tokens a step may hold: far above any sensible chunk, far below what an index can address.
const MAX_STEP_TOKENS: usize = 1 << 20;

/// A sequence.
pub(super) struct Sequence {
    pub(super) prompt: Arc<[TokenId]>,
    pub(super) sampling: SamplingParams,
    pub(super) max_positions: usize,
    /// Positions whose KV is there, launched steps included.
    pub(super) computed: usize,
    /// The token drawn for position `computed`.
    pub(super) drawn: Drawn,
}

/// Where a sequence's last drawn token is.
#[derive(Clone)]
pub(super) enum Drawn {
    /// None was drawn for this position.
    Nothing,
    /// Read.
    Host(TokenId),
    /// Row `row` of what step `step` drew; nobody has read it.
    Device { step: u64, tokens: Rc<Array>, row: usize },
}

/// All sequences the executor holds.
#[derive(Default)]
pub(super) struct Sequences {
    by_id: HashMap<SequenceId, Sequence>,
}

/// What bounds the numbers in a plan.
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

    pub(super) fn remove(&mut self, id: SequenceId) {
        self.by_id.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    pub(super) fn admit(&mut self, admission: &Admission) {
        let sequence = Sequence {
            prompt: Arc::clone(&admission.prompt),
            sampling: admission.sampling,
            max_positions: admission.max_positions,
            computed: 0,
            drawn: Drawn::Nothing,
        };
        self.by_id.insert(admission.sequence, sequence);
    }

    /// Checks every number of the plan against what is held. Changes nothing.
    pub(super) fn check(&self, plan: &Plan, bounds: Bounds) -> Result<()> {
        let released: HashSet<SequenceId> = plan.release.iter().copied().collect();
        let mut admitted = HashMap::new();
        for admission in &plan.admit {
            let id = admission.sequence;
            check_admission(admission, bounds)?;
            let held = self.by_id.contains_key(&id) && !released.contains(&id);
            if held || admitted.insert(id, admission).is_some() {
                return Err(bad_plan(format!("{id} is admitted twice")));
            }
        }
        let mut seen = HashSet::new();
        for row in &plan.rows {
            let id = row.sequence;
            if !seen.insert(id) {
                return Err(bad_plan(format!("{id} has two rows")));
            }
            match (admitted.get(&id), self.by_id.get(&id).filter(|_| !released.contains(&id))) {
                (Some(admission), _) => check_first_row(row, admission)?,
                (None, Some(sequence)) => sequence.check_row(row)?,
                (None, None) => return Err(bad_plan(format!("{id} is unknown"))),
            }
        }
        // Rows first: each is known to be short, so that their sum cannot overflow.
        match plan.num_tokens() {
            0..=MAX_STEP_TOKENS => Ok(()),
            tokens => Err(bad_plan(format!("{tokens} tokens in one step, at most {MAX_STEP_TOKENS}"))),
        }
    }
}

impl Sequence {
    fn check_row(&self, row: &Row) -> Result<()> {
        if row.start != self.computed {
            let (id, start) = (row.sequence, row.start);
            return Err(bad_plan(format!(
                "{id} goes on at position {start}, but has KV of {} positions",
                self.computed
            )));
        }
        if row.feed == Feed::Sampled && matches!(self.drawn, Drawn::Nothing) {
            return Err(bad_plan(format!("{} is fed a token that was never drawn", row.sequence)));
        }
        check_reach(row, self.prompt.len(), self.max_positions)
    }
}

fn check_admission(admission: &Admission, bounds: Bounds) -> Result<()> {
    let id = admission.sequence;
    if admission.max_positions > bounds.context_length {
        let (asked, most) = (admission.max_positions, bounds.context_length);
        return Err(bad_plan(format!("{id} may occupy {asked} positions, the model has {most}")));
    }
    if let Some(token) = admission.prompt.iter().find(|token| **token as usize >= bounds.vocab_size) {
        return Err(bad_plan(format!("{id} holds token {token}, the vocabulary has {}", bounds.vocab_size)));
    }
    let SamplingParams { temperature, top_p, .. } = admission.sampling;
    if !(temperature.is_finite() && temperature >= 0.0 && top_p > 0.0 && top_p <= 1.0) {
        return Err(bad_plan(format!("{id} is sampled at temperature {temperature}, top-p {top_p}")));
    }
    Ok(())
}

fn check_first_row(row: &Row, admission: &Admission) -> Result<()> {
    if row.start != 0 || row.feed == Feed::Sampled {
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

/// The spans of a plan's rows in the packed matrix, in the plan's order. The plan has been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // bounded by context length and step size
pub(super) fn spans(plan: &Plan) -> Vec<Span> {
    let mut offset = 0;
    let span = |row: &Row| {
        let len = row.len() as i32;
        let span = Span { sequence: row.sequence, start: row.start as i32, len, offset, sampled: row.sample };
        offset += len;
        span
    };
    plan.rows.iter().map(span).collect()
}
