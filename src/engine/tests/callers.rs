//! Simulates callers of an engine whose device takes the same time for every answer, on a hand-moved clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::engine::pending::Caller;
use crate::engine::slots::Slots;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn at(ms: u64) -> Instant {
    *START + Duration::from_millis(ms)
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    /// Rows that run at a time.
    pub(super) rows: usize,
    /// Milliseconds that an answer takes on the device.
    pub(super) stay: u64,
    /// Places of the engine.
    pub(super) limit: usize,
}

/// Events at the same time happen in the order of [`Event`].
pub(super) struct World {
    device: Device,
    slots: Slots,
    queued: VecDeque<usize>,
    num_running: usize,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    pub(super) callers: Vec<CallerStats>,
    /// Whether a caller submits its next request as soon as it is answered.
    pub(super) asks_again: bool,
    /// Whether a refused caller returns at its retry hint.
    pub(super) comes_back: bool,
    pub(super) now: u64,
}

/// The requests of one caller.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallerStats {
    /// How often the caller was refused.
    pub(super) refused: u32,
    /// How many answers it got.
    pub(super) served: u32,
    /// When its last request was accepted, and how long that waited for a row.
    accepted_at: u64,
    pub(super) waited: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(usize),
    Asks(usize),
}

impl World {
    pub(super) fn new(device: Device) -> Self {
        Self::with_max_wait(device, None)
    }

    pub(super) fn with_max_wait(device: Device, max_wait: Option<Duration>) -> Self {
        let mut slots = Slots::new(device.limit, max_wait);
        slots.turnover.set_rows(device.rows);
        Self {
            device,
            slots,
            queued: VecDeque::new(),
            num_running: 0,
            events: BinaryHeap::new(),
            callers: Vec::new(),
            asks_again: false,
            comes_back: true,
            now: 0,
        }
    }

    /// `count` new callers submit a request at time `ms`.
    pub(super) fn ask(&mut self, ms: u64, count: usize) {
        for _ in 0..count {
            self.events.push(Reverse((ms, Event::Asks(self.callers.len()))));
            self.callers.push(CallerStats::default());
        }
    }

    /// For `ms` milliseconds, new callers submit requests at even distances: `times` as many as the device can serve.
    pub(super) fn offer(&mut self, times: usize, ms: u64) {
        let Device { rows, stay, .. } = self.device;
        let count = (times * rows) as u64 * ms / stay;
        (0..count).for_each(|n| self.ask(self.now + n * ms / count, 1));
        self.run(self.now + ms);
    }

    pub(super) fn run(&mut self, until: u64) {
        while let Some(&Reverse((ms, event))) = self.events.peek().filter(|Reverse((ms, _))| *ms <= until) {
            self.events.pop();
            self.now = ms;
            match event {
                Event::Ends(caller) => self.end(caller),
                Event::Asks(caller) => self.submit(caller),
            }
            self.start();
        }
        if until < u64::MAX {
            self.now = until;
        }
    }

    fn submit(&mut self, caller: usize) {
        let Err(refused) = self.slots.enter(at(self.now), &Caller::default(), 1) else {
            self.callers[caller].accepted_at = self.now;
            self.queued.push_back(caller);
            return assert!(self.num_pending() <= self.device.limit, "more places are given than there are");
        };
        self.callers[caller].refused += 1;
        let wait = refused.retry_after;
        let ms = u64::try_from(wait.as_millis()).expect("short");
        assert!(wait == Duration::from_millis(ms) && ms > 0, "whole milliseconds: {wait:?}");
        if self.comes_back {
            // Timers fire up to 2 ms late.
            self.events.push(Reverse((self.now + ms + caller as u64 % 3, Event::Asks(caller))));
        }
    }

    fn end(&mut self, caller: usize) {
        self.num_running -= 1;
        self.callers[caller].served += 1;
        self.slots.turnover.freed(at(self.now), !self.queued.is_empty());
        self.slots.turnover.stayed(Duration::from_millis(self.device.stay), 100);
        self.slots.leave(&Caller::default());
        if self.asks_again {
            self.events.push(Reverse((self.now, Event::Asks(caller))));
        }
    }

    fn start(&mut self) {
        while self.num_running < self.device.rows
            && let Some(caller) = self.queued.pop_front()
        {
            self.num_running += 1;
            self.callers[caller].waited = self.now - self.callers[caller].accepted_at;
            self.events.push(Reverse((self.now + self.device.stay, Event::Ends(caller))));
        }
        if !self.queued.is_empty() {
            self.slots.turnover.wanted(at(self.now));
        }
    }

    pub(super) fn num_pending(&self) -> usize {
        self.queued.len() + self.num_running
    }

    pub(super) fn num_served(&self) -> u32 {
        self.callers.iter().map(|caller| caller.served).sum()
    }

    /// The share of refused callers that were accepted at their first retry, from caller `from` on.
    pub(super) fn first_retry(&self, from: usize) -> f64 {
        let refused: Vec<_> = self.callers[from..].iter().filter(|caller| caller.refused > 0).collect();
        refused.iter().filter(|caller| caller.refused == 1).count() as f64 / refused.len().max(1) as f64
    }

    /// Milliseconds until a request gets a row at once. One caller submits one request after another.
    pub(super) fn recovery(&mut self) -> u64 {
        self.comes_back = true;
        let began = self.now;
        loop {
            let caller = self.callers.len();
            self.ask(self.now, 1);
            while self.callers[caller].served == 0 {
                self.run(self.now + 1);
            }
            if self.callers[caller].waited == 0 {
                return self.now - self.device.stay - began;
            }
        }
    }
}
