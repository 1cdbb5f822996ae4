//! Requests for a model that is not loaded: accepted at once, and held until it is.

use std::time::Duration;

use mlx_serving::answers::ReaderId;
use mlx_serving::engine::{Config, Draft, Reply, UnloadedAnswers};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::LoadControl;
use mlx_serving::request::FinishReason;

use super::support::{Caller, SLOW, draft, endless, model_folder, wait};

fn not_loaded() -> Error {
    Error::new(Code::ModelLoadError, "the model could not be loaded")
}

#[test]
fn a_held_request_gets_the_answer_of_its_model() {
    let caller = Caller::new();
    let [alone, several] = [1, 3].map(|num_choices| {
        let draft = Draft { num_choices, ..draft("Hello", 5) };
        caller.engine.hold("demo", draft).expect("accepted")
    });
    assert_eq!(caller.engine.stats().preparing, 4);
    let loaded = wait(|reply| caller.engine.load(model_folder().into(), LoadControl::default(), reply)).expect("loads");
    caller.engine.submit_held(alone[0], loaded.key);
    caller.engine.submit_held(several[0], loaded.key);
    let truth = caller.ask(draft("Hello", 5)).whole;
    for reader in [alone, several].concat() {
        let answer = caller.answer(reader);
        answer.end.expect("ended").expect("well");
        assert_eq!(answer.whole, truth);
    }
    caller.engine.submit_held(ReaderId(u32::MAX), loaded.key);
}

#[test]
fn a_held_request_whose_model_fails_ends_with_that_error() {
    let caller = Caller::new();
    let readers = caller.engine.hold("demo", draft("Hello", 5)).expect("accepted");
    caller.engine.fail_held(readers[0], &not_loaded());
    caller.engine.submit_held(readers[0], caller.model);
    assert_eq!(caller.answer(readers[0]).end.expect("ended").expect_err("failed").code(), Code::ModelLoadError);
    let stats = caller.engine.stats();
    assert_eq!((stats.preparing, stats.failed, stats.errors.get(Code::ModelLoadError)), (0, 1, 1));
}

#[test]
fn a_held_request_ends_with_its_last_reader_and_returns_its_places() {
    let caller = Caller::with(&Config { max_pending: 2, ..Config::default() }, "instant", Vec::new());
    let two = || Draft { num_choices: 2, ..draft("Hello", 5) };
    let readers = caller.engine.hold("demo", two()).expect("accepted");
    assert_eq!(caller.engine.hold("demo", draft("Hello", 5)).expect_err("full").code(), Code::Overloaded);
    caller.engine.cancel(readers[0]);
    assert_eq!(caller.engine.stats().preparing, 2, "the other reader waits");
    caller.engine.release(readers[1]);
    let summary = caller.answer(readers[0]).end.expect("ended").expect("cancelled");
    assert_eq!(summary.finish_reason, FinishReason::Cancelled);
    let stats = caller.engine.stats();
    assert_eq!((stats.preparing, stats.cancelled), (0, 2));
    caller.engine.submit_held(readers[0], caller.model);
    let again = caller.engine.hold("demo", two()).expect("the places are free");
    caller.engine.fail_held(again[0], &not_loaded());
}

#[test]
fn a_held_request_for_a_model_that_was_unloaded_is_refused() {
    let caller = Caller::new();
    let readers = caller.engine.hold("demo", draft("Hello", 5)).expect("accepted");
    wait(|reply| caller.engine.unload(caller.model, Duration::ZERO, UnloadedAnswers::Remove, reply)).expect("unloads");
    caller.engine.submit_held(readers[0], caller.model);
    assert_eq!(caller.answer(readers[0]).end.expect("ended").expect_err("refused").code(), Code::ModelNotLoaded);
}

#[test]
fn after_the_time_to_drain_running_answers_end_with_an_error() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let running = caller.stream(endless("Hello"));
    caller.tokens(running, 1);
    // The shorter of two times counts.
    caller.engine.unload(caller.model, Duration::MAX, UnloadedAnswers::Remove, Reply::new(|_| ()));
    wait(|reply| caller.engine.unload(caller.model, Duration::from_millis(5), UnloadedAnswers::Remove, reply))
        .expect("unloads");
    let answer = caller.answer(running);
    assert_eq!(answer.end.expect("ended").expect_err("cut").code(), Code::ModelNotLoaded);
    assert!(!answer.tokens.is_empty(), "what was delivered stays");
}
