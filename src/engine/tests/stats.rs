//! Statistics: steps of the engine and of its models, and requests by error code.

use std::time::Duration;

use crate::answers::Settings;
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind};
use crate::scheduler::plan::Overlap;

use crate::engine::sample::{LoadedStats, ModelStats};
use crate::engine::watch::RunningStep;

use super::harness::{Harness, SLOW, STEP, Spec, spec};

/// Steps of the engine, and of each of its models.
fn steps(harness: &Harness) -> (u64, Vec<u64>) {
    let sample = harness.sample();
    (sample.snapshot().steps, sample.models.iter().map(|(_, stats)| stats.totals.steps.steps).collect())
}

fn num_tokens(harness: &mut Harness, spec: Spec) -> u64 {
    let reader = harness.submit(spec);
    harness.answer(reader).whole.1.len() as u64
}

#[test]
fn a_step_that_failed_is_not_counted() {
    for kind in [FaultKind::Submit, FaultKind::Collect, FaultKind::Panic] {
        let mut harness = Harness::failing(Settings::OFF, 256, vec![Fault { step: 2, kind }]);
        assert_eq!(num_tokens(&mut harness, spec(1)), 2, "{kind:?}");
        assert_eq!(steps(&harness), (2, vec![2]), "{kind:?}");
        let more = num_tokens(&mut harness, spec(2));
        assert_eq!(steps(&harness), (2 + more, vec![2 + more]), "{kind:?}");
    }
}

#[test]
fn a_step_that_only_drops_sequences_is_not_counted() {
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let mut harness = Harness::overlapping(overlap, 256);
        let reader = harness.submit(spec(1));
        while harness.models()[0].1.totals.steps.steps < 2 {
            harness.turn();
        }
        harness.release(reader);
        harness.run();
        let (engine, models) = steps(&harness);
        assert_eq!(models, [engine], "{overlap:?}");
        assert!((2..=3).contains(&engine), "{engine} steps, {overlap:?}: at most one was submitted ahead");
    }
}

#[test]
fn the_engine_keeps_the_steps_of_an_unloaded_model() {
    let mut harness = Harness::new(Settings::OFF);
    harness.load_slow();
    let tokens = [spec(1), Spec { model: SLOW, ..spec(2) }].map(|spec| num_tokens(&mut harness, spec));
    assert_eq!(steps(&harness), (tokens[0] + tokens[1], tokens.to_vec()));
    let unloaded = harness.unload();
    harness.turn();
    unloaded.try_recv().expect("nothing runs").expect("unloaded");
    assert_eq!(steps(&harness), (tokens[0] + tokens[1], vec![tokens[1]]));
}

#[test]
fn an_error_is_counted_once_for_each_reader_by_its_code() {
    let mut harness = Harness::failing(Settings::default(), 256, vec![Fault { step: 2, kind: FaultKind::Collect }]);
    let joined = [harness.submit(spec(1)), harness.submit(spec(1))];
    let late = harness.submit(Spec { timeout: Some(STEP), ..spec(2) });
    let cancelled = harness.submit(spec(3));
    harness.turn();
    harness.cancel(cancelled);
    harness.run();
    assert!(joined.iter().all(|reader| harness.received[reader].error() == Some(Code::BackendError)));
    assert_eq!(harness.received[&late].error(), Some(Code::Timeout));
    let stats = harness.shared.stats.snapshot(&harness.shared.answers);
    assert_eq!(stats.errors.iter().collect::<Vec<_>>(), [(Code::Timeout, 1), (Code::BackendError, 2)]);
    assert_eq!((stats.failed, stats.cancelled, stats.errors.get(Code::Cancelled)), (3, 1, 0));
}

#[test]
fn errors_are_counted_under_their_own_code() {
    let positions: Vec<_> = Code::ALL.iter().map(|code| *code as usize).collect();
    assert_eq!(positions, (0..Code::ALL.len()).collect::<Vec<_>>());
    assert_eq!(Code::EngineClosed as usize + 1, Code::ALL.len(), "it is the last one");
}

#[test]
fn a_stuck_step_of_one_replica_is_not_hidden_by_a_step_of_another() {
    let step = |seconds| Some(RunningStep { took: Duration::from_secs(seconds), limit: Duration::from_secs(5) });
    for steps in [[step(9), step(1)], [step(1), step(9)], [None, step(9)], [step(9), None]] {
        let mut loaded = LoadedStats::default();
        for step in steps {
            loaded.add(&ModelStats::default(), 0, step);
        }
        assert!(loaded.step.expect("a step").is_stuck(), "{steps:?}");
    }
}

/// The end was delivered before it was counted and before its permit was free, if the reader was drained during the step.
#[test]
fn the_end_of_a_cancelled_request_does_not_wait_for_the_step_in_flight() {
    let mut harness = Harness::overlapping(Overlap::Bounded, 256);
    let reader = harness.stream(spec(1));
    harness.turns(2);
    harness.cancel(reader);
    let cancelled = harness.now();
    harness.wakes.lock().expect("not poisoned").clear();
    harness.turn();
    assert!(harness.now() > cancelled, "a step was collected");
    assert_eq!(*harness.wakes.lock().expect("not poisoned"), [cancelled]);
    assert_eq!(harness.num_pending(), 0);
}
