//! A compiled grammar and the answers that follow it. Matchers of one grammar share what they found out about its
//! lexemes, which is most of the work; what is shared is begun anew before it grows large.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use llguidance::TokenParser;
use llguidance::api::StopReason;

use super::super::pieces::Pieces;
use super::vocabulary;
use crate::guide::{Allowed, Grammar, Matcher, Unable};
use crate::lock::lock;
use crate::request::TokenId;

/// States of a grammar's lexemes that one answer may come to need, one or two KB each.
pub(super) const MAX_LEXER_STATES: usize = 65_536;
/// How many of them may be there already when an answer begins: what others found out must not be an answer's failure.
const MAX_SHARED_STATES: usize = MAX_LEXER_STATES / 16;

/// A grammar over one vocabulary.
pub(super) struct Compiled {
    /// Shares nothing with any answer.
    fresh: TokenParser,
    /// Shares with the answers that began last.
    warm: Mutex<TokenParser>,
    unfit_first: Arc<[u32]>,
}

impl Compiled {
    /// `parser` has not been used.
    pub(super) fn new(mut parser: TokenParser, pieces: &Pieces) -> Self {
        parser.start_without_prompt();
        let unfit_first = vocabulary::unfit_first(pieces).into();
        Self { warm: Mutex::new(parser.deep_clone()), fresh: parser, unfit_first }
    }

    pub(super) fn begin(&self) -> Following {
        let mut warm = lock(&self.warm);
        // What an answer left behind that made the parser panic panics again.
        let num_shared = catch_unwind(AssertUnwindSafe(|| warm.parser.lexer_stats().num_states));
        if !num_shared.is_ok_and(|num| num <= MAX_SHARED_STATES) {
            *warm = self.fresh.deep_clone();
        }
        Following { parser: warm.clone(), unfit_first: Some(Arc::clone(&self.unfit_first)) }
    }
}

impl Grammar for Compiled {
    fn matcher(&self) -> Box<dyn Matcher> {
        Box::new(self.begin())
    }
}

/// One answer.
pub(super) struct Following {
    parser: TokenParser,
    /// What the first token must not be; nothing once there is one.
    unfit_first: Option<Arc<[u32]>>,
}

impl Matcher for Following {
    fn accept(&mut self, token: TokenId) -> Result<(), Unable> {
        self.unfit_first = None;
        self.guarded(|parser| parser.consume_token(token).and_then(|_| parser.check_stop())).map(|_| ())
    }

    fn allowed(&mut self) -> Result<Allowed, Unable> {
        if self.parser.stop_reason() == StopReason::NoExtension {
            return Ok(Allowed { words: Vec::new(), may_end: true });
        }
        let may_end = self.guarded(|parser| Ok::<_, Infallible>(parser.is_accepting()))?;
        match self.guarded(TokenParser::compute_mask) {
            Ok(mask) => Ok(Allowed { words: self.without_unfit(mask.as_slice()), may_end }),
            Err(Unable::DeadEnd) if may_end => Ok(Allowed { words: Vec::new(), may_end }),
            Err(unable) => Err(unable),
        }
    }
}

impl Following {
    fn guarded<T, E>(&mut self, work: impl FnOnce(&mut TokenParser) -> Result<T, E>) -> Result<T, Unable> {
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.parser))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) if self.parser.stop_reason() == StopReason::NoExtensionBias => Err(Unable::DeadEnd),
            Ok(Err(_)) | Err(_) => Err(Unable::TooComplex),
        }
    }

    fn without_unfit(&self, words: &[u32]) -> Vec<u32> {
        match &self.unfit_first {
            Some(unfit) => words.iter().zip(unfit.iter()).map(|(word, unfit)| word & !unfit).collect(),
            None => words.to_vec(),
        }
    }
}
