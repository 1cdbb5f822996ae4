//! Constraints on the tokens of an answer, such as a grammar or a JSON schema: the types that executors and compilers
//! share. `text::constraint` compiles what callers ask for; executors mask logits with it.

use std::fmt;
use std::sync::Arc;

use crate::token::TokenId;

/// A constraint compiled for a model. Cheap to clone: many answers share one.
#[derive(Clone)]
pub struct Constraint {
    /// The request's constraint as text. Two constraints of one model with the same text are equal.
    spec: Arc<str>,
    grammar: Arc<dyn Grammar>,
}

impl Constraint {
    /// A constraint that enforces `grammar`; `spec` describes the grammar completely.
    pub fn new(spec: impl Into<Arc<str>>, grammar: Arc<dyn Grammar>) -> Self {
        Self { spec: spec.into(), grammar }
    }

    /// The request's constraint as text.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The matcher of a new answer.
    pub fn matcher(&self) -> Box<dyn Matcher> {
        self.grammar.matcher()
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constraint({:.80})", self.spec)
    }
}

/// A compiled grammar over one vocabulary.
pub trait Grammar: Send + Sync {
    /// The matcher of a new answer.
    fn matcher(&self) -> Box<dyn Matcher>;
}

/// The position of one answer in its grammar.
pub trait Matcher {
    /// Advances by a token. The token must be one of [`Self::allowed`].
    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError>;

    /// The tokens that may come next. End tokens are not part of a grammar: see [`AllowedTokens::may_end`].
    fn allowed(&mut self) -> Result<AllowedTokens, ConstraintError>;
}

/// The tokens that may come next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedTokens {
    /// Token `t` is bit `t % 32` of word `t / 32`. Without any bit, the answer can only end.
    pub bitmask: Vec<u32>,
    /// The answer is complete and may end here.
    pub may_end: bool,
}

/// Why a grammar cannot continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintError {
    /// The answer is incomplete, and no token of the vocabulary continues it.
    DeadEnd,
    /// The next tokens cost more to compute than one step allows.
    TooComplex,
}

impl fmt::Display for ConstraintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadEnd => "no allowed token continues the answer",
            Self::TooComplex => "the allowed tokens take too long to compute",
        })
    }
}

/// Why a constraint ends an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintEnd {
    /// The answer is complete, and no token may follow.
    Complete,
    /// The answer cannot be completed.
    Failed(ConstraintError),
}
