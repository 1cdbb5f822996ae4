//! How far a prompt has been read is told to those who want to know: in time, not too often, and whole before the answer.

use std::time::{Duration, Instant};

use crate::answers::{ReaderId, Settings};
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind};
use crate::request::{Progress, Served};

use super::stage::{Ask, CHUNK, NUM_TOKENS, STEP, Stage, ask};

/// Reading it takes 110 steps of a millisecond.
const LONG: usize = 110 * CHUNK;
/// Steps between two reports.
const INTERVAL: usize = 50;

/// A prompt of that length, and somebody who wants to know.
fn asked(prompt_len: usize) -> Ask {
    Ask { prompt_len, wants_progress: true, ..ask(7) }
}

fn read(processed: usize, total: usize) -> Progress {
    Progress { processed, total, cached: 0 }
}

fn told(stage: &Stage, reader: ReaderId) -> Vec<Progress> {
    stage.given.get(&reader).map(|given| given.progress.clone()).unwrap_or_default()
}

/// The rest of what is told of a long prompt that was read so far, and was reported then.
fn rest_of_long(reported: usize) -> Vec<Progress> {
    let parts = (0..).map(|report| reported + report * INTERVAL * CHUNK).take_while(|&processed| processed < LONG);
    parts.chain([LONG]).map(|processed| read(processed, LONG)).collect()
}

#[test]
fn it_is_told_after_each_part_twenty_times_a_second_and_at_the_end() {
    let mut stage = Stage::new(Settings::OFF);
    let reader = stage.submit(asked(LONG));
    let mut times: Vec<Instant> = Vec::new();
    for _ in 0..111 {
        stage.turn();
        times.resize(told(&stage, reader).len(), stage.now());
    }
    assert_eq!(told(&stage, reader), rest_of_long(CHUNK));
    let last = times.pop().expect("the end");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(50)), "{times:?}");
    assert!(last > times[times.len() - 1]);
    let before = told(&stage, reader).len();
    assert!(stage.answer(reader).end.is_some());
    assert_eq!(told(&stage, reader).len(), before, "nothing is told after the prompt");
}

#[test]
fn the_end_is_told_even_where_nothing_else_was() {
    let mut stage = Stage::new(Settings::OFF);
    for reader in [stage.submit(asked(1)), stage.stream(asked(1))] {
        assert_eq!(stage.answer(reader).progress, [read(1, 1)]);
    }
}

#[test]
fn nobody_is_told_who_does_not_want_to_know_nor_woken_for_it() {
    let mut stage = Stage::new(Settings::default());
    let curious = stage.submit(asked(LONG));
    let quiet = stage.submit(Ask { wants_progress: false, ..asked(LONG) });
    stage.turns(60);
    assert_eq!((told(&stage, curious).len(), stage.given.contains_key(&quiet)), (2, false));
    assert!(stage.answer(quiet).progress.is_empty());
}

#[test]
fn whoever_joins_hears_of_the_rest_and_of_the_end_whenever_it_joins() {
    for (leader_wants, position) in [(true, 20), (false, 20), (false, 108), (true, 109), (false, 109), (false, 110)] {
        let mut stage = Stage::new(Settings::default());
        let leader = stage.submit(Ask { wants_progress: leader_wants, ..asked(LONG) });
        stage.turns(position);
        let follower = stage.submit(asked(LONG));
        let given = stage.answer(follower);
        assert_eq!(given.summary().served, Served::Coalesced, "at {position}");
        let processed: Vec<_> = given.progress.iter().map(|progress| progress.processed).collect();
        assert!(processed.is_sorted() && processed.last() == Some(&LONG), "at {position}: {processed:?}");
        assert!(processed[0] > position.min(109) * CHUNK, "at {position}: {processed:?} is what followed");
        assert_eq!(stage.answer(leader).progress.is_empty(), !leader_wants, "at {position}");
    }
}

#[test]
fn a_prompt_that_was_there_is_told_once() {
    let there = [Progress { processed: 40, total: 40, cached: 40 }];
    let mut stage = Stage::new(Settings::default());
    let first = stage.submit(Ask { wants_progress: false, ..asked(40) });
    stage.turns(3 + NUM_TOKENS / 2);
    let joined = stage.stream(asked(40));
    stage.play();
    let (awaits, streams) = (stage.submit(asked(40)), stage.stream(asked(40)));
    stage.play();
    for (reader, served) in [(joined, Served::Coalesced), (awaits, Served::Cached), (streams, Served::Cached)] {
        let given = stage.answer(reader);
        assert_eq!((given.summary().served, &given.progress[..]), (served, &there[..]));
    }
    assert!(stage.answer(first).progress.is_empty());
}

#[test]
fn a_prompt_that_is_given_up_is_not_told_to_the_end() {
    for give_up in [Stage::cancel, Stage::release] {
        let mut stage = Stage::new(Settings::OFF);
        let reader = stage.submit(asked(LONG));
        stage.turns(10);
        give_up(&mut stage, reader);
        stage.play();
        assert_eq!(told(&stage, reader), [read(CHUNK, LONG)]);
    }
    let mut stage = Stage::new(Settings::OFF);
    let reader = stage.submit(Ask { timeout: Some(STEP * 10), ..asked(LONG) });
    let given = stage.answer(reader);
    assert_eq!((given.error(), &given.progress[..]), (Some(Code::Timeout), &[read(CHUNK, LONG)][..]));
}

#[test]
fn what_is_read_again_is_not_told_again() {
    // Two that share the memory: neither is given up, both begin anew.
    let mut stage = Stage::failing(Settings::OFF, 256, vec![Fault { step: 120, kind: FaultKind::Memory }]);
    let readers = [stage.submit(asked(LONG)), stage.submit(Ask { prompt: 9, ..asked(LONG) })];
    stage.play();
    assert_eq!(stage.shared.stats.snapshot(&stage.shared.answers).recoveries, 1);
    for reader in readers {
        let processed: Vec<_> = told(&stage, reader).iter().map(|progress| progress.processed).collect();
        assert!(processed.windows(2).all(|pair| pair[0] < pair[1]), "{processed:?}");
        assert!(processed.len() > 2 && processed.last() == Some(&LONG), "{processed:?}");
    }
}
