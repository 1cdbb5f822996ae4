//! Progress of reading a prompt: reported to the readers that asked, at most 20 times a second, and complete before the
//! first token.

use std::time::{Duration, Instant};

use crate::answers::{ReaderId, Settings};
use crate::engine::progress::{PromptProgress, Report};
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind};
use crate::request::{Progress, SequenceId, Served};
use crate::scheduler::SampledToken;
use crate::scheduler::plan::{Feed, Plan, Row};

use super::harness::{CHUNK, Harness, NUM_TOKENS, STEP, Spec, spec};

/// The length of a prompt that is read in 110 steps of 1 ms, in tokens.
const LONG: usize = 110 * CHUNK;
/// Steps between two reports.
const INTERVAL: usize = 50;

/// A request that asks for progress.
fn with_progress(prompt_len: usize) -> Spec {
    Spec { prompt_len, wants_progress: true, ..spec(7) }
}

fn read(processed: usize, total: usize) -> Progress {
    Progress { processed, total, cached: 0 }
}

fn reports(harness: &Harness, reader: ReaderId) -> Vec<Progress> {
    harness.received.get(&reader).map(|received| received.progress.clone()).unwrap_or_default()
}

/// The reports of a prompt of length `LONG` from position `reported` on.
fn rest_of_long(reported: usize) -> Vec<Progress> {
    let parts = (0..).map(|report| reported + report * INTERVAL * CHUNK).take_while(|&processed| processed < LONG);
    parts.chain([LONG]).map(|processed| read(processed, LONG)).collect()
}

#[test]
fn progress_is_reported_twenty_times_a_second_and_at_the_end() {
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(with_progress(LONG));
    let mut times: Vec<Instant> = Vec::new();
    for _ in 0..111 {
        harness.turn();
        times.resize(reports(&harness, reader).len(), harness.now());
    }
    assert_eq!(reports(&harness, reader), rest_of_long(CHUNK));
    let last = times.pop().expect("the end");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(50)), "{times:?}");
    assert!(last > times[times.len() - 1]);
    let before = reports(&harness, reader).len();
    assert!(harness.answer(reader).end.is_some());
    assert_eq!(reports(&harness, reader).len(), before, "nothing is reported after the prompt");
}

#[test]
fn a_short_prompt_is_reported_once_when_complete() {
    let mut harness = Harness::new(Settings::OFF);
    for reader in [harness.submit(with_progress(1)), harness.stream(with_progress(1))] {
        assert_eq!(harness.answer(reader).progress, [read(1, 1)]);
    }
}

#[test]
fn readers_that_did_not_ask_get_no_progress_and_no_wake() {
    let mut harness = Harness::new(Settings::default());
    let asking = harness.submit(with_progress(LONG));
    let quiet = harness.submit(Spec { wants_progress: false, ..with_progress(LONG) });
    harness.turns(60);
    assert_eq!((reports(&harness, asking).len(), harness.received.contains_key(&quiet)), (2, false));
    assert!(harness.answer(quiet).progress.is_empty());
}

#[test]
fn a_reader_that_joins_gets_the_remaining_reports_and_the_last_one() {
    for (leader_wants, position) in [(true, 20), (false, 20), (false, 108), (true, 109), (false, 109), (false, 110)] {
        let mut harness = Harness::new(Settings::default());
        let leader = harness.submit(Spec { wants_progress: leader_wants, ..with_progress(LONG) });
        harness.turns(position);
        let follower = harness.submit(with_progress(LONG));
        let received = harness.answer(follower);
        assert_eq!(received.summary().served, Served::Coalesced, "at {position}");
        let processed: Vec<_> = received.progress.iter().map(|progress| progress.processed).collect();
        assert!(processed.is_sorted() && processed.last() == Some(&LONG), "at {position}: {processed:?}");
        assert!(processed[0] > position.min(109) * CHUNK, "at {position}: {processed:?} begins after the join");
        assert_eq!(harness.answer(leader).progress.is_empty(), !leader_wants, "at {position}");
    }
}

#[test]
fn the_prompt_of_a_shared_answer_is_reported_once_as_cached() {
    let cached = [Progress { processed: 40, total: 40, cached: 40 }];
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(Spec { wants_progress: false, ..with_progress(40) });
    harness.turns(3 + NUM_TOKENS / 2);
    let joined = harness.stream(with_progress(40));
    harness.run();
    let (awaits, streams) = (harness.submit(with_progress(40)), harness.stream(with_progress(40)));
    harness.run();
    for (reader, served) in [(joined, Served::Coalesced), (awaits, Served::Cached), (streams, Served::Cached)] {
        let received = harness.answer(reader);
        assert_eq!((received.summary().served, &received.progress[..]), (served, &cached[..]));
    }
    assert!(harness.answer(first).progress.is_empty());
}

#[test]
fn a_prompt_whose_request_ends_early_is_not_reported_as_complete() {
    for end in [Harness::cancel, Harness::release] {
        let mut harness = Harness::new(Settings::OFF);
        let reader = harness.submit(with_progress(LONG));
        harness.turns(10);
        end(&mut harness, reader);
        harness.run();
        assert_eq!(reports(&harness, reader), [read(CHUNK, LONG)]);
    }
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(Spec { timeout: Some(STEP * 10), ..with_progress(LONG) });
    let received = harness.answer(reader);
    assert_eq!((received.error(), &received.progress[..]), (Some(Code::Timeout), &[read(CHUNK, LONG)][..]));
}

#[test]
fn positions_that_are_recomputed_are_not_reported_again() {
    // Two requests share the memory, so after the failure both are recomputed and neither fails.
    let mut harness = Harness::failing(Settings::OFF, 256, vec![Fault { step: 120, kind: FaultKind::Memory }]);
    let readers = [harness.submit(with_progress(LONG)), harness.submit(Spec { prompt: 9, ..with_progress(LONG) })];
    harness.run();
    assert_eq!(harness.shared.stats.snapshot(&harness.shared.answers).recoveries, 1);
    for reader in readers {
        let processed: Vec<_> = reports(&harness, reader).iter().map(|progress| progress.processed).collect();
        assert!(processed.windows(2).all(|pair| pair[0] < pair[1]), "{processed:?}");
        assert!(processed.len() > 2 && processed.last() == Some(&LONG), "{processed:?}");
    }
}

/// Watches a row for one reader, and submits steps 0 to 2, which read ten tokens of its prompt each.
fn submitted_three_steps(sequence: SequenceId, reader: ReaderId) -> PromptProgress {
    let mut progress = PromptProgress::default();
    progress.watch(sequence, reader);
    for step in 0..3 {
        let start = 10 * usize::try_from(step).expect("small");
        let row = Row { sequence, start, feed: Feed::Prompt { len: 10 }, sample: false };
        progress.submitted(&Plan { step, rows: vec![row], ..Plan::default() });
    }
    progress
}

#[test]
fn a_step_after_a_lost_step_reports_the_position_that_it_reads() {
    let (sequence, reader, now) = (SequenceId(3), ReaderId(5), Instant::now());
    let mut progress = submitted_three_steps(sequence, reader);
    let report = Report { sequence, position: Some(20), readers: vec![reader] };
    assert_eq!(progress.collected(1, &[], now), [report], "step 0 was never collected");
    assert_eq!(progress.collected(2, &[], now), [], "less than 50 ms later");
}

#[test]
fn a_forgotten_row_is_not_reported_when_a_later_step_samples_its_first_token() {
    let (sequence, reader, now) = (SequenceId(3), ReaderId(5), Instant::now());
    let mut progress = submitted_three_steps(sequence, reader);
    progress.forget(sequence);
    let first = SampledToken { sequence, token: 1, finish: None, constraint_end: None };
    assert_eq!(progress.collected(2, &[first], now), []);
}
