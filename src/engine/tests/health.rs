//! Stuck steps, with a clock that the test moves: steps take 1 ms, and no step is stuck within 10 s.

use std::time::Duration;

use crate::answers::Settings;
use crate::engine::health::of_models;
use crate::engine::watch::Watch;
use crate::executor::sim::{Fault, FaultKind};
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, STUCK_AFTER, spec};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The names of all health reasons.
fn reasons(harness: &Harness) -> Vec<&'static str> {
    let sample = harness.sample();
    of_models(&sample, !sample.models.is_empty()).map(|reason| reason.name()).collect()
}

fn step_took(harness: &Harness) -> Option<Duration> {
    harness.sample().labels[0].loaded.expect("a model").step.map(|step| step.took)
}

#[test]
fn a_step_in_flight_is_stuck_after_the_limit_until_it_ends() {
    for overlap in [Overlap::Bounded, Overlap::Whole] {
        let mut harness = Harness::overlapping(overlap, 256);
        let reader = harness.submit(spec(4));
        harness.turns(4);
        assert_eq!((reasons(&harness), step_took(&harness)), (vec![], Some(Duration::ZERO)), "{overlap:?}");
        harness.clock.advance(STUCK_AFTER);
        assert_eq!((reasons(&harness), step_took(&harness)), (vec![], Some(STUCK_AFTER)), "{overlap:?}");
        harness.clock.advance(Duration::from_nanos(1));
        assert_eq!(reasons(&harness), ["stuckStep"], "{overlap:?}");
        harness.turn();
        assert_eq!(reasons(&harness), [""; 0], "{overlap:?}");
        harness.answer(reader);
        harness.clock.advance(secs(3_600));
        assert_eq!(
            (reasons(&harness), step_took(&harness)),
            (vec![], None),
            "{overlap:?}: an idle engine is not stuck"
        );
    }
}

#[test]
fn after_a_failure_no_step_is_stuck() {
    for kind in [FaultKind::Submit, FaultKind::Collect, FaultKind::Panic, FaultKind::Memory] {
        let mut harness = Harness::failing(Settings::OFF, 256, vec![Fault { step: 2, kind }]);
        let reader = harness.submit(spec(4));
        while harness.received.get(&reader).is_none_or(|received| received.end.is_none()) {
            harness.turn();
        }
        harness.clock.advance(secs(3_600));
        assert_eq!((reasons(&harness), step_took(&harness)), (vec![], None), "{kind:?}");
    }
}

#[test]
fn an_engine_without_a_model_has_the_reason_no_model() {
    let mut harness = Harness::new(Settings::OFF);
    assert_eq!(reasons(&harness), [""; 0]);
    let unloaded = harness.unload();
    harness.turn();
    unloaded.try_recv().expect("nothing runs").expect("unloaded");
    assert_eq!(reasons(&harness), ["noModel"]);
}

#[test]
fn the_limit_is_ten_times_the_expected_time_and_at_least_the_least_limit() {
    let harness = Harness::new(Settings::OFF);
    let (now, watch) = (harness.now(), Watch::new(harness.now(), secs(10)));
    assert_eq!(watch.read(now), None);
    for (expected, limit) in [(Some(secs(0)), 10), (Some(secs(1)), 10), (Some(secs(7)), 70), (None, 30)] {
        watch.begin(now + secs(1), expected);
        let at = |seconds: u64| watch.read(now + secs(1 + seconds)).expect("a step");
        assert_eq!((at(5).took, at(5).limit), (secs(5), secs(limit)), "{expected:?}");
        assert!(!at(limit).is_stuck() && at(limit + 1).is_stuck(), "{expected:?}");
    }
    watch.end();
    assert_eq!(watch.read(now + secs(99)), None);
}
