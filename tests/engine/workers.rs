//! Several engine threads: requests are spread over them, a thread that ends or hangs is replaced, and nothing is lost
//! or delivered twice.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlx_serving::clock::RealClock;
use mlx_serving::config::{Routing, Workers};
use mlx_serving::engine::{Config, Draft, HealthStatus, Reply, UnloadedAnswers};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::LoadControl;
use mlx_serving::executor::sim::{Fault, FaultKind, Profile, SimLoad};
use mlx_serving::request::{FinishReason, Served, Sharing};

use super::support::{Answer, Caller, GatedClock, SLOW, draft, endless, model_folder, simulated_as, wait, with_rows};

/// The least time after which a step counts as stuck, where a test has a stuck step. The steps of `SLOW` take 10 ms.
const STUCK_AFTER: Duration = Duration::from_millis(200);

/// A step that a busy machine delays does not count as stuck: the default time for that is 10 s.
fn workers(count: usize) -> Config {
    let workers = Workers { count, routing: Routing::LeastBusy, sticky: true, replace_stuck: true };
    Config { workers, ..with_rows(8) }
}

/// Workers that are replaced soon after a step does not end.
fn soon_stuck(count: usize) -> Config {
    Config { stuck_after: STUCK_AFTER, ..workers(count) }
}

/// Workers whose stuck steps are reported, and whose threads are not replaced for that.
fn never_replaced(count: usize) -> Config {
    let config = soon_stuck(count);
    Config { workers: Workers { replace_stuck: false, ..config.workers }, ..config }
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

/// Waits until no request is left, and each request is counted once.
fn check_empty(caller: &Caller) {
    caller.when(|stats| {
        let present = stats.preparing + stats.queued + stats.running + stats.joined;
        let num_ended = stats.completed + stats.cancelled + stats.failed;
        present == 0 && num_ended == stats.requests && caller.num_pending() == 0
    });
}

fn num_restarts(caller: &Caller) -> u64 {
    caller.engine.sample().workers.iter().map(|worker| worker.num_restarts).sum()
}

/// Checks how often threads were replaced. A restart is counted a moment after the new thread has started.
#[track_caller]
fn check_restarts(caller: &Caller, expected: u64) {
    caller.when(|_| num_restarts(caller) >= expected);
    assert_eq!(num_restarts(caller), expected);
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
    let truth: Vec<_> = (0..12).map(truth).collect();
    for count in [1, 3] {
        let caller = Caller::with(&workers(count), "instant", thread_ends_at(&[2]));
        let readers: Vec<_> = (0..12).map(|number| caller.submit(question(number))).collect();
        for (truth, reader) in truth.iter().zip(readers) {
            let answer = caller.answer(reader);
            assert_eq!((code(&answer), &answer.whole), (None, truth), "{count} workers");
        }
        check_restarts(&caller, 1);
        check_empty(&caller);
        assert_eq!(caller.ask(question(3)).whole, truth[3]);
        wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("ends");
    }
}

#[test]
fn an_answer_that_was_delivered_in_part_fails_when_its_thread_ends() {
    // The stream is parked after 4 tokens, so the thread ends in a step of the other request.
    let caller = Caller::with(&Config { buffer_tokens: 4, ..workers(1) }, SLOW, thread_ends_at(&[8]));
    let streams = caller.stream_from_start(draft("one", 40));
    caller.tokens(streams, 2);
    let awaits = caller.submit(draft("two", 12));
    let streamed = caller.answer(streams);
    assert_eq!(code(&streamed), Some(Code::BackendError));
    assert!(!streamed.tokens.is_empty());
    // No token of the other request was delivered, so it ran again, although the device had computed some of them.
    let whole = caller.answer(awaits);
    assert_eq!((code(&whole), whole.whole), (None, Caller::new().ask(draft("two", 12)).whole));
    check_restarts(&caller, 1);
    check_empty(&caller);
}

#[test]
fn a_request_that_is_lost_twice_fails() {
    let caller = Caller::with(&workers(1), "instant", thread_ends_at(&[0, 1]));
    let answer = caller.ask(question(0));
    assert_eq!(code(&answer), Some(Code::BackendError));
    assert_eq!(caller.ask(question(0)).whole, truth(0));
    check_restarts(&caller, 2);
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
        assert!(Instant::now() < give_up, "the worker is given up");
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
    check_restarts(&caller, 1);
    check_empty(&caller);
}

#[test]
fn requests_that_were_cancelled_or_left_do_not_run_again() {
    // There is one row, so the other requests still wait for it when the thread ends.
    let config = Config { workers: workers(1).workers, ..with_rows(1) };
    let clock = Arc::<GatedClock>::default();
    let caller = Caller::gated(&config, &clock, thread_ends_at(&[4]));
    let closed = clock.close();
    let [first, cancelled, left, last] = [0, 1, 2, 3].map(|number| caller.submit(question(number)));
    caller.when(|_| caller.num_pending() == 4);
    caller.engine.cancel(cancelled);
    caller.engine.release(left);
    // Only now the first step ends.
    drop(closed);
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
    let truth: Vec<_> = (0..8).map(truth).collect();
    let clock = Arc::<GatedClock>::default();
    // A busy machine does not delay steps for this long, so only one thread is replaced.
    let config = Config { stuck_after: Duration::from_secs(1), ..workers(2) };
    let caller = Caller::gated(&config, &clock, Vec::new());
    // The first steps are measured, so that the limit is known.
    (0..2).for_each(|number| drop(caller.ask(question(number))));
    let closed = clock.close();
    let readers: Vec<_> = (0..8).map(|number| caller.submit(question(number))).collect();
    // No request waits for the stuck step, which has not ended.
    for (truth, reader) in truth.iter().zip(readers) {
        let answer = caller.answer(reader);
        assert_eq!((code(&answer), &answer.whole), (None, truth));
    }
    check_restarts(&caller, 1);
    check_empty(&caller);
    // The deposed thread ends once its step has ended, and touches nothing.
    drop(closed);
    assert_eq!(caller.ask(question(5)).whole, truth[5]);
    // This waits for the deposed thread.
    caller.engine.stop();
    check_restarts(&caller, 1);
    check_empty(&caller);
}

/// Unloads the model or shuts the engine down, with a minute for requests.
fn end(caller: &Caller, is_unload: bool, reply: Reply<()>) {
    let drain = Duration::from_mins(1);
    if is_unload {
        caller.engine.unload(caller.model, drain, UnloadedAnswers::Keep, reply);
    } else {
        caller.engine.shutdown(drain, reply);
    }
}

#[test]
fn an_unload_and_a_shutdown_end_while_the_thread_that_took_them_is_stuck() {
    let stall = Duration::from_secs(20);
    for is_unload in [true, false] {
        // The stream is parked until it gets credit, so no step is stuck before a part of the answer was delivered.
        let caller = Caller::with(&Config { buffer_tokens: 4, ..soon_stuck(1) }, SLOW, stalls_at(15, stall));
        let reader = caller.stream_from_start(draft("one", 40));
        caller.tokens(reader, 2);
        let began = Instant::now();
        let ended = wait(|reply| {
            end(&caller, is_unload, reply);
            caller.engine.credit(reader, 1_000);
        });
        ended.expect("ends");
        assert!(began.elapsed() < stall / 2, "unload: {is_unload}");
        assert!(code(&caller.answer(reader)).is_some());
    }
}

/// The answer ends while another step is in flight, and that step hangs: no request is left that would be missed.
#[test]
fn an_unload_and_a_shutdown_end_although_the_step_behind_the_last_answer_hangs() {
    let stall = Duration::from_secs(30);
    let short = || draft("a question that is answered before its limit", 400);
    let reference = Caller::with(&soon_stuck(1), SLOW, Vec::new());
    let answer = reference.ask(short());
    assert!(answer.tokens.len() < 400, "it ends by an end token");
    wait(|reply| end(&reference, true, reply)).expect("ends");
    let last = reference.engine.stats().steps - 1;
    for is_unload in [true, false] {
        let caller = Caller::with(&soon_stuck(1), SLOW, stalls_at(last, stall));
        assert_eq!(caller.ask(short()).whole, answer.whole);
        let began = Instant::now();
        wait(|reply| end(&caller, is_unload, reply)).expect("ends");
        assert!(began.elapsed() < stall / 2, "unload: {is_unload}");
        check_restarts(&caller, u64::from(is_unload));
    }
}

#[test]
fn a_load_that_has_begun_ends_with_an_error_if_its_thread_is_stuck_in_a_step_of_another_model() {
    // The load takes 0.5 s, and beside a stream longer than the 15 steps before the stall.
    let load = SimLoad { num_parts: 500, part: Duration::from_millis(1), fails_at: None };
    let profile = Profile::named(SLOW).expect("a listed profile");
    let faults = stalls_at(15, Duration::from_secs(30));
    let backend =
        simulated_as(Arc::new(RealClock), profile, move |backend| backend.with_faults(faults).with_load(load));
    let caller = Caller::open(&soon_stuck(1), backend, model_folder());
    let (sender, loaded) = channel();
    let reply = Reply::new(move |result: Result<_, Error>| drop(sender.send(result.map_err(|error| error.code()))));
    caller.engine.load(model_folder().into(), LoadControl::default(), reply);
    let reader = caller.submit(endless("one"));
    let began = Instant::now();
    assert_eq!(loaded.recv().expect("a reply").map(|_| ()), Err(Code::BackendError));
    assert!(began.elapsed() < Duration::from_secs(20));
    caller.engine.cancel(reader);
    caller.answer(reader);
    wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("ends");
    assert!(began.elapsed() < Duration::from_secs(25), "it does not wait for the stuck thread");
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
    check_restarts(&caller, 1);
    assert_eq!(caller.engine.stats().prefix.num_hits, 0);
}

#[test]
fn health_reports_a_stuck_step_beside_steps_of_other_workers() {
    let caller = Caller::with(&never_replaced(2), SLOW, stalls_at(40, Duration::from_secs(4)));
    let readers: Vec<_> = (0..2).map(|number| caller.submit(endless(&format!("long {number}")))).collect();
    let give_up = Instant::now() + Duration::from_secs(30);
    let reason = loop {
        if let Some(reason) = caller.engine.health().reasons.into_iter().next() {
            break reason;
        }
        assert!(Instant::now() < give_up, "the stuck step is reported");
        std::thread::yield_now();
    };
    assert_eq!(reason.name(), "stuckStep");
    for reader in readers {
        caller.engine.cancel(reader);
        caller.answer(reader);
    }
}

#[test]
fn a_stuck_thread_stays_if_it_may_not_be_replaced() {
    let caller = Caller::with(&never_replaced(1), "instant", stalls_at(1, Duration::from_secs(2)));
    let answer = caller.ask(question(0));
    assert_eq!((code(&answer), answer.whole, num_restarts(&caller)), (None, truth(0), 0));
}

#[test]
fn the_engine_ends_while_a_thread_is_stuck_or_was_replaced() {
    for is_replaced in [false, true] {
        let caller = Caller::with(&soon_stuck(1), "instant", stalls_at(1, Duration::from_secs(3)));
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
