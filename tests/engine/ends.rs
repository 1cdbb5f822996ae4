use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mlx_serving::engine::{Config, Draft, Engine, UnloadedAnswers};
use mlx_serving::error::Code;
use mlx_serving::executor::LoadControl;
use mlx_serving::executor::sim::Profile;
use mlx_serving::request::FinishReason;

use super::support::{Caller, SLOW, draft, endless, model_folder, simulated, wait, with_rows};

fn one_row() -> Caller {
    Caller::with(&with_rows(1), SLOW, Vec::new())
}

/// Waits until every request has ended, also requests without a reader and requests in the text pool.
fn idle(caller: &Caller) {
    caller.when(|stats| stats.completed + stats.cancelled + stats.failed == stats.requests);
}

#[test]
fn a_cancelled_answer_ends_with_the_text_so_far() {
    let caller = one_row();
    let whole = Caller::new().ask(Draft { max_tokens: Some(1_000), ..endless("Hello") }).whole;
    let reader = caller.stream(endless("Hello"));
    caller.tokens(reader, 3);
    caller.engine.cancel(reader);
    let cut = caller.answer(reader);
    assert_eq!(cut.end.expect("ended").expect("well").finish_reason, FinishReason::Cancelled);
    assert!(whole.starts_with(&cut.whole) && cut.whole.len() < whole.len());
}

#[test]
fn a_request_can_be_cancelled_right_after_submission_and_while_it_waits() {
    let caller = one_row();
    let running = caller.submit(endless("Hello"));
    let num_tokens = || caller.engine.usage(running).map_or(0, |usage| usage.output_tokens);
    caller.when(|_| num_tokens() > 0);
    for _ in 0..20 {
        let reader = caller.submit(draft("Other", 60));
        caller.engine.cancel(reader);
        let summary = caller.answer(reader).end.expect("ended").expect("well");
        assert_eq!((summary.finish_reason, summary.usage.output_tokens), (FinishReason::Cancelled, 0));
    }
    // The running request continues.
    let before = num_tokens();
    caller.when(|_| num_tokens() > before);
}

/// Regression: the text thread held a lock while it waited for room in the channel, so callers waited for the device.
#[test]
fn a_caller_cancels_leaves_and_drains_while_the_engine_thread_takes_no_commands() {
    let config = Config { max_pending: 3, ..Config::default() };
    let gate = Arc::new(Mutex::new(()));
    let (at_gate, arrivals) = channel();
    let behind_gate = Arc::clone(&gate);
    let wake = Box::new(move || {
        at_gate.send(()).ok();
        drop(behind_gate.lock());
    });
    let backend = simulated(Profile::named("instant").expect("a listed profile"), Vec::new());
    let engine = Engine::start(config, backend, wake).expect("the engine starts");
    let model =
        wait(|reply| engine.load(model_folder().into(), LoadControl::default(), reply)).expect("the model loads").key;

    let closed = gate.lock().expect("not poisoned");
    let submit = |draft| engine.submit(model, draft).expect("accepted")[0];
    let first = submit(draft("Hello", 1));
    arrivals.recv().expect("the engine thread waits at the gate");
    // Room for four commands of each pending request, and 64 more.
    (0..4 * 3 + 64).for_each(|_| engine.cancel(first));
    let (cancelled, abandoned) = (submit(endless("Hello")), submit(endless("Hello")));
    let give_up = Instant::now() + Duration::from_mins(1);
    // Both wait in the mailbox of the engine thread.
    while engine.sample().workers[0].load.num_pending < 2 {
        assert!(Instant::now() < give_up, "the text thread sends both requests");
        thread::yield_now();
    }
    let (sender, results) = channel();
    let caller = Arc::clone(&engine);
    let calls = thread::spawn(move || {
        caller.cancel(cancelled);
        caller.release(abandoned);
        let (mut tokens, mut text) = (Vec::new(), String::new());
        sender.send(caller.drain(&mut tokens, &mut text).len()).ok();
    });
    assert_eq!(results.recv_timeout(Duration::from_secs(20)).expect("the calls return"), 1, "the end of the first");

    drop(closed);
    calls.join().expect("no panic");
    let give_up = Instant::now() + Duration::from_mins(1);
    let end = loop {
        let delivered = engine.drain(&mut Vec::new(), &mut String::new());
        if let Some((end, _)) = delivered.into_iter().find_map(|delivered| delivered.delivery.end) {
            break end;
        }
        assert!(Instant::now() < give_up, "the cancelled request ends");
        thread::yield_now();
    };
    assert_eq!(end.expect("well").finish_reason, FinishReason::Cancelled);
    while engine.stats().cancelled < 2 {
        assert!(Instant::now() < give_up, "the abandoned request ends");
        thread::yield_now();
    }
}

#[test]
fn a_reader_that_leaves_at_any_time_releases_everything() {
    let caller = Caller::with(&Config { max_pending: 64, ..Config::default() }, "instant", Vec::new());
    for round in 0..200 {
        let reader = caller.stream(draft("Hello", 4_000));
        if round % 2 == 0 {
            caller.tokens(reader, round % 5);
        }
        caller.engine.release(reader);
    }
    idle(&caller);
    let stats = caller.engine.stats();
    assert_eq!(stats.completed + stats.cancelled + stats.failed, 200);
    assert!(caller.ask(draft("Hello", 5)).end.expect("ended").is_ok(), "all permits came back");
}

#[test]
fn a_deadline_ends_a_running_and_a_queued_request() {
    let caller = one_row();
    let soon = || Some(Instant::now() + Duration::from_millis(150));
    let running = caller.stream(Draft { deadline: soon(), ..draft("Hello", 4_000) });
    let queued = caller.stream(Draft { deadline: soon(), ..draft("Other", 4_000) });
    for reader in [running, queued] {
        assert_eq!(caller.answer(reader).end.expect("ended").expect_err("too late").code(), Code::Timeout);
    }
    idle(&caller);
}

#[test]
fn a_reader_that_never_reads_ends_with_slow_consumer() {
    let mut config = Config { buffer_tokens: 4, ..Config::default() };
    config.scheduler.park_timeout = Duration::from_millis(30);
    let caller = Caller::with(&config, SLOW, Vec::new());
    let reader = caller.stream_from_start(draft("Hello", 60));
    assert_eq!(caller.answer(reader).end.expect("ended").expect_err("too slow").code(), Code::SlowConsumer);
}

#[test]
fn requests_beyond_the_limit_are_refused_with_a_retry_hint() {
    let caller = Caller::with(&Config { max_pending: 2, ..Config::default() }, SLOW, Vec::new());
    let readers: Vec<_> = (0..2).map(|_| caller.submit(endless("Hello"))).collect();
    let refused = caller.engine.submit(caller.model, draft("Hello", 20)).expect_err("full");
    assert_eq!((refused.code(), refused.limit(), refused.requested()), (Code::Overloaded, Some(2.0), Some(3.0)));
    assert!(refused.retry_after().expect("a retry hint") > Duration::ZERO);
    for reader in readers {
        caller.engine.cancel(reader);
        caller.answer(reader);
    }
    assert!(caller.ask(draft("Hello", 5)).end.expect("ended").is_ok());
}

#[test]
fn shutdown_lets_running_answers_end_and_refuses_new_ones() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let readers: Vec<_> = (0..50).map(|id| caller.submit(draft(&format!("question {id}"), 5))).collect();
    wait(|reply| caller.engine.shutdown(Duration::from_mins(1), reply)).expect("shuts down");
    for reader in readers {
        caller.answer(reader).end.expect("ended").expect("well");
    }
    let refused = caller.engine.submit(caller.model, draft("Hello", 5)).expect_err("closed");
    assert_eq!(refused.code(), Code::EngineClosed);
    wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("a second time, too");
}

#[test]
fn shutdown_without_drain_time_ends_every_answer_with_engine_closed() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let readers: Vec<_> = (0..50).map(|id| caller.stream(endless(&format!("question {id}")))).collect();
    caller.tokens(readers[0], 1);
    wait(|reply| caller.engine.shutdown(Duration::ZERO, reply)).expect("shuts down");
    for reader in readers {
        assert_eq!(caller.answer(reader).end.expect("ended").expect_err("cut").code(), Code::EngineClosed);
    }
}

#[test]
fn stopping_joins_the_engine_thread_and_ends_every_answer() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let readers: Vec<_> = (0..5).map(|_| caller.submit(endless("Hello"))).collect();
    caller.engine.stop();
    caller.engine.stop();
    for reader in readers {
        assert_eq!(caller.answer(reader).end.expect("ended").expect_err("cut").code(), Code::EngineClosed);
    }
}

#[test]
fn unloading_a_model_lets_running_answers_end_and_refuses_new_ones() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let running = caller.stream(draft("Hello", 10));
    caller.tokens(running, 1);
    wait(|reply| caller.engine.unload(caller.model, Duration::MAX, UnloadedAnswers::Remove, reply)).expect("unloads");
    assert!(caller.answer(running).end.expect("ended").is_ok());
    let refused = caller.engine.submit(caller.model, draft("Hello", 5)).expect_err("gone");
    assert_eq!(refused.code(), Code::ModelNotLoaded);
}
