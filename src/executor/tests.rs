//! What a guide makes of a sequence, with a grammar that can be read here.

use std::sync::Arc;

use super::Guided;
use crate::guide::{Allowed, Grammar, Guide, Matcher, Unable, Verdict};
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::Admission;

const END: TokenId = 40;

/// Tokens that count up from 1 to the number; complete from the second on.
#[derive(Clone)]
struct CountTo(TokenId, TokenId);

impl Grammar for CountTo {
    fn matcher(&self) -> Box<dyn Matcher> {
        Box::new(self.clone())
    }
}

impl Matcher for CountTo {
    fn accept(&mut self, token: TokenId) -> Result<(), Unable> {
        self.1 += 1;
        if token == self.1 { Ok(()) } else { Err(Unable::TooComplex) }
    }

    fn allowed(&mut self) -> Result<Allowed, Unable> {
        let words = if self.1 < self.0 { vec![1 << (self.1 + 1)] } else { Vec::new() };
        Ok(Allowed { words, may_end: self.1 >= 2 })
    }
}

fn count_to(number: TokenId) -> Admission {
    let guide = Guide::new(format!("count to {number}"), Arc::new(CountTo(number, 0)));
    Admission { guide: Some(guide), end_tokens: [END].into(), ..Admission::of(SequenceId(1), &[9]) }
}

fn allowed(guided: &Guided) -> Vec<TokenId> {
    (0..100).filter(|token| guided.allows(*token)).collect()
}

#[test]
fn an_end_is_allowed_where_the_answer_is_complete_and_nowhere_else() {
    let mut guided = Guided::new(&count_to(4)).expect("there is a guide");
    let mut seen = Vec::new();
    for token in 1..=3 {
        seen.push(allowed(&guided));
        guided.accept(token);
    }
    assert_eq!(seen, [vec![1], vec![2], vec![3, END]]);
    assert_eq!((allowed(&guided), guided.verdict()), (vec![4, END], None));
}

#[test]
fn where_nothing_may_follow_it_is_complete_without_an_end() {
    for admission in [count_to(2), Admission { end_tokens: Arc::default(), ..count_to(2) }] {
        let mut guided = Guided::new(&admission).expect("there is a guide");
        guided.accept(1);
        assert_eq!(guided.verdict(), None);
        guided.accept(2);
        assert_eq!(guided.verdict(), Some(Verdict::Complete));
    }
}

#[test]
fn no_end_is_allowed_before_the_least_number_of_tokens_unless_nothing_else_is() {
    let mut guided = Guided::new(&Admission { min_tokens: 3, ..count_to(4) }).expect("there is a guide");
    guided.accept(1);
    guided.accept(2);
    assert_eq!(allowed(&guided), [3]);
    guided.accept(3);
    assert_eq!(allowed(&guided), [4, END]);
    let mut short = Guided::new(&Admission { min_tokens: 9, ..count_to(2) }).expect("there is a guide");
    short.accept(1);
    short.accept(2);
    assert_eq!(short.verdict(), Some(Verdict::Complete));
}

#[test]
fn a_token_that_ends_an_answer_is_no_part_of_it() {
    let mut guided = Guided::new(&Admission { end_tokens: [2, END].into(), ..count_to(4) }).expect("there is a guide");
    guided.accept(1);
    assert_eq!(guided.verdict(), Some(Verdict::Failed(Unable::DeadEnd)), "2 would go on, but is an end");
}

#[test]
fn a_sequence_that_begins_anew_goes_on_where_it_was() {
    let mut before = Guided::new(&count_to(9)).expect("there is a guide");
    (1..=4).for_each(|token| before.accept(token));
    let again = Admission { prompt: [9, 1, 2, 3, 4].into(), num_prompt: 1, min_tokens: 5, ..count_to(9) };
    let again = Guided::new(&again).expect("there is a guide");
    assert_eq!((allowed(&before), allowed(&again)), (vec![5, END], vec![5]));
}

#[test]
fn a_token_that_is_not_allowed_fails_the_answer_and_later_ones_change_nothing() {
    let mut guided = Guided::new(&count_to(9)).expect("there is a guide");
    guided.accept(7);
    assert_eq!(guided.verdict(), Some(Verdict::Failed(Unable::TooComplex)));
    guided.accept(1);
    assert_eq!(guided.verdict(), Some(Verdict::Failed(Unable::TooComplex)));
}
