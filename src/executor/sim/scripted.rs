//! The scripted answer of a sequence. Its token at a position depends on that position only, so a sequence that is computed
//! again gets the same tokens.

use std::sync::Arc;

use crate::request::{ScriptedTokens, TokenId};
use crate::scheduler::plan::Admission;

use super::script::Script;

/// A scripted answer while it is generated.
#[derive(Debug)]
pub(super) struct ScriptedAnswer {
    scripted: ScriptedTokens,
    /// Position of its first token: the length of the caller's prompt.
    starts_at: usize,
    end_tokens: Arc<[TokenId]>,
}

/// What a scripted answer has at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripted {
    Token(TokenId),
    /// The device fails for this sequence.
    Fault,
}

impl ScriptedAnswer {
    pub(super) fn of(admission: &Admission) -> Option<Self> {
        Some(Self {
            scripted: admission.scripted.clone()?,
            starts_at: admission.num_prompt,
            end_tokens: Arc::clone(&admission.end_tokens),
        })
    }

    /// What comes after `num_fed` positions. After its last token the answer ends, or starts again while it must not end.
    pub(super) fn at(&self, num_fed: usize, may_end: bool, script: &Script) -> Scripted {
        let ScriptedTokens { tokens, fails_after } = &self.scripted;
        let index = num_fed - self.starts_at;
        if fails_after.is_some_and(|num_tokens| index >= num_tokens) {
            return Scripted::Fault;
        }
        let end = || {
            self.end_tokens.iter().copied().find(|token| *token == script.end()).or(self.end_tokens.first().copied())
        };
        let again = || if tokens.is_empty() { script.word(index) } else { tokens[index % tokens.len()] };
        let ended = tokens.get(index).copied().or_else(|| end().filter(|_| may_end));
        Scripted::Token(ended.unwrap_or_else(again))
    }
}
