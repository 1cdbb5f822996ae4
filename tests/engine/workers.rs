//! Several engine threads: requests are spread over them, a thread that ends or hangs is replaced, and nothing is lost or
//! delivered twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlx_serving::config::{Routing, Workers};
use mlx_serving::engine::{Config, Draft, HealthStatus, UnloadedAnswers};
use mlx_serving::error::Code;
use mlx_serving::executor::sim::{Fault, FaultKind};
use mlx_serving::request::{FinishReason, Served, Sharing};

use super::support::{Answer, Caller, SLOW, draft, wait, with_rows};

/// The least time after which a step counts as stuck. The steps of `SLOW` take 10 ms.
const STUCK_AFTER: Duration = Duration::from_millis(200);

fn workers(count: usize) -> Config {
    let workers = Workers { count, routing: Routing::LeastBusy, sticky: true, replace_stuck: true };
    Config { workers, stuck_after: STUCK_AFTER, ..with_rows(8) }
}

fn thread_ends_at(steps: &[u64]) -> Vec<Fault> {
    steps.iter().map(|&step| Fault { step, kind: FaultKind::Thread }).collect()
}

fn stalls_at(step: u64, time: Duration) -> Vec<Fault> {
    vec![Fault { step, kind: FaultKind::Stall(time) }]
}

fn question(number: usize) -> Draft {
    draft(&format!("question {number}"), 9)
}

fn shared(prompt: &str) -> Draft {
    Draft { sharing: Sharing::Force, ..draft(prompt, 30) }
}

fn truth(number: usize) -> String {
    Caller::new().ask(question(number)).whole
}

fn code(answer: &Answer) -> Option<Code> {
    answer.end.as_ref().expect("ended").as_ref().err().map(mlx_serving::error::Error::code)
}

fn served(answer: &Answer) -> Served {
    answer.end.as_ref().expect("ended").as_ref().expect("well").served
}

/// Nothing is left, and each request is counted once.
fn check_empty(caller: &Caller) {
    caller.when(|stats| {
        let present = stats.preparing + stats.queued + stats.running + stats.joined;
        present == 0 && stats.completed + stats.cancelled + stats.failed == stats.requests
    });
    let pending = caller.engine.sample().workers.iter().map(|worker| worker.load.num_pending).sum::<usize>();
    assert_eq!(pending, 0);
}

fn num_restarts(caller: &Caller) -> u64 {
    caller.engine.sample().workers.iter().map(|worker| worker.num_restarts).sum()
}

#[test]
fn requests_are_spread_evenly_and_their_answers_equal_those_of_a_single_worker() {
    let config = workers(4);
    let config = Config { workers: Workers { routing: Routing::RoundRobin, ..config.workers }, ..config };
    let caller = Caller::with(&config, "instant", Vec::new());
    let readers: Vec<_> = (0..200).map(|number| caller.submit(question(number % 20))).collect();
    let truth: Vec<_> = (0..20).map(truth).collect();
    for (number, reader) in readers.into_iter().enumerate() {
        assert_eq!(caller.answer(reader).whole, truth[number % 20]);
    }
    let got: Vec<_> = caller.engine.sample().workers.iter().map(|worker| worker.load.num_requests).collect();
    assert_eq!(got, [50; 4]);
    check_empty(&caller);
}

#[test]
fn identical_requests_share_one_generation_and_the_cache_spans_all_workers() {
    let caller = Caller::with(&workers(4), SLOW, Vec::new());
    let readers: Vec<_> = (0..8).map(|_| caller.submit(shared("the same question"))).collect();
    let answers: Vec<_> = readers.into_iter().map(|reader| caller.answer(reader)).collect();
    let num_computed = answers.iter().filter(|answer| served(answer) == Served::Computed).count();
    assert_eq!(num_computed, 1);
    assert_eq!(served(&caller.ask(shared("the same question"))), Served::Cached);
    check_empty(&caller);
}

#[test]
fn statistics_count_the_replicas_of_a_model_as_one_and_an_unload_drops_all_of_them() {
    let caller = Caller::with(&workers(3), "instant", Vec::new());
    (0..6).for_each(|number| drop(caller.ask(question(number))));
    let sample = caller.engine.sample();
    assert_eq!(sample.models.len(), 1);
    assert!(sample.workers.iter().all(|worker| worker.is_running && worker.load.num_requests == 2));
    assert_eq!(sample.models[0].1.totals.steps.steps, sample.labels[0].tally.totals.steps.steps);
    wait(|reply| caller.engine.unload(caller.model, Duration::ZERO, UnloadedAnswers::Remove, reply)).expect("unloaded");
    let after = caller.engine.sample();
    assert_eq!((after.models.len(), after.labels[0].tally.unloads), (0, 1));
    wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("ends");
}

#[test]
fn a_thread_that_ends_is_replaced_and_its_requests_run_again() {
    for count in [1, 3] {
        let caller = Caller::with(&workers(count), "instant", thread_ends_at(&[2]));
        let began = Instant::now();
        let readers: Vec<_> = (0..12).map(|number| caller.submit(question(number))).collect();
        for (number, reader) in readers.into_iter().enumerate() {
            let answer = caller.answer(reader);
            assert_eq!((code(&answer), &answer.whole), (None, &truth(number)), "{count} workers");
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(num_restarts(&caller), 1, "{count} workers");
        check_empty(&caller);
        assert_eq!(caller.ask(question(3)).whole, truth(3));
        wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("ends");
    }
}

#[test]
fn an_answer_that_was_delivered_in_part_fails_when_its_thread_ends() {
    let caller = Caller::with(&workers(1), SLOW, thread_ends_at(&[8]));
    let (streams, awaits) = (caller.stream(draft("one", 40)), caller.submit(draft("two", 12)));
    caller.tokens(streams, 2);
    let streamed = caller.answer(streams);
    assert_eq!(code(&streamed), Some(Code::BackendError));
    assert!(!streamed.tokens.is_empty());
    // No token of the other request was delivered, so it ran again, although the device had computed some of its tokens.
    let whole = caller.answer(awaits);
    assert_eq!((code(&whole), whole.whole), (None, Caller::new().ask(draft("two", 12)).whole));
    assert_eq!(num_restarts(&caller), 1);
    check_empty(&caller);
}

#[test]
fn a_request_that_is_lost_twice_fails() {
    let caller = Caller::with(&workers(1), "instant", thread_ends_at(&[0, 1]));
    let answer = caller.ask(question(0));
    assert_eq!(code(&answer), Some(Code::BackendError));
    assert_eq!(caller.ask(question(0)).whole, truth(0));
    assert_eq!(num_restarts(&caller), 2);
    check_empty(&caller);
}

#[test]
fn a_worker_whose_threads_all_end_in_their_first_step_is_given_up_and_its_requests_end() {
    let caller = Caller::with(&workers(1), "instant", thread_ends_at(&(0..40).collect::<Vec<_>>()));
    let ends: Vec<_> = (0..5).map(|number| caller.engine.submit(caller.model, question(number))).collect();
    for end in ends {
        assert!(code(&caller.answer(end.expect("accepted")[0])).is_some());
    }
    let give_up = Instant::now() + Duration::from_secs(30);
    while caller.engine.health().status != HealthStatus::Down {
        caller.engine.submit(caller.model, question(9)).map(|readers| caller.answer(readers[0])).ok();
        assert!(Instant::now() < give_up, "it was never given up");
    }
    assert_eq!(caller.engine.health().reasons[0].name(), "engineStopped");
    assert_eq!(code(&caller.ask(question(1))), Some(Code::EngineClosed));
    check_empty(&caller);
    assert!(wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).is_ok(), "it can be shut down");
}

#[test]
fn readers_of_one_generation_share_it_again_after_their_thread_ended() {
    let caller = Caller::with(&workers(2), SLOW, thread_ends_at(&[6]));
    let readers: Vec<_> = (0..5).map(|_| caller.submit(shared("together"))).collect();
    let answers: Vec<_> = readers.into_iter().map(|reader| caller.answer(reader)).collect();
    assert!(answers.iter().all(|answer| code(answer).is_none() && answer.whole == answers[0].whole));
    assert_eq!(answers.iter().filter(|answer| served(answer) == Served::Computed).count(), 1);
    assert_eq!(num_restarts(&caller), 1);
    check_empty(&caller);
}

#[test]
fn requests_that_were_cancelled_or_left_do_not_run_again() {
    // There is one row, so the other requests still wait for it when the thread ends.
    let config = Config { ..with_rows(1) };
    let config = Config { workers: Workers { count: 1, ..workers(1).workers }, stuck_after: STUCK_AFTER, ..config };
    let caller = Caller::with(&config, SLOW, thread_ends_at(&[4]));
    let [first, cancelled, left, last] = [0, 1, 2, 3].map(|number| caller.submit(question(number)));
    caller.engine.cancel(cancelled);
    caller.engine.release(left);
    let ended = caller.answer(cancelled);
    assert_eq!(ended.end.expect("ended").expect("well").finish_reason, FinishReason::Cancelled);
    assert_eq!(caller.answer(first).whole, truth(0));
    assert_eq!(caller.answer(last).whole, truth(3));
    check_empty(&caller);
    let stats = caller.engine.stats();
    assert_eq!((stats.completed, stats.cancelled, stats.failed), (2, 2, 0));
}

#[test]
fn a_stuck_thread_is_replaced_while_the_other_one_serves() {
    let stall = Duration::from_secs(4);
    let caller = Caller::with(&workers(2), SLOW, stalls_at(12, stall));
    // The first steps are measured, so that the limit is known.
    (0..2).for_each(|number| drop(caller.ask(question(number))));
    let began = Instant::now();
    let readers: Vec<_> = (0..8).map(|number| caller.submit(question(number))).collect();
    for (number, reader) in readers.into_iter().enumerate() {
        let answer = caller.answer(reader);
        assert_eq!((code(&answer), &answer.whole), (None, &truth(number)));
    }
    assert!(began.elapsed() < stall, "the requests did not wait for the stuck step");
    assert_eq!(num_restarts(&caller), 1);
    check_empty(&caller);
    // The deposed thread ends once its step has ended, and touches nothing.
    std::thread::sleep(stall.saturating_sub(began.elapsed()) + Duration::from_millis(300));
    assert_eq!(caller.ask(question(5)).whole, truth(5));
    check_empty(&caller);
}

#[test]
fn an_unload_and_a_shutdown_end_while_the_thread_that_took_them_is_stuck() {
    let stall = Duration::from_secs(20);
    let drain = Duration::from_mins(1);
    for is_unload in [true, false] {
        let caller = Caller::with(&workers(1), SLOW, stalls_at(15, stall));
        let reader = caller.stream(draft("one", 40));
        caller.tokens(reader, 2);
        let began = Instant::now();
        if is_unload {
            wait(|reply| caller.engine.unload(caller.model, drain, UnloadedAnswers::Keep, reply)).expect("unloaded");
        } else {
            wait(|reply| caller.engine.shutdown(drain, reply)).expect("ends");
        }
        assert!(began.elapsed() < stall / 2, "unload: {is_unload}");
        assert!(code(&caller.answer(reader)).is_some());
    }
}

#[test]
fn settings_that_were_changed_at_run_time_apply_to_the_next_thread() {
    let caller = Caller::with(&workers(1), "instant", thread_ends_at(&[40]));
    let mut sharing = caller.engine.sharing();
    sharing.prefix_cache.enabled = false;
    caller.engine.configure_sharing(sharing);
    let long = |number: usize| Draft {
        sharing: Sharing::Auto,
        ..draft(&format!("{} {number}", "the same beginning ".repeat(20)), 9)
    };
    (0..8).for_each(|number| drop(caller.ask(long(number))));
    assert_eq!((num_restarts(&caller), caller.engine.stats().prefix.num_hits), (1, 0));
}

#[test]
fn a_stuck_step_is_seen_beside_steps_of_other_workers() {
    let config = workers(2);
    let config = Config { workers: Workers { replace_stuck: false, ..config.workers }, ..config };
    let caller = Caller::with(&config, SLOW, stalls_at(40, Duration::from_secs(4)));
    let readers: Vec<_> = (0..2).map(|number| caller.submit(draft(&format!("long {number}"), 400))).collect();
    let give_up = Instant::now() + Duration::from_secs(30);
    while caller.engine.health().reasons.is_empty() {
        assert!(Instant::now() < give_up, "the stuck step was never seen");
        std::thread::yield_now();
    }
    assert_eq!(caller.engine.health().reasons[0].name(), "stuckStep");
    for reader in readers {
        caller.answer(reader);
    }
}

#[test]
fn a_stuck_thread_stays_if_it_may_not_be_replaced() {
    let config = workers(1);
    let config = Config { workers: Workers { replace_stuck: false, ..config.workers }, ..config };
    let caller = Caller::with(&config, "instant", stalls_at(1, Duration::from_secs(2)));
    let answer = caller.ask(question(0));
    assert_eq!((code(&answer), answer.whole, num_restarts(&caller)), (None, truth(0), 0));
}

#[test]
fn the_engine_ends_while_a_thread_is_stuck_or_was_replaced() {
    for is_replaced in [false, true] {
        let caller = Caller::with(&workers(1), "instant", stalls_at(1, Duration::from_secs(3)));
        let reader = caller.submit(question(0));
        if is_replaced {
            caller.answer(reader);
        }
        wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("ends");
        assert!(is_replaced || code(&caller.answer(reader)).is_some());
        let engine = Arc::clone(&caller.engine);
        engine.stop();
    }
}

#[test]
fn every_request_that_is_in_flight_at_a_shutdown_ends() {
    let caller = Caller::with(&workers(3), "instant", thread_ends_at(&[5, 9]));
    let readers: Vec<_> = (0..30).map(|number| caller.submit(question(number))).collect();
    wait(|reply| caller.engine.shutdown(Duration::from_millis(5), reply)).expect("ends");
    for reader in readers {
        let answer = caller.answer(reader);
        assert!(matches!(code(&answer), None | Some(Code::EngineClosed | Code::BackendError)), "{answer:?}");
    }
    assert!(!caller.engine.sample().workers.iter().any(|worker| worker.is_running));
}
