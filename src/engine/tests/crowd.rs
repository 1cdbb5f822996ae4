//! Many readers of one generation, of whom many leave at the same time.

use std::collections::HashSet;
use std::sync::Arc;

use crate::answers::{ReaderId, Settings};
use crate::error::Code;
use crate::request::{FinishReason, Priority, Summary};

use super::sharing::long;
use super::stage::{Ask, CHUNK, Given, NUM_TOKENS, STEP, Stage, ask};

/// Readers of each kind.
const NUM_READERS: usize = 20;

/// Every other one streams.
fn crowd(stage: &mut Stage, ask: Ask) -> Vec<ReaderId> {
    let mut join = |index: usize| if index.is_multiple_of(2) { stage.stream(ask) } else { stage.submit(ask) };
    (0..NUM_READERS).map(&mut join).collect()
}

fn num_logs(given: &[Given]) -> usize {
    given.iter().map(|given| Arc::as_ptr(given.log.as_ref().expect("it ended"))).collect::<HashSet<_>>().len()
}

#[test]
fn everybody_who_leaves_at_one_moment_is_told_its_own_end_with_what_there_was() {
    let long = long();
    for position in 1..NUM_TOKENS {
        let mut stage = Stage::new(Settings::default());
        let late = Ask { timeout: Some(STEP * u32::try_from(position).expect("few")), ..long };
        let [staying, released, cancelled, late] = [long, long, long, late].map(|ask| crowd(&mut stage, ask));
        stage.turns(position);
        for &reader in &released {
            stage.release(reader);
        }
        for &reader in &cancelled {
            stage.cancel(reader);
        }
        stage.play();
        let whole = stage.given[&staying[0]].whole.clone();
        for (index, reader) in late.iter().chain(&cancelled).chain(&staying).enumerate() {
            let given = &stage.given[reader];
            let streamed = if index.is_multiple_of(2) { given.whole.clone() } else { <_>::default() };
            assert_eq!((&given.text, &given.tokens), (&streamed.0, &streamed.1), "at {position}");
            assert!(whole.0.starts_with(&given.whole.0), "at {position}");
            let num_tokens = if staying.contains(reader) { NUM_TOKENS } else { position };
            assert_eq!(given.whole.1, whole.1[..num_tokens], "at {position}");
        }
        let ends = |readers: &[ReaderId]| readers.iter().map(|it| stage.given[it].end.clone()).collect::<Vec<_>>();
        assert!(ends(&late).iter().all(|end| *end == Some(Err(Code::Timeout))));
        let reason = |end: Option<Result<Summary, Code>>| end?.ok().map(|summary| summary.finish_reason);
        assert!(ends(&cancelled).into_iter().all(|end| reason(end) == Some(FinishReason::Cancelled)));
        assert!(ends(&staying).into_iter().all(|end| reason(end) == Some(FinishReason::Length)));
        assert!(released.iter().all(|it| stage.given.get(it).is_none_or(|given| given.end.is_none())));
        assert_eq!(stage.num_generations(), 1);
        assert!(stage.shared.readers.is_empty());
    }
}

#[test]
fn what_was_said_is_copied_once_for_all_who_leave_before_more_is_said() {
    let long = long();
    let mut stage = Stage::new(Settings::default());
    let late = Ask { timeout: Some(STEP * 3), ..long };
    let [late, early, later, staying] = [late, long, long, long].map(|ask| crowd(&mut stage, ask));
    stage.turns(3);
    for &reader in &early {
        stage.cancel(reader);
    }
    stage.turns(2);
    for &reader in &later {
        stage.cancel(reader);
    }
    stage.play();
    let given = |readers: &[ReaderId]| readers.iter().map(|reader| stage.given[reader].clone()).collect::<Vec<_>>();
    assert_eq!(num_logs(&[given(&late), given(&early)].concat()), 1, "at one moment");
    assert_eq!(num_logs(&[given(&late), given(&later)].concat()), 2, "at two");
    assert_eq!(num_logs(&given(&staying)), 1);
}

#[test]
fn a_generation_is_urgent_for_as_long_as_somebody_urgent_waits_for_it() {
    for is_left in [false, true] {
        let mut stage = Stage::new(Settings::default());
        // Whoever goes first reads a prompt of several steps first.
        let [one, two] = [1, 2].map(|prompt| Ask { prompt_len: 4 * CHUNK, ..ask(prompt) });
        let shared = stage.stream(Ask { priority: Priority::Background, ..one });
        let other = stage.stream(two);
        let urgent = stage.submit(Ask { priority: Priority::Urgent, ..one });
        if is_left {
            stage.release(urgent);
        }
        let has_begun =
            |stage: &Stage, reader| stage.given.get(&reader).is_some_and(|it: &Given| !it.tokens.is_empty());
        while ![shared, other].iter().any(|&reader| has_begun(&stage, reader)) {
            stage.turn();
        }
        let begun = [shared, other].map(|reader| has_begun(&stage, reader));
        assert_eq!(begun, [!is_left, is_left], "the shared one and the other");
    }
}
