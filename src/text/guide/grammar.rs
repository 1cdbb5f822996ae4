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

/// How many words are tried before one is drawn, in a vocabulary of words.
const MAX_TRIED: u32 = 64;

/// A grammar over one vocabulary.
pub(super) struct Compiled {
    /// Shares nothing with any answer.
    fresh: TokenParser,
    /// Shares with the answers that began last.
    warm: Mutex<TokenParser>,
    first: Arc<First>,
}

/// What is special about the first token of an answer.
struct First {
    /// Tokens that are another text in first place, as bits.
    unfit: Vec<u32>,
    /// Where the parser's vocabulary holds them as they are there, see [`vocabulary::first_forms`].
    forms: Option<u32>,
}

impl Compiled {
    /// `parser` has not been used.
    pub(super) fn new(mut parser: TokenParser, pieces: &Pieces) -> Self {
        parser.start_without_prompt();
        let first = First { unfit: vocabulary::unfit_first(pieces), forms: vocabulary::first_forms(pieces) };
        Self { warm: Mutex::new(parser.deep_clone()), fresh: parser, first: Arc::new(first) }
    }

    pub(super) fn begin(&self) -> Following {
        let mut warm = lock(&self.warm);
        // What an answer left behind that made the parser panic panics again.
        let num_shared = catch_unwind(AssertUnwindSafe(|| warm.parser.lexer_stats().num_states));
        if !num_shared.is_ok_and(|num| num <= MAX_SHARED_STATES) {
            *warm = self.fresh.deep_clone();
        }
        Following { parser: warm.clone(), first: Arc::clone(&self.first), has_begun: false }
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
    first: Arc<First>,
    has_begun: bool,
}

impl Matcher for Following {
    fn accept(&mut self, token: TokenId) -> Result<(), Unable> {
        let token = if self.has_begun { token } else { self.first.in_parser(token) };
        self.has_begun = true;
        self.guarded(|parser| parser.consume_token(token).and_then(|_| parser.check_stop())).map(|_| ())
    }

    fn allowed(&mut self) -> Result<Allowed, Unable> {
        if self.parser.stop_reason() == StopReason::NoExtension {
            return Ok(Allowed { words: Vec::new(), may_end: true });
        }
        let may_end = self.guarded(|parser| Ok::<_, Infallible>(parser.is_accepting()))?;
        match self.guarded(TokenParser::compute_mask) {
            Ok(mask) => {
                let mut words = self.of_model(mask.as_slice());
                if self.first.forms.is_some() {
                    self.remove_dead_ends(&mut words);
                }
                Ok(Allowed { words, may_end })
            }
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

    /// Takes away words of which nothing continues the answer: where a text must go on without a space, a word that is its
    /// beginning is no way to write it. Where many words are allowed, as in a string, any may follow.
    fn remove_dead_ends(&self, words: &mut [u32]) {
        let num: u32 = words.iter().map(|word| word.count_ones()).sum();
        if num > MAX_TRIED {
            return;
        }
        for (index, word) in (0..).zip(words) {
            for bit in (0..32).filter(|bit| *word >> bit & 1 == 1).collect::<Vec<_>>() {
                let mut next =
                    Self { parser: self.parser.clone(), first: Arc::clone(&self.first), has_begun: self.has_begun };
                let can_follow = next.accept(index * 32 + bit).is_ok() && next.can_go_on();
                *word &= !(u32::from(!can_follow) << bit);
            }
        }
    }

    fn can_go_on(&mut self) -> bool {
        if self.parser.stop_reason() == StopReason::NoExtension {
            return true;
        }
        let is_accepting = self.guarded(|parser| Ok::<_, Infallible>(parser.is_accepting()));
        let words = self.guarded(TokenParser::compute_mask).map(|mask| self.of_model(mask.as_slice()));
        is_accepting == Ok(true) || words.is_ok_and(|words| words.iter().any(|word| *word != 0))
    }

    /// What the parser allows, as tokens of the model.
    fn of_model(&self, words: &[u32]) -> Vec<u32> {
        let forms = self.first.forms.map_or(words.len(), |forms| forms as usize / 32);
        let (words, first_forms) = words.split_at(forms.min(words.len()));
        if self.has_begun {
            return words.to_vec();
        }
        let first_forms = first_forms.iter().copied().chain(std::iter::repeat(0));
        let fit = words.iter().zip(&self.first.unfit).map(|(word, unfit)| word & !unfit);
        fit.zip(first_forms).map(|(word, first_form)| word | first_form).collect()
    }
}

impl First {
    /// The parser's name for a token in first place.
    fn in_parser(&self, token: TokenId) -> TokenId {
        let is_unfit = self.unfit.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1);
        self.forms.filter(|_| is_unfit).map_or(token, |forms| forms + token)
    }
}
