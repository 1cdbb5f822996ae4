//! A sequence that follows a guide, as every executor holds it: which tokens may be drawn next, those included that end
//! an answer. A grammar knows nothing of these, as each request has its own.

use std::fmt;
use std::sync::Arc;

use crate::guide::{Matcher, Unable, Verdict};
use crate::request::TokenId;
use crate::scheduler::plan::Admission;

/// One answer that follows its guide.
pub struct Guided {
    matcher: Box<dyn Matcher>,
    end_tokens: Arc<[TokenId]>,
    min_tokens: usize,
    /// Tokens of the answer, those from before a restart included.
    num_tokens: usize,
    mask: Vec<u32>,
    verdict: Option<Verdict>,
}

impl fmt::Debug for Guided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_tokens, verdict, .. } = self;
        f.debug_struct("Guided").field("num_tokens", num_tokens).field("verdict", verdict).finish_non_exhaustive()
    }
}

impl Guided {
    /// Follows the guide of a sequence that has one, from the tokens on that it generated before it began anew.
    pub fn new(admission: &Admission) -> Option<Self> {
        let mut guided = Self {
            matcher: admission.guide.as_ref()?.matcher(),
            end_tokens: Arc::clone(&admission.end_tokens),
            min_tokens: admission.min_tokens,
            num_tokens: 0,
            mask: Vec::new(),
            verdict: None,
        };
        for token in admission.prompt.get(admission.num_prompt..).unwrap_or_default() {
            guided.take(*token);
        }
        guided.look_ahead();
        Some(guided)
    }

    /// Goes on by a token that was drawn; afterwards the mask is that of the next one.
    pub fn accept(&mut self, token: TokenId) {
        self.take(token);
        self.look_ahead();
    }

    /// The tokens that may be drawn: token `t` is bit `t % 32` of word `t / 32`, and what is beyond the last word may not.
    /// Without a meaning once there is a verdict.
    pub fn mask(&self) -> &[u32] {
        &self.mask
    }

    /// Set where nothing may follow.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Whether a token may be drawn.
    pub fn allows(&self, token: TokenId) -> bool {
        let (word, bit) = place(token);
        self.mask.get(word).is_some_and(|word| word & bit != 0)
    }

    fn take(&mut self, token: TokenId) {
        self.num_tokens += 1;
        // After its end an answer has no more tokens; what is drawn all the same is discarded.
        if self.verdict.is_some() || self.end_tokens.contains(&token) {
            return;
        }
        if let Err(unable) = self.matcher.accept(token) {
            self.verdict = Some(Verdict::Failed(unable));
        }
    }

    fn look_ahead(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let allowed = match self.matcher.allowed() {
            Ok(allowed) => allowed,
            Err(unable) => return self.verdict = Some(Verdict::Failed(unable)),
        };
        self.mask = allowed.words;
        if allowed.may_end && self.is_nothing_allowed() {
            // No token is spent on saying so.
            return self.verdict = Some(Verdict::Complete);
        }
        // A token that ends the answer does so where the answer is complete, whatever text it has, and nowhere else.
        let may_end = allowed.may_end && self.num_tokens >= self.min_tokens;
        for token in Arc::clone(&self.end_tokens).iter() {
            self.set(*token, may_end);
        }
        if self.is_nothing_allowed() {
            // Complete, though shorter than it was to be: what it must be goes before how long it should be.
            let verdict = if allowed.may_end { Verdict::Complete } else { Verdict::Failed(Unable::DeadEnd) };
            self.verdict = Some(verdict);
        }
    }

    fn is_nothing_allowed(&self) -> bool {
        self.mask.iter().all(|word| *word == 0)
    }

    fn set(&mut self, token: TokenId, is_allowed: bool) {
        let (word, bit) = place(token);
        if is_allowed && word >= self.mask.len() {
            self.mask.resize(word + 1, 0);
        }
        if let Some(word) = self.mask.get_mut(word) {
            *word = if is_allowed { *word | bit } else { *word & !bit };
        }
    }
}

fn place(token: TokenId) -> (usize, u32) {
    (token as usize / 32, 1 << (token % 32))
}
