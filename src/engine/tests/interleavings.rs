//! Ten thousand random sequences of events of a few requests with few different prompts. A reference model with only the
//! rules of sharing predicts how each request is served and how it ends, and that nothing is left over.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

use crate::answers::{ReaderId, Settings};
use crate::engine::command::Command;
use crate::error::Code;
use crate::request::{FinishReason, RequestId, Served, TokenId};
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, STEP, Spec, spec};

const NUM_PROMPTS: TokenId = 3;

/// An event. A reader is chosen by an index modulo the number of open readers.
#[derive(Debug, Clone, Copy)]
enum Event {
    Submit(Spec),
    /// The request finds no cached answer, and reaches the engine thread this many turns later.
    SubmitSlowly(Spec, usize),
    Turns(usize),
    Stream(usize),
    Cancel(usize),
    Release(usize),
    Pass(Duration),
    Clear,
}

/// The answer to each prompt, computed alone.
static TRUTH: LazyLock<Vec<Vec<TokenId>>> = LazyLock::new(|| {
    let alone = |prompt| {
        let mut harness = Harness::new(Settings::OFF);
        let reader = harness.submit(spec(prompt));
        harness.answer(reader).whole.1
    };
    (0..NUM_PROMPTS).map(alone).collect()
});

/// Requests with equal keys have the same answer.
type Key = (TokenId, Option<&'static str>);

struct Generation {
    key: Key,
    origin: RequestId,
    readers: HashSet<ReaderId>,
    /// Started before the last `Clear`: neither joined nor cached.
    is_old: bool,
}

/// What a reader must receive.
struct Expected {
    spec: Spec,
    deadline: Option<Instant>,
    served: Served,
    shared_from: Option<RequestId>,
    streams: bool,
    is_cancelled: bool,
}

/// The engine under test beside the reference model.
struct Checked {
    harness: Harness,
    overlap: Overlap,
    running: Vec<Generation>,
    cached: HashMap<Key, (Instant, RequestId)>,
    expected: HashMap<ReaderId, Expected>,
    readers: Vec<ReaderId>,
    ended: HashSet<ReaderId>,
    /// Requests that reach the engine thread after a number of turns.
    delayed: Vec<(usize, ReaderId, Command)>,
    num_submitted: usize,
}

impl Checked {
    fn new(overlap: Overlap) -> Self {
        Self {
            harness: Harness::overlapping(overlap, 256),
            overlap,
            running: Vec::new(),
            cached: HashMap::new(),
            expected: HashMap::new(),
            readers: Vec::new(),
            ended: HashSet::new(),
            delayed: Vec::new(),
            num_submitted: 0,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Submit(spec) => {
                let reader = self.harness.submit(spec);
                self.submitted(reader, spec);
                self.arrive(reader);
            }
            Event::SubmitSlowly(spec, turns) => {
                let (reader, command) = self.harness.prepare(spec);
                self.submitted(reader, spec);
                self.delayed.push((turns, reader, command));
            }
            Event::Turns(count) => (0..count).for_each(|_| self.turn()),
            Event::Stream(index) => self.with(index, |checked, reader| {
                checked.harness.shared.readers.stream(reader);
                checked.expect(reader).streams = true;
            }),
            Event::Cancel(index) => self.with(index, |checked, reader| {
                checked.harness.cancel(reader);
                checked.expect(reader).is_cancelled = true;
                checked.leave(reader);
            }),
            Event::Release(index) => self.with(index, |checked, reader| {
                checked.harness.release(reader);
                checked.leave(reader);
                checked.ended.insert(reader);
            }),
            Event::Pass(time) => self.harness.clock.advance(time),
            Event::Clear => {
                self.harness.shared.answers.clear();
                self.cached.clear();
                self.running.iter_mut().for_each(|generation| generation.is_old = true);
            }
        }
        self.check();
    }

    fn submitted(&mut self, reader: ReaderId, spec: Spec) {
        let deadline = spec.timeout.map(|timeout| self.harness.now() + timeout);
        let expected = Expected {
            spec,
            deadline,
            served: Served::Computed,
            shared_from: None,
            streams: false,
            is_cancelled: false,
        };
        self.expected.insert(reader, expected);
        self.readers.push(reader);
        self.num_submitted += 1;
    }

    /// Predicts how a request is served, at the moment when the engine decides it.
    fn arrive(&mut self, reader: ReaderId) {
        let now = self.harness.now();
        let Expected { spec, deadline, .. } = self.expected[&reader];
        let key = (spec.prompt, spec.salt);
        let is_late = deadline.is_some_and(|at| at <= now);
        let running = self.running.iter_mut().find(|it| it.key == key && !it.is_old && !is_late);
        let cached = self.cached.get(&key).filter(|(at, _)| now < *at + Duration::from_mins(5) && !is_late);
        let (served, origin) = match (running, cached) {
            (Some(generation), _) => {
                generation.readers.insert(reader);
                (Served::Coalesced, Some(generation.origin.clone()))
            }
            (None, Some((_, origin))) => (Served::Cached, Some(origin.clone())),
            (None, None) => {
                let origin = RequestId(reader.0.to_string().into());
                let readers = HashSet::from([reader]);
                // A request past its deadline shares nothing, and ends before another request could join it.
                self.running.push(Generation { key, origin, readers, is_old: is_late });
                (Served::Computed, None)
            }
        };
        let expected = self.expect(reader);
        (expected.served, expected.shared_from) = (served, origin);
    }

    fn leave(&mut self, reader: ReaderId) {
        for generation in &mut self.running {
            generation.readers.remove(&reader);
        }
        self.running.retain(|generation| !generation.readers.is_empty());
    }

    fn turn(&mut self) {
        for (turns, ..) in &mut self.delayed {
            *turns = turns.saturating_sub(1);
        }
        while let Some(index) = self.delayed.iter().position(|(turns, ..)| *turns == 0) {
            let (_, reader, command) = self.delayed.remove(index);
            self.harness.core.take(command);
            self.arrive(reader);
        }
        self.harness.turn();
        self.check();
    }

    /// Compares every end that was delivered with the prediction.
    fn check(&mut self) {
        self.harness.drain();
        let ended: Vec<_> = self.readers.iter().copied().filter(|reader| self.has_new_end(*reader)).collect();
        let is_shared = self.running.len() > 1;
        for reader in ended {
            self.ended.insert(reader);
            let received = self.harness.received[&reader].clone();
            let expected = &self.expected[&reader];
            let truth = &TRUTH[expected.spec.prompt as usize];
            if let Some(code) = received.error() {
                assert_eq!(code, Code::Timeout, "no other error is possible here");
                // `Pass` while a step is in flight makes the step look slow. Then a request may end before its deadline,
                // because reading its prompt in time seems impossible and would slow other requests.
                let seemed_hopeless = self.overlap != Overlap::None && received.whole.1.is_empty() && is_shared;
                assert!(expected.deadline.is_some_and(|at| at <= self.harness.now() || seemed_hopeless), "too early");
                self.leave(reader);
                continue;
            }
            let summary = received.summary().clone();
            assert_eq!((summary.served, &summary.shared_from), (expected.served, &expected.shared_from));
            if expected.streams {
                assert_eq!((&received.text, &received.tokens), (&received.whole.0, &received.whole.1), "streamed");
            }
            if summary.finish_reason == FinishReason::Cancelled {
                assert!(expected.is_cancelled, "only cancelled readers end as cancelled");
                assert!(truth.starts_with(&received.whole.1));
            } else {
                assert_eq!(&received.whole.1, truth, "whole");
                self.finished(reader);
            }
        }
    }

    fn has_new_end(&self, reader: ReaderId) -> bool {
        !self.ended.contains(&reader)
            && self.harness.received.get(&reader).is_some_and(|received| received.end.is_some())
    }

    /// A generation is complete, so the reference model caches it.
    fn finished(&mut self, reader: ReaderId) {
        let Some(index) = self.running.iter().position(|it| it.readers.contains(&reader)) else { return };
        let generation = self.running.remove(index);
        if !generation.is_old {
            self.cached.insert(generation.key, (self.harness.now(), generation.origin));
        }
    }

    fn end(mut self) {
        while !self.delayed.is_empty() {
            self.turn();
        }
        self.harness.run();
        self.check();
        assert_eq!(self.ended.len(), self.num_submitted, "every reader gets an end");
        assert!(self.running.is_empty(), "no generation without readers");
        assert!(self.harness.shared.readers.is_empty());
        let stats = self.harness.shared.stats.snapshot(&self.harness.shared.answers);
        assert_eq!(stats.requests, self.num_submitted as u64);
        assert_eq!(stats.completed + stats.cancelled + stats.failed, stats.requests, "each request is counted once");
        assert_eq!(stats.answers.num_entries, self.cached.len() as u64);
    }

    fn expect(&mut self, reader: ReaderId) -> &mut Expected {
        self.expected.get_mut(&reader).expect("it was submitted")
    }

    /// Acts on a reader that has not ended and whose request has reached the engine.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut Self, ReaderId)) {
        let is_delayed = |reader: &ReaderId| self.delayed.iter().any(|(_, other, _)| other == reader);
        let open = |reader: &ReaderId| !self.ended.contains(reader) && !is_delayed(reader);
        let open: Vec<_> = self.readers.iter().copied().filter(open).collect();
        if let Some(&reader) = open.get(index % open.len().max(1)) {
            act(self, reader);
        }
    }
}

fn specs() -> impl Strategy<Value = Spec> {
    let timeout = prop::sample::select(vec![None, None, None, Some(STEP * 3), Some(STEP * 9)]);
    let salt = prop::sample::select(vec![None, None, Some("tenant")]);
    (0..NUM_PROMPTS, salt, timeout).prop_map(|(prompt, salt, timeout)| Spec { salt, timeout, ..spec(prompt) })
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => specs().prop_map(Event::Submit),
        2 => (specs(), 1_usize..6).prop_map(|(spec, turns)| Event::SubmitSlowly(spec, turns)),
        6 => (1_usize..6).prop_map(Event::Turns),
        3 => any::<usize>().prop_map(Event::Stream),
        1 => any::<usize>().prop_map(Event::Cancel),
        2 => any::<usize>().prop_map(Event::Release),
        1 => prop::sample::select(vec![STEP, Duration::from_secs(2), Duration::from_mins(6)]).prop_map(Event::Pass),
        1 => Just(Event::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, rng_algorithm: RngAlgorithm::XorShift, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_receives_what_the_rules_say_in_any_order_of_events(
        overlap in prop::sample::select(vec![Overlap::None, Overlap::Bounded, Overlap::Whole]),
        events in prop::collection::vec(events(), 1..24),
    ) {
        let mut checked = Checked::new(overlap);
        for event in events {
            checked.apply(event);
        }
        checked.end();
    }
}
