//! Many readers of one generation, many of which leave at the same time.

use std::collections::HashSet;
use std::sync::Arc;

use crate::answers::{ReaderId, Settings};
use crate::error::Code;
use crate::request::{FinishReason, Priority, Summary};

use super::harness::{CHUNK, Harness, NUM_TOKENS, Received, STEP, Spec, spec};
use super::sharing::long;

/// Readers of each kind.
const NUM_READERS: usize = 20;

/// Submits `NUM_READERS` equal requests; every other reader streams.
fn crowd(harness: &mut Harness, spec: Spec) -> Vec<ReaderId> {
    let mut join = |index: usize| if index.is_multiple_of(2) { harness.stream(spec) } else { harness.submit(spec) };
    (0..NUM_READERS).map(&mut join).collect()
}

fn num_logs(received: &[Received]) -> usize {
    received
        .iter()
        .map(|received| Arc::as_ptr(received.log.as_ref().expect("the answer ended")))
        .collect::<HashSet<_>>()
        .len()
}

#[test]
fn readers_that_leave_at_the_same_time_get_their_own_ends_with_the_answer_so_far() {
    let long = long();
    for position in 1..NUM_TOKENS {
        let mut harness = Harness::new(Settings::default());
        let late = Spec { timeout: Some(STEP * u32::try_from(position).expect("few")), ..long };
        let [staying, released, cancelled, late] = [long, long, long, late].map(|spec| crowd(&mut harness, spec));
        harness.turns(position);
        for &reader in &released {
            harness.release(reader);
        }
        for &reader in &cancelled {
            harness.cancel(reader);
        }
        harness.run();
        let whole = harness.received[&staying[0]].whole.clone();
        for (index, reader) in late.iter().chain(&cancelled).chain(&staying).enumerate() {
            let received = &harness.received[reader];
            let streamed = if index.is_multiple_of(2) { received.whole.clone() } else { <_>::default() };
            assert_eq!((&received.text, &received.tokens), (&streamed.0, &streamed.1), "at {position}");
            assert!(whole.0.starts_with(&received.whole.0), "at {position}");
            let num_tokens = if staying.contains(reader) { NUM_TOKENS } else { position };
            assert_eq!(received.whole.1, whole.1[..num_tokens], "at {position}");
        }
        let ends = |readers: &[ReaderId]| readers.iter().map(|it| harness.received[it].end.clone()).collect::<Vec<_>>();
        assert!(ends(&late).iter().all(|end| *end == Some(Err(Code::Timeout))));
        let reason = |end: Option<Result<Summary, Code>>| end?.ok().map(|summary| summary.finish_reason);
        assert!(ends(&cancelled).into_iter().all(|end| reason(end) == Some(FinishReason::Cancelled)));
        assert!(ends(&staying).into_iter().all(|end| reason(end) == Some(FinishReason::Length)));
        assert!(released.iter().all(|it| harness.received.get(it).is_none_or(|received| received.end.is_none())));
        assert_eq!(harness.num_generations(), 1);
        assert!(harness.shared.readers.is_empty());
    }
}

#[test]
fn readers_that_leave_between_two_tokens_share_one_copy_of_the_answer_so_far() {
    let long = long();
    let mut harness = Harness::new(Settings::default());
    let late = Spec { timeout: Some(STEP * 3), ..long };
    let [late, early, later, staying] = [late, long, long, long].map(|spec| crowd(&mut harness, spec));
    harness.turns(3);
    for &reader in &early {
        harness.cancel(reader);
    }
    harness.turns(2);
    for &reader in &later {
        harness.cancel(reader);
    }
    harness.run();
    let received =
        |readers: &[ReaderId]| readers.iter().map(|reader| harness.received[reader].clone()).collect::<Vec<_>>();
    assert_eq!(num_logs(&[received(&late), received(&early)].concat()), 1, "left after the same token");
    assert_eq!(num_logs(&[received(&late), received(&later)].concat()), 2, "left after different tokens");
    assert_eq!(num_logs(&received(&staying)), 1);
}

#[test]
fn a_generation_is_urgent_while_it_has_an_urgent_reader() {
    for is_left in [false, true] {
        let mut harness = Harness::new(Settings::default());
        // Prompts take several steps, so the generation that runs first has the first token.
        let [one, two] = [1, 2].map(|prompt| Spec { prompt_len: 4 * CHUNK, ..spec(prompt) });
        let shared = harness.stream(Spec { priority: Priority::Background, ..one });
        let other = harness.stream(two);
        let urgent = harness.submit(Spec { priority: Priority::Urgent, ..one });
        if is_left {
            harness.release(urgent);
        }
        let has_begun = |harness: &Harness, reader| {
            harness.received.get(&reader).is_some_and(|it: &Received| !it.tokens.is_empty())
        };
        while ![shared, other].iter().any(|&reader| has_begun(&harness, reader)) {
            harness.turn();
        }
        let begun = [shared, other].map(|reader| has_begun(&harness, reader));
        assert_eq!(begun, [!is_left, is_left], "the shared generation and the other one");
    }
}
