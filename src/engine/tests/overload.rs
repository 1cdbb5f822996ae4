//! Retry hints of refused requests.

use std::time::Duration;

use crate::answers::{ReaderId, Settings};
use crate::executor::sim::Profile;

use super::harness::{DEFAULT, Harness, PROFILE, STEP, Spec, spec};

const NIGHT: Duration = Duration::from_hours(8);

/// An action that ends the last row of a runner.
type EndRow = fn(&mut Harness, ReaderId);

fn retry_after(harness: &Harness) -> Duration {
    harness.shared.slots.promise(harness.now(), 1)
}

/// Regression: the interval between two ends included the idle time, so hints were far too long.
#[test]
fn idle_time_does_not_lengthen_retry_hints_however_the_last_row_ended() {
    let endings: [(&str, EndRow); 4] = [
        ("ended", |_, _| ()),
        ("cancelled", Harness::cancel),
        ("released", Harness::release),
        ("expired", |harness, _| harness.clock.advance(STEP * 5)),
    ];
    for (ending, end) in endings {
        let mut harness = Harness::new(Settings::OFF);
        let first = harness.submit(spec(1));
        harness.answer(first);
        let timeout = (ending == "expired").then_some(STEP * 5);
        let last = harness.submit(Spec { timeout, ..spec(2) });
        harness.turns(2);
        end(&mut harness, last);
        harness.run();
        harness.clock.advance(NIGHT);
        let next = harness.submit(spec(1));
        harness.answer(next);
        assert!(retry_after(&harness) < Duration::from_millis(100), "{ending}: {:?}", retry_after(&harness));
    }
}

#[test]
fn the_retry_hint_is_about_the_time_of_the_last_answer() {
    let mut harness = Harness::new(Settings::OFF);
    harness.clock.advance(NIGHT);
    let began = harness.now();
    let only = harness.submit(spec(3));
    harness.answer(only);
    let (took, hint) = (harness.now() - began, retry_after(&harness));
    assert!(hint >= took && hint <= took * 2, "{hint:?} after an answer of {took:?}");
}

#[test]
fn the_retry_hint_after_an_answer_that_ran_alone_assumes_that_all_rows_are_in_use() {
    let prompt = STEP * 20;
    let profile = Profile { prefill_floor: prompt, ..PROFILE };
    let mut harness = Harness::on(profile, Settings::OFF, 256, DEFAULT);
    let began = harness.now();
    let only = harness.submit(spec(3));
    harness.answer(only);
    let (took, hint) = (harness.now() - began, retry_after(&harness));
    assert!(hint >= took + prompt * 3, "{hint:?} after an answer of {took:?}");
}
