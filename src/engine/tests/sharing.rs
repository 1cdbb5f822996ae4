use std::time::Duration;

use crate::answers::{Coalescing, Settings};
use crate::engine::command::Command;
use crate::error::Code;
use crate::request::{FinishReason, RequestId, Served, Sharing};

use super::stage::{Ask, NUM_TOKENS, STEP, Stage, ask};

/// A prompt whose answer is as long as it may be.
pub(super) fn long() -> Ask {
    let is_long = |prompt: &u32| {
        let mut stage = Stage::new(Settings::OFF);
        let reader = stage.submit(ask(*prompt));
        stage.answer(reader).whole.1.len() == NUM_TOKENS
    };
    ask((1..200).find(is_long).expect("a long answer"))
}

#[test]
fn whoever_joins_has_the_whole_answer_wherever_it_joins_and_nothing_is_computed_for_it() {
    let long = long();
    for position in 0..=NUM_TOKENS + 2 {
        let mut stage = Stage::new(Settings::default());
        let first = stage.stream(long);
        stage.turns(position);
        let streams = stage.stream(long);
        let awaits = stage.submit(long);
        let first = stage.answer(first);
        for reader in [streams, awaits] {
            let given = stage.answer(reader);
            assert_eq!(given.whole, first.whole, "at {position}");
            let (told, first) = (given.summary(), first.summary());
            assert_eq!(told.finish_reason, first.finish_reason);
            let served = if position < NUM_TOKENS { Served::Coalesced } else { Served::Cached };
            assert_eq!((told.served, told.shared_from.clone()), (served, Some(first.id.clone())), "at {position}");
        }
        let streamed = stage.answer(streams);
        assert_eq!((&streamed.text, &streamed.tokens), (&first.whole.0, &first.whole.1), "at {position}");
        assert_eq!(stage.num_generations(), 1, "at {position}");
    }
}

#[test]
fn whoever_leaves_hurts_nobody_wherever_it_leaves() {
    let long = long();
    for position in 0..NUM_TOKENS {
        for leaver in 0..3 {
            let mut stage = Stage::new(Settings::default());
            let readers = [0; 3].map(|_| stage.stream(long));
            stage.turns(position);
            stage.release(readers[leaver]);
            stage.play();
            for (index, reader) in readers.into_iter().enumerate().filter(|(index, _)| *index != leaver) {
                let given = stage.answer(reader);
                assert_eq!(given.tokens.len(), NUM_TOKENS, "{index} of 3, {leaver} left at {position}");
                assert_eq!((&given.text, &given.tokens), (&given.whole.0, &given.whole.1));
            }
            assert!(
                stage.given.get(&readers[leaver]).is_none_or(|given| given.end.is_none()),
                "nothing comes any more"
            );
        }
    }
}

#[test]
fn the_last_one_to_leave_ends_the_generation_and_what_there_was_is_not_kept() {
    let long = long();
    for position in 0..NUM_TOKENS {
        let mut stage = Stage::new(Settings::default());
        let readers = [0; 3].map(|_| stage.stream(long));
        stage.turns(position);
        for reader in readers {
            stage.release(reader);
        }
        let steps = |stage: &Stage| stage.shared.stats.snapshot(&stage.shared.answers).steps;
        let before = steps(&stage);
        stage.play();
        assert!(steps(&stage) <= before + 1, "at {position}: at most the one that drops it");
        let again = stage.submit(long);
        assert_eq!(stage.answer(again).summary().served, Served::Computed, "at {position}");
    }
}

#[test]
fn one_that_cancels_has_what_there_is_and_the_others_have_everything() {
    let long = long();
    for position in 0..NUM_TOKENS {
        for canceller in 0..2 {
            let mut stage = Stage::new(Settings::default());
            let readers = [0; 2].map(|_| stage.stream(long));
            stage.turns(position);
            stage.cancel(readers[canceller]);
            let cut = stage.answer(readers[canceller]);
            let whole = stage.answer(readers[1 - canceller]);
            assert_eq!(cut.summary().finish_reason, FinishReason::Cancelled);
            assert_eq!(cut.whole.1, whole.whole.1[..position.min(cut.whole.1.len())], "at {position}");
            assert_eq!(cut.text, cut.whole.0);
            assert_eq!((whole.tokens.len(), whole.summary().finish_reason), (NUM_TOKENS, FinishReason::Length));
        }
    }
}

#[test]
fn an_answer_that_was_cut_by_its_only_reader_is_not_given_to_others() {
    let long = long();
    let mut stage = Stage::new(Settings::default());
    let reader = stage.submit(long);
    stage.turns(4);
    stage.cancel(reader);
    let again = stage.submit(long);
    let given = stage.answer(again);
    assert_eq!((given.summary().served, given.whole.1.len()), (Served::Computed, NUM_TOKENS));
}

#[test]
fn a_deadline_is_its_readers_own() {
    let long = long();
    let soon = Ask { timeout: Some(STEP * 5), ..long };
    for asks in [[soon, long], [long, soon]] {
        let mut stage = Stage::new(Settings::default());
        let readers = asks.map(|ask| stage.stream(ask));
        let given = readers.map(|reader| stage.answer(reader));
        for (ask, given) in asks.into_iter().zip(given) {
            if ask.timeout.is_some() {
                assert_eq!(given.error(), Some(Code::Timeout));
                assert!(given.tokens.len() < NUM_TOKENS);
            } else {
                assert_eq!(given.tokens.len(), NUM_TOKENS);
            }
        }
        assert_eq!(stage.num_generations(), 1);
    }
}

#[test]
fn a_generation_ends_with_the_deadline_of_its_most_patient_reader() {
    let long = long();
    let mut stage = Stage::new(Settings::default());
    let readers = [3, 6].map(|steps| stage.stream(Ask { timeout: Some(STEP * steps), ..long }));
    for reader in readers {
        assert_eq!(stage.answer(reader).error(), Some(Code::Timeout));
    }
    let again = stage.submit(long);
    assert_eq!(stage.answer(again).summary().served, Served::Computed, "what was cut is not kept");
}

#[test]
fn one_whose_deadline_has_passed_is_too_late_also_for_an_answer_that_is_there() {
    let mut stage = Stage::new(Settings::default());
    let first = stage.submit(ask(5));
    stage.answer(first);
    let (late, submission) = stage.prepare(Ask { timeout: Some(Duration::ZERO), ..ask(5) });
    stage.core.take(Command::Submit(Box::new(submission)));
    assert_eq!(stage.answer(late).error(), Some(Code::Timeout));
}

#[test]
fn an_answer_that_ended_while_a_request_was_on_its_way_is_found_there() {
    let mut stage = Stage::new(Settings::default());
    let first = stage.submit(ask(5));
    let (second, submission) = stage.prepare(ask(5));
    stage.answer(first);
    stage.core.take(Command::Submit(Box::new(submission)));
    assert_eq!(stage.answer(second).summary().served, Served::Cached);
}

#[test]
fn more_readers_than_one_generation_may_have_get_another_one() {
    let coalescing = Coalescing { enabled: true, max_subscribers: 3 };
    let mut stage = Stage::new(Settings { coalescing, ..Settings::default() });
    let readers: Vec<_> = (0..7).map(|_| stage.submit(long())).collect();
    let computed = readers.iter().filter(|reader| stage.answer(**reader).summary().served == Served::Computed);
    assert_eq!(computed.count(), 3);
    assert_eq!(stage.num_generations(), 3);
}

#[test]
fn without_coalescing_what_runs_is_not_joined() {
    let mut stage = Stage::new(Settings { coalescing: Settings::OFF.coalescing, ..Settings::default() });
    let readers = [0; 3].map(|_| stage.submit(ask(5)));
    for reader in readers {
        assert_eq!(stage.answer(reader).summary().served, Served::Computed);
    }
}

#[test]
fn tenants_share_with_themselves_and_with_nobody_else() {
    let mut stage = Stage::new(Settings::default());
    let of = |salt| Ask { salt, ..ask(5) };
    for salt in [None, Some("a"), Some("b")] {
        let reader = stage.submit(of(salt));
        assert_eq!(stage.answer(reader).summary().served, Served::Computed, "{salt:?}");
    }
    let running = [Some("c"), Some("d")].map(|salt| stage.submit(of(salt)));
    for reader in running {
        assert_eq!(stage.answer(reader).summary().served, Served::Computed);
    }
    for salt in [None, Some("a"), Some("b"), Some("c")] {
        let reader = stage.submit(of(salt));
        assert_eq!(stage.answer(reader).summary().served, Served::Cached, "{salt:?}");
    }
}

#[test]
fn a_drawn_answer_is_shared_where_that_is_forced_and_its_seed_is_told() {
    let mut stage = Stage::new(Settings::default());
    let forced = Ask { sharing: Sharing::Force, ..ask(5) };
    let readers = [0; 2].map(|_| stage.submit(forced));
    let [first, second] = readers.map(|reader| stage.answer(reader));
    assert_eq!(second.summary().served, Served::Coalesced);
    assert_eq!((second.summary().seed, second.whole), (first.summary().seed, first.whole));
}

#[test]
fn who_shares_nothing_neither_takes_nor_gives() {
    let mut stage = Stage::new(Settings::default());
    let off = Ask { sharing: Sharing::Off, ..ask(5) };
    for ask in [off, off, ask(5), off] {
        let reader = stage.submit(ask);
        assert_eq!(stage.answer(reader).summary().served, Served::Computed);
    }
    let counts = stage.shared.answers.counts();
    assert_eq!((counts.coalescing.misses, counts.num_shared()), (1, 0));
}

#[test]
fn after_a_clearing_what_runs_is_neither_joined_nor_kept() {
    let mut stage = Stage::new(Settings::default());
    let first = stage.submit(ask(5));
    stage.turns(2);
    stage.shared.answers.clear();
    let second = stage.submit(ask(5));
    let given = [first, second].map(|reader| stage.answer(reader));
    assert!(given.iter().all(|given| given.summary().served == Served::Computed));
    let third = stage.submit(ask(5));
    assert_eq!(stage.answer(third).summary().shared_from, Some(RequestId("1".into())), "of the second");
}

#[test]
fn the_answers_of_an_unloaded_model_are_gone() {
    let mut stage = Stage::new(Settings::default());
    let first = stage.submit(ask(5));
    stage.answer(first);
    assert_eq!(stage.shared.answers.counts().num_entries, 1);
    stage.unload();
    stage.play();
    assert_eq!(stage.shared.answers.counts().num_entries, 0);
}

#[test]
fn a_reader_that_never_reads_slows_nobody() {
    let long = long();
    let mut stage = Stage::with(Settings::default(), 2);
    let never = stage.stream(long);
    let awaits = stage.submit(long);
    assert_eq!(stage.answer(awaits).whole.1.len(), NUM_TOKENS);
    assert_eq!(stage.answer(never).tokens.len(), NUM_TOKENS, "its text is there once everything is");
}

#[test]
fn a_generation_that_is_parked_goes_on_for_one_who_joins() {
    let long = long();
    let mut stage = Stage::with(Settings::default(), 2);
    let behind = stage.stream(long);
    stage.turns(NUM_TOKENS);
    assert_eq!(stage.given[&behind].tokens.len(), 2, "it waits for its reader");
    let joins = stage.submit(long);
    assert_eq!(stage.answer(joins).whole.1.len(), NUM_TOKENS);
}

#[test]
fn a_generation_is_parked_when_the_one_who_kept_up_has_left() {
    let long = long();
    let mut stage = Stage::with(Settings::default(), 2);
    let behind = stage.stream(long);
    let keeps_up = stage.submit(long);
    stage.turns(5);
    stage.release(keeps_up);
    stage.turns(NUM_TOKENS);
    assert!(stage.given[&behind].tokens.len() < NUM_TOKENS, "it waits for its reader");
    stage.shared.readers.credit(behind, NUM_TOKENS);
    stage.core.take(Command::Unpark(behind));
    assert_eq!(stage.answer(behind).tokens.len(), NUM_TOKENS);
}

#[test]
fn each_request_is_counted_once_however_it_ended() {
    let mut stage = Stage::new(Settings::default());
    let readers = [0; 4].map(|_| stage.submit(long()));
    stage.turns(2);
    stage.release(readers[0]);
    stage.cancel(readers[1]);
    stage.play();
    stage.submit(long());
    stage.play();
    let stats = stage.shared.stats.snapshot(&stage.shared.answers);
    assert_eq!((stats.requests, stats.completed, stats.cancelled), (5, 3, 2));
}
