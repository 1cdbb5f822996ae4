//! The longest wait: it is limited in an overload and not in a burst, and soon after an overload a request starts at once.

use std::time::Duration;

use proptest::prelude::*;

use crate::engine::ids::WorkerId;
use crate::engine::ids::{ModelKey, Replica};
use crate::engine::pending::Caller;
use crate::engine::slots::{Places, Refused, Slots};
use crate::engine::snapshot::Refusal;
use crate::request::Priority;

use super::callers::{Device, World, at};

/// Queue lengths of the engine.
const LIMITS: [usize; 4] = [32, 64, 256, 1_024];
/// Milliseconds of overload.
const OVERLOAD: u64 = 15_000;

/// The simulated 3B model with answers of 50 tokens.
fn device(limit: usize) -> Device {
    Device { rows: 32, stay: 1_630, limit }
}

/// Answers that the device completes in `ms` milliseconds.
fn capacity(device: Device, ms: u64) -> f64 {
    (device.rows as u64 * ms) as f64 / device.stay as f64
}

/// An engine whose 32 rows are taken, and answers of one second.
fn busy(max_wait: Option<Duration>) -> Slots {
    let mut slots = Slots::new(1_024, max_wait);
    slots.turnover.set_rows(32);
    slots.turnover.stayed(Duration::from_secs(1), 100);
    (0..32).for_each(|_| slots.enter(at(0), &Caller::default(), 1).expect("there are places"));
    slots
}

fn enter(slots: &mut Slots, caller: &Caller) -> Result<(), Refused> {
    slots.enter(at(0), caller, 1)
}

fn of(tenant: &str) -> Caller {
    Caller { tenant: Some(tenant.into()), ..Caller::default() }
}

#[test]
fn five_seconds_after_an_overload_a_new_request_starts_without_a_wait_for_any_queue_length() {
    for times in [4, 10, 30] {
        for limit in LIMITS {
            let mut world = World::new(device(limit));
            world.comes_back = false;
            world.offer(times, OVERLOAD);
            let served = f64::from(world.num_served()) / capacity(device(limit), OVERLOAD);
            assert!(served >= 0.9, "{times} times the capacity, {limit} places: served {served:.2} of it");
            if times <= 10 {
                let recovery = world.recovery();
                assert!(recovery <= 5_000, "{times} times the capacity, {limit} places: {recovery} ms");
            }
        }
    }
}

#[test]
fn with_a_limit_on_the_wait_requests_start_soon_in_an_overload_as_well() {
    for limit in LIMITS {
        let mut world = World::with_max_wait(device(limit), Some(Duration::from_secs(1)));
        world.comes_back = false;
        world.offer(10, OVERLOAD);
        let is_good = |caller: &&super::callers::CallerStats| caller.served > 0 && caller.waited <= 1_900;
        let num_good = world.callers.iter().filter(is_good).count() as f64;
        // The answers of the last batch have not ended, so the time of that batch does not count.
        let good = num_good / capacity(device(limit), OVERLOAD - device(limit).stay);
        assert!(good >= 0.9, "{limit} places: {good:.2}");
        assert!(world.num_pending() <= 64, "{limit} places: {}", world.num_pending());
    }
}

#[test]
fn a_burst_on_an_idle_engine_is_accepted_whole() {
    let mut world = World::new(device(1_024));
    world.ask(0, 1_000);
    world.run(u64::MAX);
    assert!(world.callers.iter().all(|caller| caller.refused == 0 && caller.served == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn callers_that_submit_again_when_they_are_answered_do_not_count_as_an_overload(
        rows in 1..40usize,
        stay in 20..4_000u64,
        times in 1..30usize,
        come_within in 0..1_000u64,
    ) {
        let num_users = rows * times;
        let mut world = World::new(Device { rows, stay, limit: num_users });
        world.asks_again = true;
        (0..num_users as u64).for_each(|user| world.ask(come_within * user / num_users as u64, 1));
        world.run(3 * stay * times as u64 + 20_000);
        prop_assert!(world.callers.iter().all(|caller| caller.refused == 0));
    }

    #[test]
    fn callers_refused_for_a_long_wait_are_accepted_when_they_come_back(
        rows in 1..40usize,
        stay in 100..2_000u64,
        times in 2..6usize,
    ) {
        let device = Device { rows, stay, limit: 100_000 };
        let mut world = World::with_max_wait(device, Some(Duration::from_millis(stay)));
        world.ask(0, rows);
        world.run(u64::MAX);
        let from = world.callers.len();
        world.ask(world.now, rows * times * 2);
        world.run(u64::MAX);
        let share = world.first_retry(from);
        prop_assert!(share >= 0.8, "{share}");
        prop_assert!(world.callers.iter().all(|caller| caller.served == 1));
    }
}

#[test]
fn a_request_that_would_wait_too_long_is_refused_until_the_wait_is_short_enough() {
    let mut slots = busy(Some(Duration::from_millis(500)));
    // A place becomes free every 31 ms.
    let num_accepted = (0..100).take_while(|_| enter(&mut slots, &Caller::default()).is_ok()).count();
    assert_eq!(num_accepted, 16);
    let refused = enter(&mut slots, &Caller::default()).expect_err("the wait is too long");
    assert_eq!((refused.why, refused.max_wait), (Refusal::Wait, Some(Duration::from_millis(500))));
    assert!(refused.wait > Duration::from_millis(500) && refused.wait < Duration::from_millis(600));
    assert!(refused.retry_after + Duration::from_millis(500) >= refused.wait);
}

#[test]
fn an_urgent_request_waits_for_urgent_ones_only() {
    let mut slots = busy(Some(Duration::from_millis(500)));
    while enter(&mut slots, &Caller::default()).is_ok() {}
    let urgent = Caller { priority: Priority::Urgent, ..Caller::default() };
    let background = Caller { priority: Priority::Background, ..Caller::default() };
    enter(&mut slots, &background).expect_err("all other requests run before it");
    // 48 urgent requests are accepted: as many as there are rows, and the 16 that may wait.
    assert!((0..40).all(|_| enter(&mut slots, &urgent).is_ok()));
    assert!((0..40).any(|_| enter(&mut slots, &urgent).is_err()), "urgent requests wait as well");
}

#[test]
fn a_tenant_with_few_requests_does_not_wait_for_all_requests_of_another() {
    let mut slots = busy(Some(Duration::from_millis(500)));
    while enter(&mut slots, &of("large")).is_ok() {}
    assert!((0..10).all(|_| enter(&mut slots, &of("small")).is_ok()));
    enter(&mut slots, &of("large")).expect_err("its own requests run before it");
}

#[test]
fn a_request_that_cannot_be_answered_before_its_deadline_is_refused_where_waits_are_limited() {
    let by = |ms| Caller { deadline: Some(at(ms)), ..Caller::default() };
    let mut slots = busy(Some(Duration::from_secs(10)));
    enter(&mut slots, &by(1_200)).expect_err("a place is free after 31 ms, an answer takes up to 1.25 s");
    enter(&mut slots, &by(2_000)).expect("there is time for an answer");
    let mut idle = Slots::new(1_024, Some(Duration::from_secs(10)));
    enter(&mut idle, &by(1)).expect("a row is free: it is tried");
    enter(&mut busy(None), &by(1)).expect("no wait is limited");
}

#[test]
fn requests_with_slow_readers_do_not_count_as_waiting() {
    let mut slots = busy(Some(Duration::from_millis(500)));
    let replica = Replica { model: ModelKey(0), worker: WorkerId(0) };
    slots.report(replica, Places { num_rows: 32, num_behind: 16 });
    assert_eq!((0..100).take_while(|_| enter(&mut slots, &Caller::default()).is_ok()).count(), 32);
}

#[test]
fn a_model_has_the_rows_of_all_its_replicas_and_a_lost_one_leaves_nothing() {
    let replica = |worker| Replica { model: ModelKey(0), worker: WorkerId(worker) };
    let accepted = |forgets: bool| {
        let mut slots = busy(Some(Duration::from_millis(500)));
        slots.report(replica(0), Places { num_rows: 16, num_behind: 0 });
        slots.report(replica(1), Places { num_rows: 16, num_behind: 16 });
        if forgets {
            slots.forget(|other| other == replica(1));
            slots.report(replica(1), Places { num_rows: 16, num_behind: 0 });
        }
        (0..100).take_while(|_| enter(&mut slots, &Caller::default()).is_ok()).count()
    };
    assert_eq!((accepted(false), accepted(true)), (32, 16));
}
