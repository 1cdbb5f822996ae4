use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlx_serving::clock::{Clock, RealClock};
use mlx_serving::engine::{Config, Draft, Engine, Prompt};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::LoadControl;
use mlx_serving::executor::sim::{Fault, FaultKind, Profile};

use super::support::{Caller, SLOW, draft, model_folder, simulated_by, wait, with_rows};

#[test]
fn the_engine_fails_to_start_with_the_error_of_its_backend() {
    let broken = Box::new(|| Err(Error::new(Code::BackendError, "no device here")));
    let error = Engine::start(Config::default(), broken, Box::new(|| ())).err().expect("does not start");
    assert_eq!((error.code(), error.message()), (Code::BackendError, "no device here"));
    let panics = Box::new(|| panic!("no device at all"));
    let error = Engine::start(Config::default(), panics, Box::new(|| ())).err().expect("does not start");
    assert!(error.message().contains("no device at all"));
}

/// A failed step ends the requests of that step and no others.
#[test]
fn a_failed_step_ends_its_own_requests_and_the_engine_continues() {
    for kind in [FaultKind::Submit, FaultKind::Collect, FaultKind::Panic] {
        let config = with_rows(2);
        let healthy = Caller::with(&config, "instant", Vec::new()).ask(draft("question 2", 9)).whole;
        let caller = Caller::with(&config, "instant", vec![Fault { step: 4, kind }]);
        let readers: Vec<_> = (0..3).map(|id| caller.submit(draft(&format!("question {id}"), 9))).collect();
        let ends: Vec<_> = readers.into_iter().map(|reader| caller.answer(reader)).collect();
        let failed = ends.iter().filter(|answer| {
            answer.end.as_ref().expect("ended").as_ref().is_err_and(|error| error.code() == Code::BackendError)
        });
        assert!((1..=2).contains(&failed.count()), "{kind:?}: the requests of the step, and no others");
        if let Ok(Ok(_)) = ends[2].end.clone().ok_or(()) {
            assert_eq!(ends[2].whole, healthy, "{kind:?}: other requests are not affected");
        }
        assert_eq!(caller.ask(draft("question 2", 9)).whole, healthy, "{kind:?}: the next request runs");
        assert_eq!(caller.engine.stats().recoveries, 1);
    }
}

/// Real time. Panics once, after the device has waited this many times. A step waits twice: when it is submitted and
/// when it is collected.
struct Alarm(AtomicU64);

impl Clock for Alarm {
    fn now(&self) -> Instant {
        RealClock.now()
    }

    fn sleep_until(&self, until: Instant) {
        assert!(self.0.fetch_sub(1, Ordering::SeqCst) > 0, "a requested panic");
        RealClock.sleep_until(until);
    }

    fn thread_time(&self) -> Duration {
        RealClock.thread_time()
    }
}

#[test]
fn a_device_that_panics_while_its_tokens_are_read_fails_that_step_and_no_other() {
    let profile = Profile::named("instant").expect("a listed profile");
    // The third step panics when it is collected.
    let backend = simulated_by(Arc::new(Alarm(AtomicU64::new(5))), profile, Vec::new());
    let caller = Caller::open(&with_rows(1), backend, model_folder());
    let readers = [caller.submit(draft("question 0", 9)), caller.submit(draft("question 1", 9))];
    // Either request may get the only row first.
    let ends = readers.map(|reader| caller.answer(reader).end.expect("ended"));
    let errors: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "the other request waited for the row: {errors:?}");
    assert_eq!(errors[0].code(), Code::BackendError);
    assert!(errors[0].message().contains("requested panic"), "{errors:?}");
    assert_eq!(caller.engine.stats().recoveries, 1);
}

#[test]
fn a_parked_answer_is_recomputed_after_a_device_failure() {
    let config = Config { buffer_tokens: 4, ..Config::default() };
    let whole = Caller::with(&config, "instant", Vec::new()).ask(draft("Hello", 40)).whole;
    let caller = Caller::with(&config, SLOW, vec![Fault { step: 12, kind: FaultKind::Collect }]);
    let parked = caller.stream_from_start(draft("Hello", 40));
    caller.when(|stats| stats.parked == 1);
    assert!(caller.ask(draft("Other", 30)).end.expect("ended").is_err(), "the step fails");
    caller.engine.credit(parked, 1_000);
    let answer = caller.answer(parked);
    assert_eq!(answer.end.expect("ended").map(|_| answer.whole).expect("well"), whole);
}

#[test]
fn an_error_in_a_prompt_ends_its_answer() {
    let caller = Caller::new();
    let error = |draft: Draft| caller.ask(draft).end.expect("ended").expect_err("wrong");
    let empty = error(Draft { prompt: Prompt::Tokens(Vec::new()), ..draft("", 5) });
    assert_eq!((empty.code(), empty.param()), (Code::InvalidParams, Some("prompt")));
    let outside = error(Draft { prompt: Prompt::Tokens(vec![1, 4_000_000_000]), ..draft("", 5) });
    assert_eq!((outside.code(), outside.param()), (Code::InvalidParams, Some("prompt")));
    assert!(outside.message().contains("position 1"));
    let long = error(draft("Hello", 1_000_000));
    assert_eq!((long.code(), long.limit()), (Code::ContextLengthExceeded, Some(8_192.0)));
    assert_eq!(error(draft(&"word ".repeat(9_000), 5)).code(), Code::ContextLengthExceeded);
    assert_eq!(error(draft("Hello", usize::MAX)).code(), Code::ContextLengthExceeded);
}

#[test]
fn a_folder_without_a_model_is_an_error_and_the_engine_continues() {
    let caller = Caller::new();
    let folder = tempfile::tempdir().expect("a folder");
    let error = wait(|reply| caller.engine.load(folder.path().to_path_buf().into(), LoadControl::default(), reply))
        .expect_err("empty");
    assert_eq!(error.code(), Code::ModelLoadError);
    let error = wait(|reply| caller.engine.load(folder.path().join("nothing").into(), LoadControl::default(), reply))
        .expect_err("missing");
    assert_eq!(error.code(), Code::ModelNotFound);
    assert!(caller.ask(draft("Hello", 5)).end.expect("ended").is_ok());
}
