//! Callers that return at their retry hint find a free place, for any device and any number of callers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::engine::slots::Slots;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(ms: u64) -> Instant {
    *START + Duration::from_millis(ms)
}

#[derive(Debug, Clone, Copy)]
struct Device {
    /// Rows that run at a time.
    rows: usize,
    /// Milliseconds that an answer takes on the device.
    stay: u64,
    /// Places of the engine.
    limit: usize,
}

/// Simulates callers of an engine. Events at the same time happen in the order of [`Event`].
struct World {
    device: Device,
    slots: Slots,
    queued: VecDeque<usize>,
    num_running: usize,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    tries: Vec<u32>,
    served: Vec<u32>,
    /// Whether a caller submits its next request as soon as it is answered.
    asks_again: bool,
    /// Whether a refused caller returns at its retry hint.
    comes_back: bool,
    now: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(usize),
    Asks(usize),
}

impl World {
    fn new(device: Device) -> Self {
        let mut slots = Slots::new(device.limit);
        slots.has_rows(device.rows);
        Self {
            device,
            slots,
            queued: VecDeque::new(),
            num_running: 0,
            events: BinaryHeap::new(),
            tries: Vec::new(),
            served: Vec::new(),
            asks_again: false,
            comes_back: true,
            now: 0,
        }
    }

    /// `count` new callers submit a request at time `ms`.
    fn ask(&mut self, ms: u64, count: usize) {
        for _ in 0..count {
            self.events.push(Reverse((ms, Event::Asks(self.tries.len()))));
            self.tries.push(0);
            self.served.push(0);
        }
    }

    fn run(&mut self, until: u64) {
        while let Some(&Reverse((ms, event))) = self.events.peek().filter(|Reverse((ms, _))| *ms <= until) {
            self.events.pop();
            self.now = ms;
            match event {
                Event::Ends(caller) => self.end(caller),
                Event::Asks(caller) => self.submit(caller),
            }
            self.start();
        }
    }

    fn submit(&mut self, caller: usize) {
        let (now, num_taken) = (at(self.now), self.queued.len() + self.num_running);
        if self.slots.admits(now, num_taken, 1) {
            assert!(num_taken < self.device.limit, "no more places are given than there are");
            return self.queued.push_back(caller);
        }
        self.tries[caller] += 1;
        let wait = self.slots.promise(now, 1);
        let ms = u64::try_from(wait.as_millis()).expect("short");
        assert!(wait == Duration::from_millis(ms) && ms > 0, "whole milliseconds: {wait:?}");
        if self.comes_back {
            // Timers fire up to 2 ms late.
            self.events.push(Reverse((self.now + ms + caller as u64 % 3, Event::Asks(caller))));
        }
    }

    fn end(&mut self, caller: usize) {
        self.num_running -= 1;
        self.served[caller] += 1;
        self.slots.freed(at(self.now), !self.queued.is_empty());
        self.slots.stayed(Duration::from_millis(self.device.stay));
        if self.asks_again {
            self.events.push(Reverse((self.now, Event::Asks(caller))));
        }
    }

    fn start(&mut self) {
        while self.num_running < self.device.rows
            && let Some(caller) = self.queued.pop_front()
        {
            self.num_running += 1;
            self.events.push(Reverse((self.now + self.device.stay, Event::Ends(caller))));
        }
        if !self.queued.is_empty() {
            self.slots.wanted(at(self.now));
        }
    }

    /// The share of refused callers that were accepted at their first retry, from caller `from` on.
    fn first_retry(&self, from: usize) -> f64 {
        let refused: Vec<_> = self.tries[from..].iter().filter(|&&tries| tries > 0).collect();
        refused.iter().filter(|&&&tries| tries == 1).count() as f64 / refused.len().max(1) as f64
    }
}

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
        let from = world.tries.len();
        world.ask(world.now, device.limit * times);
        world.run(u64::MAX);
        let share = world.first_retry(from);
        prop_assert!(share >= 0.8, "{share}");
        prop_assert!(world.served.iter().all(|&served| served == 1));
    }

    #[test]
    fn of_callers_that_submit_again_at_once_few_are_never_served(device in device(), times in 2..5usize) {
        let mut world = World::new(device);
        world.ask(0, device.limit);
        world.run(u64::MAX);
        let from = world.tries.len();
        world.asks_again = true;
        world.ask(world.now, device.limit * times);
        // Twice the time in which a busy device serves every caller once, and four answers more.
        let round = device.stay * (device.limit * times).div_ceil(device.rows) as u64;
        world.run(world.now + 2 * round + 4 * device.stay);
        let never = world.served[from..].iter().filter(|&&served| served == 0).count();
        prop_assert!(never * 10 <= world.served.len() - from, "{never} of {}", world.served.len() - from);
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
        let share = f64::from(world.served.iter().sum::<u32>()) / most;
        prop_assert!(share > 0.85, "{share}");
    }

    #[test]
    fn after_a_flood_a_caller_is_served_once_the_queue_is_empty(device in device()) {
        let mut world = World::new(device);
        world.comes_back = false;
        let per_batch = device.rows as u64 * 10;
        (0..30 * per_batch).for_each(|n| world.ask(n * device.stay / per_batch, 1));
        world.run(30 * device.stay);
        world.comes_back = true;
        let (asked, last) = (world.now, world.tries.len());
        world.ask(world.now, 1);
        while world.served[last] == 0 {
            world.run(world.now + 1);
            world.now += 1;
        }
        let batches = (world.now - asked) as f64 / device.stay as f64;
        prop_assert!(batches < 3.0 + device.limit as f64 / device.rows as f64, "{batches} batches");
    }
}

#[test]
fn the_first_retry_hint_of_a_new_engine_is_at_least_the_assumed_time_of_an_answer() {
    let mut slots = Slots::new(64);
    let waits = [(); 3].map(|()| slots.promise(at(0), 1).as_millis());
    assert!(waits[0] >= 1_000, "{waits:?} ms");
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "increasing: {waits:?} ms");
}

#[test]
fn an_idle_device_admits_callers_up_to_its_rows_whatever_slots_are_promised() {
    let mut slots = Slots::new(32);
    slots.has_rows(32);
    for _ in 0..200 {
        slots.promise(at(0), 1);
    }
    assert!((0..32).all(|num_taken| slots.admits(at(100), num_taken, 1)));
    assert!(!slots.admits(at(100), 32, 1));
}

#[test]
fn retry_hints_are_at_most_a_minute_and_slots_are_bounded() {
    let mut slots = Slots::new(1);
    slots.stayed(Duration::from_mins(5));
    assert_eq!(slots.promise(at(0), 1), Duration::from_mins(1));
    let mut fast = Slots::new(32);
    fast.stayed(Duration::from_micros(10));
    assert!((0..20_000).all(|_| fast.promise(at(0), 1) <= Duration::from_secs(1)));
}
