//! What those who are refused are told of when to come again.

use std::time::Duration;

use crate::answers::{ReaderId, Settings};

use super::stage::{Ask, STEP, Stage, ask};

const NIGHT: Duration = Duration::from_hours(8);

/// How the last row of a runner goes.
type Way = fn(&mut Stage, ReaderId);

fn retry_after(stage: &Stage) -> Duration {
    stage.shared.slots.promise(stage.now(), 1)
}

/// The interval that ran on through the night stood for hundreds of ends.
#[test]
fn the_time_in_which_nobody_asked_counts_for_nothing_however_the_last_one_went() {
    let ways: [(&str, Way); 4] = [
        ("ended", |_, _| ()),
        ("cancelled", Stage::cancel),
        ("released", Stage::release),
        ("expired", |stage, _| stage.clock.advance(STEP * 5)),
    ];
    for (way, go) in ways {
        let mut stage = Stage::new(Settings::OFF);
        let first = stage.submit(ask(1));
        stage.answer(first);
        let timeout = (way == "expired").then_some(STEP * 5);
        let last = stage.submit(Ask { timeout, ..ask(2) });
        stage.turns(2);
        go(&mut stage, last);
        stage.play();
        stage.clock.advance(NIGHT);
        let next = stage.submit(ask(1));
        stage.answer(next);
        assert!(retry_after(&stage) < Duration::from_millis(100), "{way}: {:?}", retry_after(&stage));
    }
}

#[test]
fn a_place_becomes_free_when_an_answer_has_had_the_time_of_the_one_before() {
    let mut stage = Stage::new(Settings::OFF);
    stage.clock.advance(NIGHT);
    let began = stage.now();
    let lone = stage.submit(ask(3));
    stage.answer(lone);
    let (took, told) = (stage.now() - began, retry_after(&stage));
    assert!(told >= took && told <= took * 2, "{told:?} after an answer of {took:?}");
}
