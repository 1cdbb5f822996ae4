//! Answers that several requests share: joining, leaving, deadlines, the cache.

use std::time::Duration;

use crate::answers::{Coalescing, Settings};
use crate::engine::command::{Command, UnloadedAnswers};
use crate::error::Code;
use crate::request::{FinishReason, RequestId, Served, Sharing};

use super::harness::{Harness, NUM_TOKENS, STEP, Spec, spec};

/// A request whose answer has `NUM_TOKENS` tokens.
pub(super) fn long() -> Spec {
    let is_long = |prompt: &u32| {
        let mut harness = Harness::new(Settings::OFF);
        let reader = harness.submit(spec(*prompt));
        harness.answer(reader).whole.1.len() == NUM_TOKENS
    };
    spec((1..200).find(is_long).expect("a long answer"))
}

#[test]
fn a_reader_that_joins_at_any_token_gets_the_whole_answer_without_computation() {
    let long = long();
    for position in 0..=NUM_TOKENS + 2 {
        let mut harness = Harness::new(Settings::default());
        let first = harness.stream(long);
        harness.turns(position);
        let streams = harness.stream(long);
        let awaits = harness.submit(long);
        let first = harness.answer(first);
        for reader in [streams, awaits] {
            let received = harness.answer(reader);
            assert_eq!(received.whole, first.whole, "at {position}");
            let (summary, first) = (received.summary(), first.summary());
            assert_eq!(summary.finish_reason, first.finish_reason);
            let served = if position < NUM_TOKENS { Served::Coalesced } else { Served::Cached };
            assert_eq!(
                (summary.served, summary.shared_from.clone()),
                (served, Some(first.id.clone())),
                "at {position}"
            );
        }
        let streamed = harness.answer(streams);
        assert_eq!((&streamed.text, &streamed.tokens), (&first.whole.0, &first.whole.1), "at {position}");
        assert_eq!(harness.num_generations(), 1, "at {position}");
    }
}

#[test]
fn a_reader_that_leaves_at_any_token_does_not_affect_the_others() {
    let long = long();
    for position in 0..NUM_TOKENS {
        for leaver in 0..3 {
            let mut harness = Harness::new(Settings::default());
            let readers = [0; 3].map(|_| harness.stream(long));
            harness.turns(position);
            harness.release(readers[leaver]);
            harness.run();
            for (index, reader) in readers.into_iter().enumerate().filter(|(index, _)| *index != leaver) {
                let received = harness.answer(reader);
                assert_eq!(received.tokens.len(), NUM_TOKENS, "{index} of 3, {leaver} left at {position}");
                assert_eq!((&received.text, &received.tokens), (&received.whole.0, &received.whole.1));
            }
            assert!(
                harness.received.get(&readers[leaver]).is_none_or(|received| received.end.is_none()),
                "a reader that left gets no end"
            );
        }
    }
}

#[test]
fn the_last_reader_that_leaves_ends_the_generation_and_the_part_is_not_cached() {
    let long = long();
    for position in 0..NUM_TOKENS {
        let mut harness = Harness::new(Settings::default());
        let readers = [0; 3].map(|_| harness.stream(long));
        harness.turns(position);
        for reader in readers {
            harness.release(reader);
        }
        let steps = |harness: &Harness| harness.shared.stats.snapshot(&harness.shared.answers).steps;
        let before = steps(&harness);
        harness.run();
        assert!(steps(&harness) <= before + 1, "at {position}: at most the step that drops it");
        let again = harness.submit(long);
        assert_eq!(harness.answer(again).summary().served, Served::Computed, "at {position}");
    }
}

#[test]
fn a_reader_that_cancels_gets_the_answer_so_far_and_the_others_get_all() {
    let long = long();
    for position in 0..NUM_TOKENS {
        for canceller in 0..2 {
            let mut harness = Harness::new(Settings::default());
            let readers = [0; 2].map(|_| harness.stream(long));
            harness.turns(position);
            harness.cancel(readers[canceller]);
            let cut = harness.answer(readers[canceller]);
            let whole = harness.answer(readers[1 - canceller]);
            assert_eq!(cut.summary().finish_reason, FinishReason::Cancelled);
            assert_eq!(cut.whole.1, whole.whole.1[..position.min(cut.whole.1.len())], "at {position}");
            assert_eq!(cut.text, cut.whole.0);
            assert_eq!((whole.tokens.len(), whole.summary().finish_reason), (NUM_TOKENS, FinishReason::Length));
        }
    }
}

#[test]
fn an_answer_that_its_only_reader_cancelled_is_not_shared() {
    let long = long();
    let mut harness = Harness::new(Settings::default());
    let reader = harness.submit(long);
    harness.turns(4);
    harness.cancel(reader);
    let again = harness.submit(long);
    let received = harness.answer(again);
    assert_eq!((received.summary().served, received.whole.1.len()), (Served::Computed, NUM_TOKENS));
}

#[test]
fn a_deadline_ends_only_its_own_reader() {
    let long = long();
    let soon = Spec { timeout: Some(STEP * 5), ..long };
    for specs in [[soon, long], [long, soon]] {
        let mut harness = Harness::new(Settings::default());
        let readers = specs.map(|spec| harness.stream(spec));
        let received = readers.map(|reader| harness.answer(reader));
        for (spec, received) in specs.into_iter().zip(received) {
            if spec.timeout.is_some() {
                assert_eq!(received.error(), Some(Code::Timeout));
                assert!(received.tokens.len() < NUM_TOKENS);
            } else {
                assert_eq!(received.tokens.len(), NUM_TOKENS);
            }
        }
        assert_eq!(harness.num_generations(), 1);
    }
}

#[test]
fn a_generation_ends_at_the_latest_deadline_of_its_readers() {
    let long = long();
    let mut harness = Harness::new(Settings::default());
    let readers = [3, 6].map(|steps| harness.stream(Spec { timeout: Some(STEP * steps), ..long }));
    for reader in readers {
        assert_eq!(harness.answer(reader).error(), Some(Code::Timeout));
    }
    let again = harness.submit(long);
    assert_eq!(harness.answer(again).summary().served, Served::Computed, "a partial answer is not cached");
}

#[test]
fn a_request_past_its_deadline_times_out_even_if_its_answer_is_cached() {
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(spec(5));
    harness.answer(first);
    let (late, command) = harness.prepare(Spec { timeout: Some(Duration::ZERO), ..spec(5) });
    harness.core.take(command);
    assert_eq!(harness.answer(late).error(), Some(Code::Timeout));
}

#[test]
fn the_engine_thread_finds_an_answer_that_was_cached_after_the_first_look() {
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(spec(5));
    let (second, command) = harness.prepare(spec(5));
    harness.answer(first);
    harness.core.take(command);
    assert_eq!(harness.answer(second).summary().served, Served::Cached);
}

#[test]
fn readers_beyond_the_limit_of_a_generation_start_another_one() {
    let coalescing = Coalescing { enabled: true, max_subscribers: 3 };
    let mut harness = Harness::new(Settings { coalescing, ..Settings::default() });
    let readers: Vec<_> = (0..7).map(|_| harness.submit(long())).collect();
    let computed = readers.iter().filter(|reader| harness.answer(**reader).summary().served == Served::Computed);
    assert_eq!(computed.count(), 3);
    assert_eq!(harness.num_generations(), 3);
}

#[test]
fn without_coalescing_requests_do_not_join() {
    let mut harness = Harness::new(Settings { coalescing: Settings::OFF.coalescing, ..Settings::default() });
    let readers = [0; 3].map(|_| harness.submit(spec(5)));
    for reader in readers {
        assert_eq!(harness.answer(reader).summary().served, Served::Computed);
    }
}

#[test]
fn a_tenant_shares_only_with_itself() {
    let mut harness = Harness::new(Settings::default());
    let of = |salt| Spec { salt, ..spec(5) };
    for salt in [None, Some("a"), Some("b")] {
        let reader = harness.submit(of(salt));
        assert_eq!(harness.answer(reader).summary().served, Served::Computed, "{salt:?}");
    }
    let running = [Some("c"), Some("d")].map(|salt| harness.submit(of(salt)));
    for reader in running {
        assert_eq!(harness.answer(reader).summary().served, Served::Computed);
    }
    for salt in [None, Some("a"), Some("b"), Some("c")] {
        let reader = harness.submit(of(salt));
        assert_eq!(harness.answer(reader).summary().served, Served::Cached, "{salt:?}");
    }
}

#[test]
fn a_sampled_answer_is_shared_if_forced_and_reports_its_seed() {
    let mut harness = Harness::new(Settings::default());
    let forced = Spec { sharing: Sharing::Force, ..spec(5) };
    let readers = [0; 2].map(|_| harness.submit(forced));
    let [first, second] = readers.map(|reader| harness.answer(reader));
    assert_eq!(second.summary().served, Served::Coalesced);
    assert_eq!((second.summary().seed, second.whole), (first.summary().seed, first.whole));
}

#[test]
fn a_request_with_sharing_off_neither_gets_nor_gives_an_answer() {
    let mut harness = Harness::new(Settings::default());
    let off = Spec { sharing: Sharing::Off, ..spec(5) };
    for spec in [off, off, spec(5), off] {
        let reader = harness.submit(spec);
        assert_eq!(harness.answer(reader).summary().served, Served::Computed);
    }
    let counts = harness.shared.answers.counts();
    assert_eq!((counts.coalescing.misses, counts.num_shared()), (1, 0));
}

#[test]
fn after_clear_running_generations_are_neither_joined_nor_cached() {
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(spec(5));
    harness.turns(2);
    harness.shared.answers.clear();
    let second = harness.submit(spec(5));
    let received = [first, second].map(|reader| harness.answer(reader));
    assert!(received.iter().all(|received| received.summary().served == Served::Computed));
    let third = harness.submit(spec(5));
    assert_eq!(harness.answer(third).summary().shared_from, Some(RequestId("1".into())), "the second request's answer");
}

#[test]
fn unloading_a_model_drops_its_cached_answers() {
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(spec(5));
    harness.answer(first);
    assert_eq!(harness.shared.answers.counts().num_entries, 1);
    harness.unload();
    harness.run();
    assert_eq!(harness.shared.answers.counts().num_entries, 0);
}

#[test]
fn cached_answers_outlive_a_model_that_may_be_loaded_again() {
    let mut harness = Harness::new(Settings::default());
    let first = harness.submit(spec(5));
    harness.answer(first);
    harness.unload_with(UnloadedAnswers::Keep);
    harness.run();
    assert!(harness.models().is_empty());
    assert_eq!(harness.shared.answers.counts().num_entries, 1);
}

#[test]
fn a_stream_that_is_never_read_does_not_slow_other_readers() {
    let long = long();
    let mut harness = Harness::with(Settings::default(), 2);
    let unread = harness.stream(long);
    let awaits = harness.submit(long);
    assert_eq!(harness.answer(awaits).whole.1.len(), NUM_TOKENS);
    assert_eq!(harness.answer(unread).tokens.len(), NUM_TOKENS, "its text is there once the answer is complete");
}

#[test]
fn a_parked_generation_continues_for_a_reader_that_joins() {
    let long = long();
    let mut harness = Harness::with(Settings::default(), 2);
    let behind = harness.stream(long);
    harness.turns(NUM_TOKENS);
    assert_eq!(harness.received[&behind].tokens.len(), 2, "the row waits for its reader");
    let joins = harness.submit(long);
    assert_eq!(harness.answer(joins).whole.1.len(), NUM_TOKENS);
}

#[test]
fn a_generation_is_parked_once_the_reader_that_kept_up_has_left() {
    let long = long();
    let mut harness = Harness::with(Settings::default(), 2);
    let behind = harness.stream(long);
    let keeps_up = harness.submit(long);
    harness.turns(5);
    harness.release(keeps_up);
    harness.turns(NUM_TOKENS);
    assert!(harness.received[&behind].tokens.len() < NUM_TOKENS, "the row waits for its reader");
    harness.shared.readers.credit(behind, NUM_TOKENS);
    harness.core.take(Command::Unpark(behind));
    assert_eq!(harness.answer(behind).tokens.len(), NUM_TOKENS);
}

#[test]
fn each_request_is_counted_once_whatever_its_end() {
    let mut harness = Harness::new(Settings::default());
    let readers = [0; 4].map(|_| harness.submit(long()));
    harness.turns(2);
    harness.release(readers[0]);
    harness.cancel(readers[1]);
    harness.run();
    harness.submit(long());
    harness.run();
    let stats = harness.shared.stats.snapshot(&harness.shared.answers);
    assert_eq!((stats.requests, stats.completed, stats.cancelled), (5, 3, 2));
}
