//! Scripted answers of a simulated device: which generation gets which, and how it ends.

use std::sync::Arc;

use mlx_serving::answers::{End, ReaderId};
use mlx_serving::engine::{Candidates, Config, Draft, ScriptedAnswer, ScriptedAnswers, ScriptedEnd};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::sim::{Fault, FaultKind};
use mlx_serving::request::{FinishReason, Served, Sharing};
use mlx_serving::text::{AnswerParts, StructuredOutput};

use super::support::{Answer, Caller, GatedClock, draft};

fn answer(index: usize, text: &str) -> ScriptedAnswer {
    ScriptedAnswer {
        path: format!("backend.answers[{index}]"),
        parts: AnswerParts { text: text.to_owned(), ..AnswerParts::default() },
        end: ScriptedEnd::Turn,
        times: Some(1),
    }
}

fn list(texts: &[&str]) -> Arc<ScriptedAnswers> {
    Arc::new(ScriptedAnswers::new(texts.iter().enumerate().map(|(index, text)| answer(index, text)).collect()))
}

/// A request that any answer fits.
fn request(prompt: &str, answers: &Arc<ScriptedAnswers>) -> Draft {
    let fitting = (0..answers.len()).collect();
    let candidates = Candidates { answers: Arc::clone(answers), fitting, may_simulate: false };
    Draft { scripted: Some(candidates), ..draft(prompt, 100) }
}

fn error(answer: &Answer) -> &Error {
    answer.end.as_ref().expect("ended").as_ref().expect_err("failed")
}

/// Submits requests one after another, so that they reach the engine thread in this order, before the first step ends.
fn submit_together<const N: usize>(caller: &Caller, clock: &GatedClock, drafts: [Draft; N]) -> [ReaderId; N] {
    let closed = clock.close();
    let mut num_sent = 0;
    let readers = drafts.map(|draft| {
        let reader = caller.submit(draft);
        num_sent += 1;
        caller.when(|_| caller.num_pending() == num_sent);
        reader
    });
    drop(closed);
    readers
}

fn summary(answer: &Answer) -> &mlx_serving::request::Summary {
    let end: &End = answer.end.as_ref().expect("ended");
    end.as_ref().expect("well")
}

#[test]
fn generations_take_the_answers_in_order_and_the_next_one_fails() {
    let (caller, answers) = (Caller::new(), list(&["One.", "", "Three!"]));
    let texts: Vec<_> = (0..3).map(|_| caller.ask(request("Hello", &answers)).whole).collect();
    assert_eq!((texts, answers.unused()), (vec!["One.".to_owned(), String::new(), "Three!".to_owned()], vec![]));
    let failed = caller.ask(request("Say hello", &answers));
    let error = error(&failed);
    assert_eq!((error.code(), error.param()), (Code::ConfigError, Some("backend.answers")));
    assert!(
        error.message().contains("prompt ends with \"Say hello\"") || error.message().contains("used up"),
        "{error}"
    );
    let usual = request("Hello", &answers);
    let usual = usual.scripted.map(|candidates| Candidates { may_simulate: true, ..candidates });
    assert!(!caller.ask(Draft { scripted: usual, ..draft("Hello", 5) }).whole.is_empty());
}

#[test]
fn tokens_are_the_models_own_and_end_with_an_end_token() {
    let (caller, answers) = (Caller::new(), list(&["One two."]));
    let said = caller.ask(request("Hello", &answers));
    assert_eq!(summary(&said).finish_reason, FinishReason::Stop);
    assert!(said.whole_tokens.len() > 2 && said.whole_tokens.last() > Some(&320), "{:?}", said.whole_tokens);
    assert_eq!(summary(&said).usage.output_tokens, said.whole_tokens.len());
}

#[test]
fn requests_that_share_an_answer_use_one() {
    let clock = Arc::<GatedClock>::default();
    let caller = Caller::gated(&Config::default(), &clock, Vec::new());
    let answers = list(&["One.", "Two."]);
    let shared = || Draft { sharing: Sharing::Auto, temperature: Some(0.0), ..request("Hello", &answers) };
    let readers = submit_together(&caller, &clock, [shared(), shared()]);
    let mut all = readers.map(|reader| caller.answer(reader)).to_vec();
    all.push(caller.ask(shared()));
    let served: Vec<_> = all.iter().map(|answer| summary(answer).served).collect();
    assert_eq!(served, [Served::Computed, Served::Coalesced, Served::Cached]);
    assert!(all.iter().all(|answer| answer.whole == "One."));
    assert_eq!(answers.unused(), [1]);
}

#[test]
fn an_answer_is_cut_or_fails_where_the_script_says() {
    let whole = answer(0, "One two three four.");
    let ends = [ScriptedEnd::Cut, ScriptedEnd::Fault(3), ScriptedEnd::Fault(500)];
    let answers = ends.map(|end| ScriptedAnswer { end, ..whole.clone() });
    let answers = Arc::new(ScriptedAnswers::new(answers.to_vec()));
    let caller = Caller::new();
    let cut = caller.ask(request("Hello", &answers));
    assert_eq!((cut.whole.as_str(), summary(&cut).finish_reason), ("One two three four.", FinishReason::Length));
    let failed = caller.answer(caller.stream(request("Hello", &answers)));
    assert_eq!(error(&failed).code(), Code::BackendError);
    assert!(whole.parts.text.starts_with(&failed.text) && failed.tokens.len() == 3, "{failed:?}");
    let impossible = caller.ask(request("Hello", &answers));
    let error = error(&impossible);
    assert_eq!(error.param(), Some("backend.answers[0].errorAfterTokens"));
    assert_eq!(error.limit(), Some(cut.whole_tokens.len() as f64));
}

#[test]
fn params_of_the_request_end_an_answer_before_its_script() {
    let (caller, answers) = (Caller::new(), list(&["One two three.", "One two three."]));
    let cut = caller.ask(Draft { max_tokens: Some(2), ..request("Hello", &answers) });
    assert_eq!((summary(&cut).finish_reason, cut.whole_tokens.len()), (FinishReason::Length, 2));
    let stopped = caller.ask(Draft { stop_sequences: vec!["three".to_owned()], ..request("Hello", &answers) });
    assert_eq!((stopped.whole.as_str(), summary(&stopped).finish_reason), ("One two ", FinishReason::Stop));
}

#[test]
fn an_answer_that_breaks_the_constraint_is_an_error_that_names_the_place() {
    let (caller, answers) = (Caller::new(), list(&["red", "blue", "gre", "redder"]));
    let choices = StructuredOutput::Choices(["red", "green", "orange"].map(str::to_owned).to_vec());
    let ask = || caller.ask(Draft { structured: Some(choices.clone()), ..request("Colour?", &answers) });
    assert_eq!(ask().whole, "red");
    for (index, place) in [(1, "at token 0"), (2, "it ends at token"), (3, "after \"red\"")] {
        let failed = ask();
        let error = error(&failed);
        assert_eq!(
            (error.code(), error.param()),
            (Code::ConfigError, Some(&*format!("backend.answers[{index}].text")))
        );
        assert!(error.message().contains("`structured`") && error.message().contains(place), "{error}");
    }
}

#[test]
fn answers_stay_the_same_when_a_device_without_memory_computes_them_again() {
    let faults = vec![Fault { step: 4, kind: FaultKind::Memory }];
    let clock = Arc::<GatedClock>::default();
    let caller = Caller::gated(&Config::default(), &clock, faults);
    let texts = ["One two three four five.", "Six seven eight nine ten."];
    let answers = list(&texts);
    // The failed step has both requests: a single one would fail with it.
    let readers = submit_together(&caller, &clock, ["Hello", "Hallo"].map(|prompt| request(prompt, &answers)));
    assert_eq!(readers.map(|reader| caller.answer(reader).whole), texts.map(str::to_owned));
    assert!(caller.engine.stats().recoveries > 0);
}
