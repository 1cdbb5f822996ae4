//! What an answer must be, as those see it who draw tokens: at each point, which tokens may come next. Only the words:
//! `text::guide` compiles what callers ask for, and executors follow it.

use std::fmt;
use std::sync::Arc;

use crate::request::TokenId;

/// What an answer must be, compiled for a model. Cheap to clone: many answers follow one guide.
#[derive(Clone)]
pub struct Guide {
    /// What was asked for, written down: guides of one model with the same text are the same.
    spec: Arc<str>,
    grammar: Arc<dyn Grammar>,
}

impl Guide {
    /// A guide that enforces `grammar`, which `spec` describes to the last detail.
    pub fn new(spec: impl Into<Arc<str>>, grammar: Arc<dyn Grammar>) -> Self {
        Self { spec: spec.into(), grammar }
    }

    /// What was asked for.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Begins an answer.
    pub fn matcher(&self) -> Box<dyn Matcher> {
        self.grammar.matcher()
    }
}

impl PartialEq for Guide {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guide({:.80})", self.spec)
    }
}

/// The language of answers over one vocabulary.
pub trait Grammar: Send + Sync {
    /// Where every answer begins.
    fn matcher(&self) -> Box<dyn Matcher>;
}

/// How far one answer has come in its grammar.
pub trait Matcher {
    /// Goes on by a token, which was allowed.
    fn accept(&mut self, token: TokenId) -> Result<(), Unable>;

    /// Which tokens may come next. Those that end an answer have no part in a grammar: whether they may come is
    /// [`Allowed::may_end`].
    fn allowed(&mut self) -> Result<Allowed, Unable>;
}

/// What may come next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Token `t` is bit `t % 32` of word `t / 32`. No bit: nothing may come but an end.
    pub words: Vec<u32>,
    /// Whether the answer is complete as it is.
    pub may_end: bool,
}

/// Why a grammar cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// No token of the vocabulary continues the answer, which is not complete.
    DeadEnd,
    /// Finding out what may come next takes more than is allowed for a step.
    TooComplex,
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadEnd => "no token that may be drawn continues the answer",
            Self::TooComplex => "what may come next takes too much to find out",
        })
    }
}

/// What a guide says of an answer that does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is complete, and nothing may follow.
    Complete,
    /// It cannot be completed.
    Failed(Unable),
}
