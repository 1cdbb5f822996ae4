//! The constraint state of a sequence, for every executor: which tokens may be sampled next. Includes end tokens, which
//! grammars do not know because each request has its own.

use std::fmt;
use std::sync::Arc;

use crate::constraint::{ConstraintEnd, ConstraintError, Matcher};
use crate::request::TokenId;
use crate::scheduler::plan::Admission;

/// The constraint state of one sequence.
pub struct ConstraintState {
    matcher: Box<dyn Matcher>,
    end_tokens: Arc<[TokenId]>,
    min_tokens: usize,
    /// Tokens of the answer, including those from before a preemption.
    num_tokens: usize,
    bitmask: Vec<u32>,
    end: Option<ConstraintEnd>,
}

impl fmt::Debug for ConstraintState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_tokens, end, .. } = self;
        f.debug_struct("ConstraintState").field("num_tokens", num_tokens).field("end", end).finish_non_exhaustive()
    }
}

impl ConstraintState {
    /// The state of a sequence that has a constraint. Replays the tokens that the sequence generated before a
    /// preemption.
    pub fn new(admission: &Admission) -> Option<Self> {
        let mut state = Self {
            matcher: admission.constraint.as_ref()?.matcher(),
            end_tokens: Arc::clone(&admission.end_tokens),
            min_tokens: admission.min_tokens,
            num_tokens: 0,
            bitmask: Vec::new(),
            end: None,
        };
        for token in admission.prompt.get(admission.num_prompt..).unwrap_or_default() {
            state.advance(*token);
        }
        state.compute_bitmask();
        Some(state)
    }

    /// Advances by a sampled token and computes the bitmask of the next one.
    pub fn accept(&mut self, token: TokenId) {
        self.advance(token);
        self.compute_bitmask();
    }

    /// The allowed tokens: token `t` is bit `t % 32` of word `t / 32`; tokens beyond the last word are not allowed.
    /// Undefined once [`Self::end`] is set.
    pub fn bitmask(&self) -> &[u32] {
        &self.bitmask
    }

    /// Set once no token may follow.
    pub fn end(&self) -> Option<ConstraintEnd> {
        self.end
    }

    /// Whether the token is allowed.
    pub fn allows(&self, token: TokenId) -> bool {
        let (word, bit) = place(token);
        self.bitmask.get(word).is_some_and(|word| word & bit != 0)
    }

    fn advance(&mut self, token: TokenId) {
        self.num_tokens += 1;
        // The engine discards tokens that are sampled after the end of an answer.
        if self.end.is_some() || self.end_tokens.contains(&token) {
            return;
        }
        if let Err(error) = self.matcher.accept(token) {
            self.end = Some(ConstraintEnd::Failed(error));
        }
    }

    fn compute_bitmask(&mut self) {
        if self.end.is_some() {
            return;
        }
        let allowed = match self.matcher.allowed() {
            Ok(allowed) => allowed,
            Err(error) => return self.end = Some(ConstraintEnd::Failed(error)),
        };
        self.bitmask = allowed.bitmask;
        if allowed.may_end && self.is_nothing_allowed() {
            // The answer ends here, so that it does not cost another step for an end token.
            return self.end = Some(ConstraintEnd::Complete);
        }
        // An end token is allowed exactly where the answer is complete, even if the grammar allows its text.
        let may_end = allowed.may_end && self.num_tokens >= self.min_tokens;
        for token in Arc::clone(&self.end_tokens).iter() {
            self.set(*token, may_end);
        }
        if self.is_nothing_allowed() {
            // Complete before `minTokens`: the grammar wins.
            let is_complete = allowed.may_end;
            self.end = Some(if is_complete {
                ConstraintEnd::Complete
            } else {
                ConstraintEnd::Failed(ConstraintError::DeadEnd)
            });
        }
    }

    fn is_nothing_allowed(&self) -> bool {
        self.bitmask.iter().all(|word| *word == 0)
    }

    fn set(&mut self, token: TokenId, is_allowed: bool) {
        let (word, bit) = place(token);
        if is_allowed && word >= self.bitmask.len() {
            self.bitmask.resize(word + 1, 0);
        }
        if let Some(word) = self.bitmask.get_mut(word) {
            *word = if is_allowed { *word | bit } else { *word & !bit };
        }
    }
}

fn place(token: TokenId) -> (usize, u32) {
    (token as usize / 32, 1 << (token % 32))
}
