//! The text pool. Jobs wait for channels, not for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::text::{Load, MAX_STUCK_JOBS, PoolLimits, Refused, TextPool};

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(20);

/// Limits with which jobs run in order until they are over budget.
pub(super) fn pool(queue: usize, budget: Duration) -> TextPool {
    TextPool::start("text-test", PoolLimits { queue, patience: budget, budget }).unwrap()
}

/// Limits with which jobs detach after a short time.
fn hasty(queue: usize) -> TextPool {
    TextPool::start("text-test", PoolLimits { queue, patience: SHORT, budget: LONG }).unwrap()
}

/// The load of a tenant's template or grammar.
fn program(tenant: &str) -> Load {
    Load { tenant: Some(tenant.into()), is_program: true, late: Code::GuidanceError, ..Load::default() }
}

fn of(tenant: &str) -> Load {
    Load::text(Some(tenant.into()), 0)
}

fn long() -> Load {
    Load::text(None, 1 << 20)
}

/// A job that runs until its gate is dropped, and its outcome.
struct Gated {
    gate: Option<Sender<()>>,
    begun: Receiver<()>,
    outcome: Receiver<Result<u32>>,
}

impl Gated {
    fn start(pool: &TextPool) -> Self {
        Self::with(pool, Load::default())
    }

    fn with(pool: &TextPool, load: Load) -> Self {
        let (gate, closed) = channel::<()>();
        let (signal, begun) = channel();
        let (sender, outcome) = channel();
        let job = move || {
            signal.send(()).unwrap();
            assert!(closed.recv().is_err(), "dropping the gate opens it");
            Ok(1)
        };
        pool.run(load, job, move |result| sender.send(result).unwrap()).unwrap();
        Self { gate: Some(gate), begun, outcome }
    }

    fn running(pool: &TextPool) -> Self {
        let job = Self::start(pool);
        job.begun.recv().unwrap();
        job
    }

    fn open(&mut self) {
        self.gate = None;
    }
}

fn outcome(pool: &TextPool, job: impl FnOnce() -> Result<u32> + Send + 'static) -> Result<u32> {
    let (sender, receiver) = channel();
    pool.run(Load::default(), job, move |result| sender.send(result).unwrap()).map_err(|refused| refused.error)?;
    receiver.recv_timeout(LONG).unwrap()
}

/// Accepts a job that sends `number` when it is done.
fn enqueue(pool: &TextPool, load: Load, number: i32, sender: &Sender<i32>) {
    let sender = sender.clone();
    pool.run(load, move || Ok(number), move |result| sender.send(result.unwrap()).unwrap()).unwrap();
}

/// Accepts a barrier that sends `number` when it is reached.
fn enqueue_barrier(pool: &TextPool, number: i32, sender: &Sender<i32>) {
    let sender = sender.clone();
    pool.run_after_accepted(move || sender.send(number).unwrap());
}

#[test]
fn job_runs_on_another_thread_and_returns_its_result() {
    let pool = pool(4, LONG);
    let (sender, receiver) = channel();
    let job = || Ok(std::thread::current().name().map(str::to_owned));
    pool.run(Load::default(), job, move |name| sender.send(name).unwrap()).unwrap();
    assert_eq!(receiver.recv().unwrap().unwrap().as_deref(), Some("text-test"));
    let failed = outcome(&pool, || Err(Error::new(Code::InvalidParams, "the error of the job")));
    assert_eq!(failed.unwrap_err().code(), Code::InvalidParams);
}

#[test]
fn jobs_run_one_at_a_time_in_order_of_arrival() {
    let pool = pool(100, LONG);
    let mut first = Gated::running(&pool);
    let (sender, receiver) = channel();
    (0..100).for_each(|number| enqueue(&pool, Load::default(), number, &sender));
    first.open();
    assert_eq!(receiver.iter().take(100).collect::<Vec<i32>>(), (0..100).collect::<Vec<_>>());
}

#[test]
fn panic_in_a_job_fails_only_that_job() {
    let pool = pool(4, LONG);
    let error = outcome(&pool, || panic!("out of {}", "order")).unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("out of order"), "{error}");
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
}

#[test]
fn panic_in_done_does_not_end_the_thread() {
    let pool = pool(4, LONG);
    pool.run(Load::default(), || Ok(()), |_| panic!("the caller's own")).unwrap();
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
}

#[test]
fn full_queue_refuses_jobs_and_names_its_size() {
    let pool = pool(2, LONG);
    let mut running = Gated::running(&pool);
    let waiting = [Gated::start(&pool), Gated::start(&pool)];
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let Refused { error, done } =
        pool.run(Load::default(), || Ok(()), move |_| counted.store(1, Ordering::SeqCst)).unwrap_err();
    assert_eq!((error.code(), error.limit(), error.requested()), (Code::Overloaded, Some(2.0), Some(3.0)));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "what was not accepted is not answered");
    done(Err(error));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "but by its caller");
    running.open();
    for mut job in waiting {
        job.begun.recv().unwrap();
        assert!(pool.run(Load::default(), || Ok(()), |_| ()).is_ok(), "there is room again");
        job.open();
    }
}

#[test]
fn barrier_is_accepted_by_a_full_queue_and_overtakes_no_job() {
    let pool = pool(2, LONG);
    let mut running = Gated::running(&pool);
    let (sender, receiver) = channel();
    (0..2).for_each(|number| enqueue(&pool, Load::default(), number, &sender));
    (2..4).for_each(|number| enqueue_barrier(&pool, number, &sender));
    running.open();
    assert_eq!(receiver.iter().take(4).collect::<Vec<i32>>(), [0, 1, 2, 3]);
}

#[test]
fn job_over_budget_fails_and_later_jobs_run() {
    let pool = pool(4, SHORT);
    let mut stuck = Gated::running(&pool);
    let error = stuck.outcome.recv().unwrap().unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("20 ms"), "{error}");
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7, "another thread took over");
    stuck.open();
    assert!(stuck.outcome.recv().is_err(), "its late result is discarded");
}

#[test]
fn jobs_behind_a_stuck_job_run() {
    let pool = pool(4, SHORT);
    let stuck = Gated::start(&pool);
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    assert_eq!(stuck.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
}

#[test]
fn too_many_stuck_jobs_refuse_new_jobs_until_one_ends() {
    let pool = pool(8, SHORT);
    let mut stuck: Vec<_> = (0..MAX_STUCK_JOBS).map(|_| Gated::start(&pool)).collect();
    let queued = Gated::start(&pool);
    for job in &stuck {
        assert_eq!(job.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    }
    assert_eq!(queued.outcome.recv().unwrap().unwrap_err().code(), Code::Overloaded);
    let error = pool.run(Load::default(), || Ok(()), |_| ()).unwrap_err().error;
    assert_eq!((error.code(), error.retry_after()), (Code::Overloaded, Some(SHORT)));
    assert!(error.message().contains("busy") && error.message().contains("not at fault"), "{error}");
    let (sender, receiver) = channel();
    pool.run_after_accepted(move || sender.send(()).unwrap());
    receiver.try_recv().expect("no accepted job is left");
    stuck[0].open();
    eventually(|| pool.run(Load::default(), || Ok(()), |_| ()).is_ok());
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
}

#[test]
fn stuck_heavy_jobs_refuse_only_heavy_jobs() {
    let pool = pool(8, SHORT);
    let mut stuck: Vec<_> = (0..MAX_STUCK_JOBS).map(|_| Gated::with(&pool, program("a"))).collect();
    for job in &stuck {
        assert_eq!(
            job.outcome.recv().unwrap().unwrap_err().code(),
            Code::GuidanceError,
            "the code that the load names"
        );
    }
    let refused = pool.run(program("b"), || Ok(()), |_| ()).unwrap_err();
    assert_eq!(refused.error.code(), Code::Overloaded);
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    stuck[0].open();
    eventually(|| pool.run(program("b"), || Ok(()), |_| ()).is_ok());
}

/// Regression: five long prompts kept all other requests waiting until the last of them was tokenized.
#[test]
fn long_text_delays_no_other_job() {
    let pool = pool(8, LONG);
    let mut texts = [Gated::with(&pool, long()), Gated::with(&pool, long()), Gated::with(&pool, long())];
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    texts.iter().take(2).for_each(|text| text.begun.recv().unwrap());
    assert!(texts[2].begun.try_recv().is_err(), "a tenant runs at most two at a time");
    texts[0].open();
    texts[2].begun.recv().unwrap();
    for mut text in texts {
        text.open();
        assert_eq!(text.outcome.recv().unwrap().unwrap(), 1);
    }
}

#[test]
fn long_text_has_a_larger_budget() {
    let pool = pool(8, SHORT);
    let mut text = Gated::with(&pool, long());
    let other = Gated::start(&pool);
    assert_eq!(other.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    text.open();
    assert_eq!(text.outcome.recv().unwrap().unwrap(), 1);
}

#[test]
fn slow_job_is_overtaken_and_still_completes() {
    let pool = hasty(8);
    let mut slow = [Gated::running(&pool), Gated::start(&pool)];
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    for job in &mut slow {
        job.open();
        assert_eq!(job.outcome.recv().unwrap().unwrap(), 1);
    }
    assert_eq!(outcome(&pool, || Ok(8)).unwrap(), 8);
}

#[test]
fn slow_heavy_jobs_of_one_tenant_leave_a_place_for_others() {
    let pool = hasty(8);
    let mut of_a: Vec<_> = (0..3).map(|_| Gated::with(&pool, program("a"))).collect();
    let mut of_b = [Gated::with(&pool, program("b")), Gated::with(&pool, program("b"))];
    of_b[0].begun.recv().unwrap();
    of_a.iter().take(2).for_each(|job| job.begun.recv().unwrap());
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7, "light jobs overtake those that wait for a place");
    assert!(of_a[2].begun.try_recv().is_err() && of_b[1].begun.try_recv().is_err(), "all places are taken");
    of_a[0].open();
    // One place is free for the next tenant.
    eventually(|| of_a[2].begun.try_recv().is_ok() || of_b[1].begun.try_recv().is_ok());
    of_b.iter_mut().chain(&mut of_a).for_each(Gated::open);
    for job in of_a.iter().chain(&of_b) {
        assert_eq!(job.outcome.recv_timeout(LONG).unwrap().unwrap(), 1);
    }
}

#[test]
fn tenants_take_turns() {
    let pool = pool(100, LONG);
    let mut first = Gated::running(&pool);
    let (sender, receiver) = channel();
    for (tenant, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)] {
        enqueue(&pool, of(tenant), number, &sender);
    }
    first.open();
    assert_eq!(receiver.iter().take(6).collect::<Vec<i32>>(), [1, 4, 6, 2, 5, 3]);
}

#[test]
fn barrier_waits_for_overtaken_jobs() {
    let pool = hasty(8);
    let mut slow = Gated::running(&pool);
    let (sender, receiver) = channel();
    (1..3).for_each(|number| enqueue_barrier(&pool, number, &sender));
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7, "later jobs do not wait for barriers");
    assert!(receiver.try_recv().is_err(), "an earlier job runs");
    let later = Gated::running(&pool);
    slow.open();
    assert_eq!(receiver.iter().take(2).collect::<Vec<i32>>(), [1, 2], "barriers do not wait for later jobs");
    drop(later);
}

#[test]
fn texts_beyond_the_memory_limit_are_refused_unless_alone() {
    let pool = pool(8, LONG);
    let mut huge = Gated::with(&pool, Load::text(None, 300 << 20));
    huge.begun.recv().unwrap();
    let error = pool.run(Load::text(None, 1 << 20), || Ok(()), |_| ()).unwrap_err().error;
    assert_eq!((error.code(), error.limit()), (Code::Overloaded, Some(f64::from(256 << 20))));
    huge.open();
    assert_eq!(huge.outcome.recv().unwrap().unwrap(), 1);
    eventually(|| pool.run(Load::text(None, 1 << 20), || Ok(()), |_| ()).is_ok());
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn many_short_jobs_do_not_count_as_one_long_job() {
    let pool = pool(1, SHORT);
    let end = Instant::now() + SHORT * 5;
    while Instant::now() < end {
        assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    }
}

#[test]
fn drop_fails_waiting_jobs_and_waits_for_running_ones() {
    let pool = pool(4, LONG);
    let mut running = Gated::running(&pool);
    let queued = [Gated::start(&pool), Gated::start(&pool)];
    let dropper = std::thread::spawn(move || drop(pool));
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
    let pool = pool(4, SHORT);
    let stuck = Gated::running(&pool);
    let stuck_too = Gated::start(&pool);
    assert_eq!(stuck.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
    stuck_too.begun.recv().unwrap();
    drop(pool);
    assert_eq!(stuck_too.outcome.recv().unwrap().unwrap_err().code(), Code::TokenizerError);
}

#[test]
fn drop_from_within_a_job_does_not_wait_for_itself() {
    let pool = Arc::new(pool(4, LONG));
    let (give, given) = channel::<Arc<TextPool>>();
    let (sender, receiver) = channel();
    let job = move || {
        drop(given.recv());
        Ok(())
    };
    pool.run(Load::default(), job, move |_| sender.send(()).unwrap()).unwrap();
    give.send(pool).unwrap();
    receiver.recv_timeout(LONG).unwrap();
}

#[test]
fn drop_from_within_a_detached_job_does_not_wait_for_itself() {
    let pool = Arc::new(pool(4, LONG));
    let (give, given) = channel::<Arc<TextPool>>();
    let (sender, receiver) = channel();
    let job = move || {
        drop(given.recv());
        Ok(())
    };
    pool.run(long(), job, move |_| sender.send(()).unwrap()).unwrap();
    assert_eq!(outcome(&pool, || Ok(7)).unwrap(), 7);
    give.send(pool).unwrap();
    receiver.recv_timeout(LONG).unwrap();
}
