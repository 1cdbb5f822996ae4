//! The text thread, with jobs that wait for a channel instead of for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::text::{MAX_STUCK_JOBS, Refused, TextThread};

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(20);

fn thread(queue: usize, budget: Duration) -> TextThread {
    TextThread::start("text-test", queue, budget).unwrap()
}

/// A job that runs until its gate is dropped, and the outcome its caller is told.
struct Gated {
    gate: Option<Sender<()>>,
    begun: Receiver<()>,
    outcome: Receiver<Result<u32>>,
}

impl Gated {
    fn start(thread: &TextThread) -> Self {
        let (gate, closed) = channel::<()>();
        let (signal, begun) = channel();
        let (tell, outcome) = channel();
        let job = move || {
            signal.send(()).unwrap();
            assert!(closed.recv().is_err(), "a gate opens by being dropped");
            Ok(1)
        };
        thread.run(job, move |result| tell.send(result).unwrap()).unwrap();
        Self { gate: Some(gate), begun, outcome }
    }

    fn running(thread: &TextThread) -> Self {
        let job = Self::start(thread);
        job.begun.recv().unwrap();
        job
    }

    fn open(&mut self) {
        self.gate = None;
    }
}

fn outcome(thread: &TextThread, job: impl FnOnce() -> Result<u32> + Send + 'static) -> Result<u32> {
    let (tell, told) = channel();
    thread.run(job, move |result| tell.send(result).unwrap()).map_err(|refused| refused.error)?;
    told.recv_timeout(LONG).unwrap()
}

#[test]
fn job_runs_elsewhere_and_its_result_is_told() {
    let thread = thread(4, LONG);
    let (tell, told) = channel();
    let job = || Ok(std::thread::current().name().map(str::to_owned));
    thread.run(job, move |name| tell.send(name).unwrap()).unwrap();
    assert_eq!(told.recv().unwrap().unwrap().as_deref(), Some("text-test"));
    let failed = outcome(&thread, || Err(Error::new(Code::InvalidParams, "told as it is")));
    assert_eq!(failed.unwrap_err().code(), Code::InvalidParams);
}

#[test]
fn jobs_run_one_at_a_time_in_the_order_they_came() {
    let thread = thread(100, LONG);
    let mut first = Gated::running(&thread);
    let (tell, told) = channel();
    for number in 0..100 {
        let tell = tell.clone();
        thread.run(move || Ok(number), move |result| tell.send(result.unwrap()).unwrap()).unwrap();
    }
    first.open();
    assert_eq!(told.iter().take(100).collect::<Vec<i32>>(), (0..100).collect::<Vec<_>>());
}

#[test]
fn panic_in_a_job_is_an_error_of_that_job_alone() {
    let thread = thread(4, LONG);
    let error = outcome(&thread, || panic!("out of {}", "order")).unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("out of order"), "{error}");
    assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7);
}

#[test]
fn panic_in_done_does_not_end_the_thread() {
    let thread = thread(4, LONG);
    thread.run(|| Ok(()), |_| panic!("the caller's own")).unwrap();
    assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7);
}

#[test]
fn full_queue_refuses_and_says_its_size() {
    let thread = thread(2, LONG);
    let mut running = Gated::running(&thread);
    let waiting = [Gated::start(&thread), Gated::start(&thread)];
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let Refused { error, done } = thread.run(|| Ok(()), move |_| counted.store(1, Ordering::SeqCst)).unwrap_err();
    assert_eq!((error.code(), error.limit(), error.requested()), (Code::Overloaded, Some(2.0), Some(3.0)));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "what was not accepted is not answered");
    done(Err(error));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "but by its caller");
    running.open();
    for mut job in waiting {
        job.begun.recv().unwrap();
        assert!(thread.run(|| Ok(()), |_| ()).is_ok(), "there is room again");
        job.open();
    }
}

#[test]
fn whoever_goes_behind_all_has_room_in_a_full_queue_and_overtakes_nobody() {
    let thread = thread(2, LONG);
    let mut running = Gated::running(&thread);
    let (tell, told) = channel();
    for number in 0..2 {
        let tell = tell.clone();
        thread.run(move || Ok(number), move |result| tell.send(result.unwrap()).unwrap()).unwrap();
    }
    for number in 2..4 {
        let tell = tell.clone();
        thread.run_behind(move || tell.send(number).unwrap());
    }
    running.open();
    assert_eq!(told.iter().take(4).collect::<Vec<i32>>(), [0, 1, 2, 3]);
}

#[test]
fn job_over_budget_is_answered_and_later_ones_go_on() {
    let thread = thread(4, SHORT);
    let mut stuck = Gated::running(&thread);
    let error = stuck.outcome.recv().unwrap().unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("20 ms"), "{error}");
    assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7, "another thread took over");
    stuck.open();
    assert!(stuck.outcome.recv().is_err(), "and its late result is told to nobody");
}

#[test]
fn jobs_queued_behind_a_stuck_one_are_done() {
    let thread = thread(4, SHORT);
    let stuck = Gated::start(&thread);
    assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7);
    assert_eq!(stuck.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
}

#[test]
fn too_many_stuck_jobs_close_the_door_until_one_ends() {
    let thread = thread(8, SHORT);
    let mut stuck: Vec<_> = (0..MAX_STUCK_JOBS).map(|_| Gated::start(&thread)).collect();
    let queued = Gated::start(&thread);
    for job in &stuck {
        assert_eq!(job.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    }
    assert_eq!(queued.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    let refused = thread.run(|| Ok(()), |_| ()).unwrap_err();
    assert_eq!(refused.error.code(), Code::TokenizerError);
    let (tell, told) = channel();
    thread.run_behind(move || tell.send(()).unwrap());
    told.try_recv().expect("there is nobody to go behind");
    stuck[0].open();
    let deadline = Instant::now() + LONG;
    while thread.run(|| Ok(()), |_| ()).is_err() {
        assert!(Instant::now() < deadline, "a job that ended made no room");
        std::thread::yield_now();
    }
    assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7);
}

#[test]
fn short_jobs_are_not_mistaken_for_one_long_one() {
    let thread = thread(1, SHORT);
    let end = Instant::now() + SHORT * 5;
    while Instant::now() < end {
        assert_eq!(outcome(&thread, || Ok(7)).unwrap(), 7);
    }
}

#[test]
fn drop_answers_the_queue_and_waits_for_what_runs() {
    let thread = thread(4, LONG);
    let mut running = Gated::running(&thread);
    let queued = [Gated::start(&thread), Gated::start(&thread)];
    let dropper = std::thread::spawn(move || drop(thread));
    for job in queued {
        assert_eq!(job.outcome.recv().unwrap().unwrap_err().code(), Code::EngineClosed);
    }
    assert!(!dropper.is_finished(), "a job is running");
    running.open();
    assert_eq!(running.outcome.recv().unwrap().unwrap(), 1);
    dropper.join().unwrap();
}

#[test]
fn drop_does_not_wait_for_a_stuck_job() {
    let thread = thread(4, SHORT);
    let stuck = Gated::running(&thread);
    let stuck_too = Gated::start(&thread);
    assert_eq!(stuck.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    stuck_too.begun.recv().unwrap();
    drop(thread);
    assert_eq!(stuck_too.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
}

#[test]
fn drop_from_within_a_job_does_not_wait_for_itself() {
    let thread = Arc::new(thread(4, LONG));
    let (give, given) = channel::<Arc<TextThread>>();
    let (tell, told) = channel();
    let job = move || {
        drop(given.recv());
        Ok(())
    };
    thread.run(job, move |_| tell.send(()).unwrap()).unwrap();
    give.send(thread).unwrap();
    told.recv_timeout(LONG).unwrap();
}
