//! A compiled grammar and its matchers. Matchers of one grammar share their lexer states, which take most of the time
//! to compute. The shared states are dropped before they grow large.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use llguidance::TokenParser;
use llguidance::api::StopReason;

use super::vocabulary;
use crate::constraint::{AllowedTokens, ConstraintError, Grammar, Matcher};
use crate::lock::lock;
use crate::panics;
use crate::request::TokenId;
use crate::text::token_table::TokenTable;

/// Lexer states that one answer may need, 1 to 2 KB each.
pub(super) const MAX_LEXER_STATES: usize = 65_536;
/// Lexer states that a new answer may start with. The limit leaves each answer enough of [`MAX_LEXER_STATES`], however
/// many states earlier answers needed.
const MAX_SHARED_STATES: usize = MAX_LEXER_STATES / 16;

/// The most tokens that a step checks for dead ends. Only vocabularies of words need the check.
const MAX_TRIED: u32 = 64;

/// A grammar over one vocabulary.
pub(super) struct CompiledGrammar {
    /// The parser without lexer states.
    fresh: TokenParser,
    /// The parser that shares lexer states with the latest matchers.
    warm: Mutex<TokenParser>,
    first: Arc<FirstToken>,
}

/// How the first token of an answer differs from later ones.
struct FirstToken {
    /// Bitmask of the tokens whose text differs at the start of an answer.
    unfit: Vec<u32>,
    /// The id of token 0 in its first form, see [`vocabulary::first_forms`].
    forms: Option<u32>,
}

impl CompiledGrammar {
    /// A grammar from a new parser.
    pub(super) fn new(mut parser: TokenParser, token_table: &TokenTable) -> Self {
        parser.start_without_prompt();
        let first =
            FirstToken { unfit: vocabulary::unfit_first(token_table), forms: vocabulary::first_forms(token_table) };
        Self { warm: Mutex::new(parser.deep_clone()), fresh: parser, first: Arc::new(first) }
    }

    pub(super) fn begin(&self) -> GrammarMatcher {
        let mut warm = lock(&self.warm);
        // A parser that has panicked panics again.
        let num_shared = panics::catch(|| warm.parser.lexer_stats().num_states);
        if !num_shared.is_ok_and(|num| num <= MAX_SHARED_STATES) {
            *warm = self.fresh.deep_clone();
        }
        GrammarMatcher { parser: warm.clone(), first: Arc::clone(&self.first), has_begun: false }
    }
}

impl Grammar for CompiledGrammar {
    fn matcher(&self) -> Box<dyn Matcher> {
        Box::new(self.begin())
    }
}

/// The position of one answer in its grammar.
pub(super) struct GrammarMatcher {
    parser: TokenParser,
    first: Arc<FirstToken>,
    has_begun: bool,
}

impl Matcher for GrammarMatcher {
    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError> {
        let token = if self.has_begun { token } else { self.first.in_parser(token) };
        self.has_begun = true;
        self.guarded(|parser| parser.consume_token(token).and_then(|_| parser.check_stop())).map(|_| ())
    }

    fn allowed(&mut self) -> Result<AllowedTokens, ConstraintError> {
        if self.parser.stop_reason() == StopReason::NoExtension {
            return Ok(AllowedTokens { bitmask: Vec::new(), may_end: true });
        }
        let may_end = self.guarded(|parser| Ok::<_, Infallible>(parser.is_accepting()))?;
        match self.guarded(TokenParser::compute_mask) {
            Ok(mask) => {
                let mut bitmask = self.of_model(mask.as_slice());
                if self.first.forms.is_some() {
                    self.remove_dead_ends(&mut bitmask);
                }
                Ok(AllowedTokens { bitmask, may_end })
            }
            Err(ConstraintError::DeadEnd) if may_end => Ok(AllowedTokens { bitmask: Vec::new(), may_end }),
            Err(error) => Err(error),
        }
    }
}

impl GrammarMatcher {
    fn guarded<T, E>(&mut self, work: impl FnOnce(&mut TokenParser) -> Result<T, E>) -> Result<T, ConstraintError> {
        match panics::catch(|| work(&mut self.parser)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) if self.parser.stop_reason() == StopReason::NoExtensionBias => Err(ConstraintError::DeadEnd),
            Ok(Err(_)) | Err(_) => Err(ConstraintError::TooComplex),
        }
    }

    /// Removes tokens that no other token can follow. The next token of a vocabulary of words starts with a space, so a
    /// token that is only the start of a required word leads nowhere. More than [`MAX_TRIED`] allowed tokens, as in a
    /// string, are not checked: there any token can follow.
    fn remove_dead_ends(&self, bitmask: &mut [u32]) {
        let num: u32 = bitmask.iter().map(|word| word.count_ones()).sum();
        if num > MAX_TRIED {
            return;
        }
        for (index, word) in (0..).zip(bitmask) {
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

    /// The parser's bitmask as a bitmask over the model's vocabulary.
    fn of_model(&self, bitmask: &[u32]) -> Vec<u32> {
        let forms = self.first.forms.map_or(bitmask.len(), |forms| forms as usize / 32);
        let (words, first_forms) = bitmask.split_at(forms.min(bitmask.len()));
        if self.has_begun {
            return words.to_vec();
        }
        let first_forms = first_forms.iter().copied().chain(std::iter::repeat(0));
        let fit = words.iter().zip(&self.first.unfit).map(|(word, unfit)| word & !unfit);
        fit.zip(first_forms).map(|(word, first_form)| word | first_form).collect()
    }
}

impl FirstToken {
    /// The parser's id of a token that starts an answer.
    fn in_parser(&self, token: TokenId) -> TokenId {
        let is_unfit = self.unfit.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1);
        self.forms.filter(|_| is_unfit).map_or(token, |forms| forms + token)
    }
}
