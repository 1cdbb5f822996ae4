use mlx_serving::engine::Draft;
use mlx_serving::error::Code;
use mlx_serving::request::FinishReason;
use mlx_serving::text::StructuredOutput;

use super::support::{Caller, draft, with_rows};

fn one_of(texts: &[&str]) -> StructuredOutput {
    StructuredOutput::Choices(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn an_answer_satisfies_its_constraint_and_other_rows_are_unchanged() {
    let caller = Caller::with(&with_rows(4), "instant", Vec::new());
    let free: Vec<_> = (0..8).map(|id| draft(&format!("question {id}"), 40)).collect();
    let alone: Vec<_> = free.iter().map(|draft| caller.ask(draft.clone()).whole).collect();
    let texts = ["red", "green", "blue"];
    let constraint = |id: usize| Draft { structured: Some(one_of(&texts)), ..draft(&format!("colour {id}"), 40) };
    let readers: Vec<_> = (0..8).map(|id| (caller.submit(free[id].clone()), caller.submit(constraint(id)))).collect();
    for ((plain, constraint), alone) in readers.into_iter().zip(alone) {
        assert_eq!(caller.answer(plain).whole, alone);
        let answer = caller.answer(constraint);
        assert!(texts.contains(&answer.whole.as_str()), "{}", answer.whole);
        assert_eq!(answer.end.expect("ended").expect("well").finish_reason, FinishReason::Stop);
    }
}

#[test]
fn a_complete_answer_ends_without_an_end_token() {
    let caller = Caller::new();
    let text = "red";
    for ignore_eos in [false, true] {
        let answer = caller.ask(Draft { structured: Some(one_of(&[text])), ignore_eos, ..draft("Colour?", 60) });
        let summary = answer.end.expect("ended").expect("well");
        assert_eq!((answer.whole.as_str(), summary.finish_reason), (text, FinishReason::Stop));
        let exact = summary.usage.output_tokens;
        let cut = caller.ask(Draft { structured: Some(one_of(&[text])), ignore_eos, ..draft("Colour?", exact) });
        assert_eq!(cut.end.expect("ended").expect("well").finish_reason, FinishReason::Stop);
    }
}

#[test]
fn an_answer_without_an_allowed_token_fails_alone_and_frees_its_row() {
    let caller = Caller::with(&with_rows(2), "instant", Vec::new());
    let other = caller.submit(draft("Hello", 60));
    // Every token is an end token, so no token is allowed at the start.
    let stop_tokens = (0..300).collect();
    let stuck = caller.ask(Draft { structured: Some(one_of(&["red"])), stop_tokens, ..draft("Colour?", 60) });
    let error = stuck.end.expect("ended").expect_err("no token is allowed");
    assert_eq!((error.code(), error.param()), (Code::GuidanceError, Some("structured")));
    assert!(caller.answer(other).end.expect("ended").is_ok());
    assert!(caller.ask(draft("Hello", 60)).end.expect("ended").is_ok());
}

#[test]
fn a_constraint_that_cannot_be_enforced_is_refused_before_the_request_runs() {
    let caller = Caller::new();
    let answer = caller.ask(Draft { structured: Some(StructuredOutput::Regex("(".to_owned())), ..draft("Hello", 60) });
    assert_eq!(answer.end.expect("ended").expect_err("it is broken").code(), Code::GuidanceError);
}
