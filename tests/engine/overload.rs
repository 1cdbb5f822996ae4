//! A refused request leaves nothing behind, and an accepted request is served, however small the queues are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use mlx_serving::engine::{Config, Draft, Reply, Snapshot};
use mlx_serving::error::{Code, Result};
use mlx_serving::text::{Load, MAX_STUCK_JOBS};

use super::support::{Caller, SLOW, draft, endless, wait};

fn with_queue(max_pending: usize) -> Config {
    // Texts wait behind one that the test holds back.
    Config {
        max_pending,
        text_patience: Duration::from_mins(1),
        text_budget: Duration::from_mins(1),
        ..Config::default()
    }
}

/// Occupies the thread that processes texts in order until the gate is dropped. `reply` gets the result.
fn hold(caller: &Caller, reply: impl FnOnce(Result<()>) + Send + 'static) -> Sender<()> {
    let (gate, closed) = channel::<()>();
    let (signal, begun) = channel();
    let job = move |_: &_| {
        signal.send(()).expect("the receiver is alive");
        closed.recv().ok();
        Ok(())
    };
    caller.engine.with_text(caller.model, Load::default(), job, Reply::new(reply));
    begun.recv().expect("it begins");
    gate
}

fn has_ended(stats: &Snapshot) -> bool {
    stats.requests == stats.completed + stats.cancelled + stats.failed
}

/// Regression: shutdown went first when there was no room behind the requests.
#[test]
fn shutdown_waits_for_accepted_requests_however_small_the_text_queue_is() {
    for max_pending in 1..=4 {
        let caller = Caller::with(&with_queue(max_pending), SLOW, Vec::new());
        let gate = hold(&caller, drop);
        let readers: Vec<_> = (0..max_pending).map(|id| caller.submit(draft(&format!("question {id}"), 5))).collect();
        wait(|reply| {
            caller.engine.shutdown(Duration::from_mins(1), reply);
            drop(gate);
        })
        .expect("shuts down");
        for reader in readers {
            caller.answer(reader).end.expect("ended").expect("well");
        }
    }
}

/// Regression: texts were processed strictly in order, however long the first one took.
#[test]
fn a_request_overtakes_a_slow_text() {
    let config = Config { text_budget: Duration::from_mins(1), ..Config::default() };
    let caller = Caller::with(&config, "instant", Vec::new());
    let gate = hold(&caller, |result| result.expect("well within its budget"));
    caller.ask(draft("Hello", 5)).end.expect("ended").expect("well");
    drop(gate);
}

/// Regression: it was refused without a hint, and counted as a request that never ends.
#[test]
fn a_request_refused_for_waiting_texts_has_a_retry_hint_and_leaves_nothing_behind() {
    let caller = Caller::with(&with_queue(2), "instant", Vec::new());
    let gate = hold(&caller, drop);
    let tokenized: Vec<_> = (0..2)
        .map(|_| {
            let (sender, results) = channel();
            let reply = Reply::new(move |result| sender.send(result).expect("the receiver is alive"));
            caller.engine.with_text(caller.model, Load::default(), |text| text.encode("one two"), reply);
            results
        })
        .collect();
    let both = Draft { num_choices: 2, ..draft("Hello", 5) };
    let refused = caller.engine.submit(caller.model, both.clone()).expect_err("no room");
    assert_eq!((refused.code(), refused.limit(), refused.requested()), (Code::Overloaded, Some(2.0), Some(3.0)));
    assert!(refused.retry_after().expect("a retry hint") > Duration::ZERO);
    let refused =
        wait(|reply| caller.engine.with_text(caller.model, Load::default(), |_| Ok(()), reply)).expect_err("no room");
    assert!(refused.code() == Code::Overloaded && refused.retry_after().is_some());
    assert!(has_ended(&caller.engine.stats()), "the refused request is not pending");
    drop(gate);
    for results in tokenized {
        assert!(results.recv().expect("a reply").is_ok());
    }
    for reader in caller.engine.submit(caller.model, both).expect("all permits came back") {
        assert!(caller.answer(reader).end.expect("ended").is_ok());
    }
    assert_eq!(caller.engine.stats().requests, 2);
    assert!(has_ended(&caller.engine.stats()));
}

/// Regression: it was counted as a request that never ends.
#[test]
fn a_request_refused_for_stuck_texts_leaves_nothing_behind() {
    let config = Config { text_budget: Duration::from_millis(20), ..with_queue(1) };
    let caller = Caller::with(&config, "instant", Vec::new());
    let gates: Vec<_> = (0..MAX_STUCK_JOBS)
        .map(|_| {
            let (sender, results) = channel();
            let gate = hold(&caller, move |result| sender.send(result).expect("the receiver is alive"));
            assert_eq!(results.recv().expect("a reply").expect_err("stuck").code(), Code::TokenizerError);
            gate
        })
        .collect();
    for _ in 0..2 {
        let refused = caller.engine.submit(caller.model, draft("Hello", 5)).expect_err("no text thread is free");
        assert_eq!(refused.code(), Code::Overloaded, "{refused}: and the permit came back");
        assert!(refused.retry_after().is_some());
    }
    assert!(has_ended(&caller.engine.stats()), "the refused request is not pending");
    wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("shuts down all the same");
    drop(gates);
}

/// Regression: each choice was charged with the prompt, so the second one was always refused on an idle engine.
#[test]
fn the_prompt_of_many_choices_counts_once_while_one_of_them_is_pending() {
    let config = Config { max_pending_tokens: 150, ..Config::default() };
    let caller = Caller::with(&config, SLOW, Vec::new());
    let prompt = "word ".repeat(20);
    let submit = |draft| caller.engine.submit(caller.model, draft).expect("accepted");
    for reader in submit(Draft { num_choices: 16, ..draft(&prompt, 5) }) {
        caller.answer(reader).end.expect("ended").expect("there is room");
    }
    let readers = submit(Draft { num_choices: 2, ..endless(&prompt) });
    caller.engine.stream(readers[1]);
    caller.tokens(readers[1], 1);
    caller.engine.release(readers[0]);
    caller.when(|stats| stats.cancelled == 1);
    let refused = caller.ask(draft(&prompt, 5)).end.expect("ended").expect_err("the other choice is pending");
    assert_eq!((refused.code(), refused.limit()), (Code::Overloaded, Some(150.0)));
    caller.engine.cancel(readers[1]);
    caller.answer(readers[1]).end.expect("ended").expect("well");
    caller.ask(draft(&prompt, 5)).end.expect("ended").expect("the room is free again");
}

/// Every request is counted in exactly one state, and every error has a code.
fn add_up(stats: &Snapshot) -> bool {
    let ended = stats.completed + stats.cancelled + stats.failed + stats.rejected.sum();
    stats.submitted == ended + stats.preparing + stats.queued + stats.running + stats.joined
        && stats.requests == stats.submitted - stats.rejected.sum()
        && stats.errors.sum() == stats.failed + stats.rejected.sum()
        && stats.errors.get(Code::Overloaded) == stats.rejected.sum()
}

/// Every outcome that the test wants to see has happened.
fn has_all_outcomes(stats: &Snapshot) -> bool {
    stats.rejected.pending > 0 && stats.completed > 0 && stats.cancelled > 0
}

/// A thread submits no more requests after these rounds, also if the sampler has failed.
const MOST_ROUNDS: usize = 100_000;

#[test]
fn counters_add_up_at_every_moment_under_many_concurrent_requests() {
    let config = Config { max_pending: 24, max_pending_tokens: 120, ..Config::default() };
    let caller = Caller::with(&config, "instant", Vec::new());
    let num_samples = AtomicUsize::new(0);
    let num_asked: u64 = std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let (caller, num_samples) = (&caller, &num_samples);
        let sampler = scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let stats = caller.engine.stats();
                assert!(add_up(&stats), "{stats:?}");
                num_samples.fetch_add(1, Ordering::Relaxed);
            }
        });
        let submit_many = move |thread: usize| {
            let mut num_asked = 0;
            // On a busy machine, too, the sampler takes many samples and every outcome happens.
            let is_enough = || num_samples.load(Ordering::Relaxed) >= 100 && has_all_outcomes(&caller.engine.stats());
            for round in (0..MOST_ROUNDS).take_while(|&round| round < 300 || !is_enough()) {
                // Some requests share an answer, some have several, some are cancelled, abandoned or too late.
                let text = format!("question {}", if round % 3 == 0 { 0 } else { round * 4 + thread });
                let num_choices = 1 + round % 3;
                let deadline = (round % 11 == 0).then(|| Instant::now() + Duration::from_micros(200));
                let draft = Draft { num_choices, deadline, ..draft(&text, 12) };
                num_asked += num_choices as u64;
                for reader in caller.engine.submit(caller.model, draft).unwrap_or_default() {
                    match (round + thread) % 5 {
                        0 => caller.engine.cancel(reader),
                        1 => caller.engine.release(reader),
                        _ => {}
                    }
                }
            }
            num_asked
        };
        let threads: Vec<_> = (0..2).map(|thread| scope.spawn(move || submit_many(thread))).collect();
        let num_asked = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        caller.when(has_ended);
        drop(stop);
        sampler.join().expect("they add up");
        num_asked
    });
    let stats = caller.engine.stats();
    assert_eq!(stats.submitted, num_asked);
    assert!(has_all_outcomes(&stats), "{stats:?}");
    assert_eq!((stats.preparing, stats.queued, stats.running, stats.joined), (0, 0, 0, 0), "{stats:?}");
}

#[test]
fn a_prompt_with_too_many_tokens_counts_as_refused_and_not_as_failed() {
    let config = Config { max_pending_tokens: 60, ..Config::default() };
    let caller = Caller::with(&config, SLOW, Vec::new());
    let prompt = "word ".repeat(10);
    let first = caller.submit(endless(&prompt));
    caller.when(|stats| stats.running == 1);
    let refused = caller.ask(draft(&prompt, 40)).end.expect("ended").expect_err("no room");
    assert_eq!(refused.code(), Code::Overloaded);
    let stats = caller.engine.stats();
    assert_eq!((stats.rejected.tokens, stats.failed, stats.requests, stats.submitted), (1, 0, 1, 2));
    caller.engine.cancel(first);
    caller.answer(first).end.expect("ended").expect("well");
}
