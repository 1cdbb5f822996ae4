//! In steady state the scheduler decides without allocating: a decode step reuses buffers. A separate test program,
//! because it replaces the allocator of its process.

#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use mlx_serving::request::{Request, SequenceId};
use mlx_serving::scheduler::plan::{Plan, StepOutput};
use mlx_serving::scheduler::{BatchLimitConfig, Config, Decision, Scheduler, Status};

struct Counting;

thread_local! {
    /// Allocations of this thread. The main thread of the test program may allocate at any time.
    static NUM_ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NUM_ALLOCATIONS.set(NUM_ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn request() -> Request {
    Request {
        deadline: Some(Instant::now() + Duration::from_hours(1)),
        tenant: Some("a tenant".into()),
        ..Request::of(vec![1; 100], 2_000)
    }
}

#[test]
fn a_decode_step_allocates_nothing() {
    let batch_limit = BatchLimitConfig { start: 32, ..BatchLimitConfig::default() };
    let mut scheduler = Scheduler::new(Config { batch_limit, ..Config::default() });
    let now = Instant::now();
    (0..200).for_each(|id| scheduler.add(SequenceId(id), request(), now));
    let (mut plan, mut output) = (Plan::default(), StepOutput::default());
    let (mut sampled, mut expired, mut status) = (Vec::new(), Vec::new(), Status::default());
    let mut step = |num_steps: usize| {
        let before = NUM_ALLOCATIONS.get();
        for _ in 0..num_steps {
            scheduler.expire(now, &mut expired);
            assert_eq!(scheduler.next(now, 0, &mut plan), Decision::Run);
            output.step = plan.step;
            output.tokens.clear();
            output.tokens.extend(plan.rows.iter().filter(|row| row.sample).map(|row| (row.sequence, 7)));
            sampled.clear();
            scheduler.commit(&output, Some(Duration::from_millis(5)), &mut sampled);
            scheduler.admissions().for_each(drop);
            scheduler.write_status(&mut status);
        }
        NUM_ALLOCATIONS.get() - before
    };
    assert!(step(200) > 0, "the allocator counts");
    assert_eq!(step(1_000), 0);
    assert_eq!((sampled.len(), status.load.num_running, status.load.num_queued), (32, 32, 168));
}
