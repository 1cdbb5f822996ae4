//! Retry and the circuit breaker, with a clock that the test moves.

use std::time::Duration;

use crate::answers::Settings;
use crate::clock::Clock;
use crate::engine::CircuitState;
use crate::engine::core::Next;
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind};
use crate::request::TokenId;

use super::harness::{Harness, Spec, spec};

const KINDS: [FaultKind; 3] = [FaultKind::Submit, FaultKind::Collect, FaultKind::Panic];

/// The first steps of the device fail.
fn failing(num_steps: u64, kind: FaultKind) -> Harness {
    let faults = (0..num_steps).map(|step| Fault { step, kind }).collect();
    Harness::failing(Settings::default(), 256, faults)
}

fn healthy(prompt: TokenId) -> Vec<TokenId> {
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(spec(prompt));
    harness.answer(reader).whole.1
}

fn circuit(harness: &Harness) -> CircuitState {
    harness.models()[0].1.circuit
}

#[test]
fn a_request_whose_first_steps_fail_gets_its_whole_answer_after_two_waits() {
    for kind in KINDS {
        let mut harness = failing(2, kind);
        let start = harness.now();
        let readers = [harness.submit(spec(1)), harness.submit(spec(1))];
        for reader in readers {
            assert_eq!(harness.answer(reader).whole.1, healthy(1), "{kind:?}: also a reader that joined");
        }
        let waited = harness.now() - start;
        assert!((Duration::from_millis(225)..=Duration::from_millis(400)).contains(&waited), "{kind:?}: {waited:?}");
        let stats = harness.shared.stats.snapshot(&harness.shared.answers);
        assert_eq!((stats.completed, stats.failed, stats.retries, stats.recoveries), (2, 0, 2, 2), "{kind:?}");
    }
}

#[test]
fn a_request_that_is_released_or_cancelled_while_it_waits_for_its_next_attempt_is_removed() {
    let mut harness = failing(1, FaultKind::Collect);
    let [left, cancelled] = [harness.submit(spec(1)), harness.submit(spec(2))];
    harness.turn();
    assert_eq!(harness.models()[0].1.scheduler.load.num_queued, 2, "both wait for their next attempt");
    harness.release(left);
    harness.cancel(cancelled);
    harness.run();
    assert_eq!((harness.num_pending(), harness.shared.readers.len()), (0, 0));
}

#[test]
fn the_breaker_opens_after_five_lost_requests_and_closes_when_the_device_works_again() {
    // Five requests with three attempts each, and two more steps while the breaker is half-open.
    let mut harness = failing(17, FaultKind::Submit);
    for prompt in 1..=5 {
        let reader = harness.submit(spec(prompt));
        while !harness.received.contains_key(&reader) {
            if let Next::Wait(Some(until)) = harness.turn() {
                harness.clock.sleep_until(until);
            }
        }
        assert_eq!(harness.received[&reader].end.as_ref().expect("ended").as_ref().err(), Some(&Code::BackendError));
    }
    harness.turn();
    assert_eq!(circuit(&harness), CircuitState::Open);
    let opened = harness.now();
    let reader = harness.submit(spec(6));
    harness.turn();
    assert_eq!(harness.models()[0].1.totals.steps.steps, 0, "no step runs while it is open");
    assert_eq!(harness.answer(reader).whole.1, healthy(6), "a request that was accepted waits, and is not lost");
    let waited = harness.now() - opened;
    let thirty_seconds = Duration::from_secs(30);
    assert!((thirty_seconds..thirty_seconds + Duration::from_secs(1)).contains(&waited), "{waited:?}");
    assert_eq!(circuit(&harness), CircuitState::Closed);
    let stats = harness.shared.stats.snapshot(&harness.shared.answers);
    assert_eq!((stats.circuit_opened, stats.failed, stats.completed), (3, 5, 1));
}

#[test]
fn answers_between_failures_keep_the_breaker_closed() {
    // Each request has one failed step after its first token; every other request has none.
    let mut harness = Harness::new(Settings::OFF);
    let num_steps = [1, 2].map(|prompt| {
        let reader = harness.submit(spec(prompt));
        harness.answer(reader).whole.1.len() as u64
    });
    let round = 2 + num_steps[1];
    let faults = (0..10).map(|n| Fault { step: n * round + 1, kind: FaultKind::Collect }).collect();
    let mut harness = Harness::failing(Settings::OFF, 256, faults);
    for _ in 0..10 {
        for (prompt, fails) in [(1, true), (2, false)] {
            let reader = harness.submit(spec(prompt));
            harness.run();
            assert_eq!(harness.received[&reader].end.as_ref().expect("ended").is_err(), fails);
        }
        assert_eq!(circuit(&harness), CircuitState::Closed);
    }
}

#[test]
fn cached_tokens_that_a_failed_device_lost_do_not_count_for_the_next_attempt() {
    let long = Spec { prompt_len: 300, ..spec(1) };
    let cached = |faults| {
        let mut harness = Harness::failing(Settings::OFF, 256, faults);
        harness.submit(long);
        harness.run();
        let num_steps = harness.models()[0].1.totals.steps.steps;
        let reader = harness.submit(long);
        (harness.answer(reader).summary().usage.cached_input_tokens, num_steps)
    };
    let (num_cached, step) = cached(Vec::new());
    assert!(num_cached > 200, "{num_cached}");
    for kind in KINDS {
        assert_eq!(cached(vec![Fault { step, kind }]).0, 0, "{kind:?}");
    }
}
