//! The constraint state of a sequence, with a small grammar.

use std::sync::Arc;

use super::ConstraintState;
use crate::constraint::{AllowedTokens, Constraint, ConstraintEnd, ConstraintError, Grammar, Matcher};
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::Admission;

const END: TokenId = 40;

/// A grammar of the tokens 1, 2, … up to a number. The answer is complete from the second token on.
#[derive(Clone)]
struct CountTo(TokenId, TokenId);

impl Grammar for CountTo {
    fn matcher(&self) -> Box<dyn Matcher> {
        Box::new(self.clone())
    }
}

impl Matcher for CountTo {
    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError> {
        self.1 += 1;
        if token == self.1 { Ok(()) } else { Err(ConstraintError::TooComplex) }
    }

    fn allowed(&mut self) -> Result<AllowedTokens, ConstraintError> {
        let bitmask = if self.1 < self.0 { vec![1 << (self.1 + 1)] } else { Vec::new() };
        Ok(AllowedTokens { bitmask, may_end: self.1 >= 2 })
    }
}

fn count_to(number: TokenId) -> Admission {
    let constraint = Constraint::new(format!("count to {number}"), Arc::new(CountTo(number, 0)));
    Admission { constraint: Some(constraint), end_tokens: [END].into(), ..Admission::of(SequenceId(1), &[9]) }
}

fn allowed(constraint: &ConstraintState) -> Vec<TokenId> {
    (0..100).filter(|token| constraint.allows(*token)).collect()
}

#[test]
fn end_tokens_are_allowed_only_where_the_answer_is_complete() {
    let mut constraint = ConstraintState::new(&count_to(4)).expect("there is a constraint");
    let mut seen = Vec::new();
    for token in 1..=3 {
        seen.push(allowed(&constraint));
        constraint.accept(token);
    }
    assert_eq!(seen, [vec![1], vec![2], vec![3, END]]);
    assert_eq!((allowed(&constraint), constraint.end()), (vec![4, END], None));
}

#[test]
fn answer_without_allowed_tokens_is_complete_without_an_end_token() {
    for admission in [count_to(2), Admission { end_tokens: Arc::default(), ..count_to(2) }] {
        let mut constraint = ConstraintState::new(&admission).expect("there is a constraint");
        constraint.accept(1);
        assert_eq!(constraint.end(), None);
        constraint.accept(2);
        assert_eq!(constraint.end(), Some(ConstraintEnd::Complete));
    }
}

#[test]
fn end_tokens_are_allowed_from_min_tokens_on_unless_nothing_else_is() {
    let mut constraint =
        ConstraintState::new(&Admission { min_tokens: 3, ..count_to(4) }).expect("there is a constraint");
    constraint.accept(1);
    constraint.accept(2);
    assert_eq!(allowed(&constraint), [3]);
    constraint.accept(3);
    assert_eq!(allowed(&constraint), [4, END]);
    let mut short = ConstraintState::new(&Admission { min_tokens: 9, ..count_to(2) }).expect("there is a constraint");
    short.accept(1);
    short.accept(2);
    assert_eq!(short.end(), Some(ConstraintEnd::Complete));
}

#[test]
fn end_token_is_not_part_of_the_answer() {
    let mut constraint =
        ConstraintState::new(&Admission { end_tokens: [2, END].into(), ..count_to(4) }).expect("there is a constraint");
    constraint.accept(1);
    assert_eq!(
        constraint.end(),
        Some(ConstraintEnd::Failed(ConstraintError::DeadEnd)),
        "2 would continue, but is an end token"
    );
}

#[test]
fn state_after_a_preemption_is_the_state_before() {
    let mut before = ConstraintState::new(&count_to(9)).expect("there is a constraint");
    (1..=4).for_each(|token| before.accept(token));
    let again = Admission { prompt: [9, 1, 2, 3, 4].into(), num_prompt: 1, min_tokens: 5, ..count_to(9) };
    let again = ConstraintState::new(&again).expect("there is a constraint");
    assert_eq!((allowed(&before), allowed(&again)), (vec![5, END], vec![5]));
}

#[test]
fn forbidden_token_fails_the_answer_and_later_tokens_have_no_effect() {
    let mut constraint = ConstraintState::new(&count_to(9)).expect("there is a constraint");
    constraint.accept(7);
    assert_eq!(constraint.end(), Some(ConstraintEnd::Failed(ConstraintError::TooComplex)));
    constraint.accept(1);
    assert_eq!(constraint.end(), Some(ConstraintEnd::Failed(ConstraintError::TooComplex)));
}
