//! Callers that return at their retry hint find a free place, for any device and any number of callers.

use std::time::Duration;

use proptest::prelude::*;

use crate::engine::pending::Caller;
use crate::engine::slots::Slots;

use super::callers::{Device, World, at};

fn device() -> impl Strategy<Value = Device> {
    (1..40usize, 20..4_000u64, 1..4usize).prop_map(|(rows, stay, times)| Device {
        rows,
        stay,
        limit: rows * (times + 1),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_a_burst_most_refused_callers_are_accepted_at_the_first_retry(device in device(), times in 2..6usize) {
        let mut world = World::new(device);
        world.ask(0, device.limit);
        world.run(u64::MAX);
        let from = world.callers.len();
        world.ask(world.now, device.limit * times);
        world.run(u64::MAX);
        let share = world.first_retry(from);
        prop_assert!(share >= 0.8, "{share}");
        prop_assert!(world.callers.iter().all(|caller| caller.served == 1));
    }

    #[test]
    fn nine_tenths_of_callers_are_served_while_served_callers_submit_again_at_once(device in device(), times in 2..5usize) {
        let mut world = World::new(device);
        world.ask(0, device.limit);
        world.run(u64::MAX);
        let from = world.callers.len();
        world.asks_again = true;
        world.ask(world.now, device.limit * times);
        // Twice the time in which a busy device serves every caller once, and the time of four more answers.
        let round = device.stay * (device.limit * times).div_ceil(device.rows) as u64;
        world.run(world.now + 2 * round + 4 * device.stay);
        let users = &world.callers[from..];
        let never = users.iter().filter(|user| user.served == 0).count();
        prop_assert!(never * 10 <= users.len(), "{never} of {}", users.len());
    }

    #[test]
    fn the_device_stays_busy_whether_or_not_refused_callers_return(
        device in device(),
        comes_back: bool,
        times in 2..11u64,
    ) {
        let mut world = World::new(device);
        world.comes_back = comes_back;
        // Requests arrive evenly, at `times` times the rate of the device, for thirty batches.
        let (num_batches, per_batch) = (30, device.rows as u64 * times);
        (0..num_batches * per_batch).for_each(|n| world.ask(n * device.stay / per_batch, 1));
        world.run(num_batches * device.stay);
        let most = (num_batches * device.rows as u64) as f64;
        let share = f64::from(world.num_served()) / most;
        prop_assert!(share > 0.85, "{share}");
    }

    #[test]
    fn after_a_flood_a_new_caller_waits_at_most_three_batches_longer_than_a_full_queue(device in device()) {
        let mut world = World::new(device);
        world.comes_back = false;
        let per_batch = device.rows as u64 * 10;
        (0..30 * per_batch).for_each(|n| world.ask(n * device.stay / per_batch, 1));
        world.run(30 * device.stay);
        world.comes_back = true;
        let (asked, last) = (world.now, world.callers.len());
        world.ask(world.now, 1);
        while world.callers[last].served == 0 {
            world.run(world.now + 1);
        }
        let batches = (world.now - asked) as f64 / device.stay as f64;
        prop_assert!(batches < 3.0 + device.limit as f64 / device.rows as f64, "{batches} batches");
    }
}

#[test]
fn the_first_retry_hint_of_a_new_engine_is_at_least_the_assumed_time_of_an_answer() {
    let mut slots = Slots::new(64, None);
    let waits = [(); 3].map(|()| slots.promise(at(0), 1, Duration::ZERO).as_millis());
    assert!(waits[0] >= 1_000, "{waits:?} ms");
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "increasing: {waits:?} ms");
}

#[test]
fn an_idle_device_admits_callers_up_to_its_rows_whatever_slots_are_promised() {
    let mut slots = Slots::new(32, None);
    for _ in 0..200 {
        slots.promise(at(0), 1, Duration::ZERO);
    }
    assert!((0..32).all(|_| slots.enter(at(100), &Caller::default(), 1).is_ok()));
    assert!(slots.enter(at(100), &Caller::default(), 1).is_err());
}

#[test]
fn retry_hints_are_at_most_a_minute_and_slots_are_bounded() {
    let mut slots = Slots::new(1, None);
    slots.turnover.stayed(Duration::from_mins(5), 100);
    assert_eq!(slots.promise(at(0), 1, Duration::ZERO), Duration::from_mins(1));
    let mut fast = Slots::new(32, None);
    fast.turnover.stayed(Duration::from_micros(10), 100);
    assert!((0..20_000).all(|_| fast.promise(at(0), 1, Duration::ZERO) <= Duration::from_secs(1)));
}

#[test]
fn before_the_first_answer_its_time_is_expected_from_the_size_of_the_model() {
    let hint = |sizes: &[u64]| {
        let mut slots = Slots::new(4, None);
        for &bytes in sizes {
            slots.turnover.opened(bytes);
        }
        slots.promise(at(0), 1, Duration::ZERO).as_millis()
    };
    assert_eq!([hint(&[]), hint(&[2 << 30]), hint(&[4_000_000])], [2_500, 2_500, 50]);
    assert_eq!(hint(&[4_000_000, 2 << 30, 4_000_000]), 2_500);
}

#[test]
fn an_answer_of_one_token_changes_the_expected_time_of_answers_only_a_little() {
    let hint = |answers: &[(u64, usize)]| {
        let mut slots = Slots::new(1, None);
        for &(ms, num_tokens) in answers {
            slots.turnover.stayed(Duration::from_millis(ms), num_tokens);
        }
        slots.promise(at(0), 1, Duration::ZERO).as_millis()
    };
    assert_eq!(hint(&[(10, 1)]), 1_879, "three quarters of the expectation");
    assert_eq!(hint(&[(1_000, 100)]), 1_250);
    assert!((1_250..1_500).contains(&hint(&[(10, 1), (1_000, 100)])));
    assert!(hint(&[(10, 1); 100]) < 60, "no answer has more tokens");
}
