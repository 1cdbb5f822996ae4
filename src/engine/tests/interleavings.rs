//! Ten thousand random lives of a few requests that ask for few different things, each held against a reference that
//! knows nothing but the rules: who shares with whom, what everybody is told, and that nothing is left over.

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

use super::stage::{Ask, STEP, Stage, ask};

const NUM_PROMPTS: TokenId = 3;

/// What happens next. Readers are chosen by a number, modulo those there are.
#[derive(Debug, Clone, Copy)]
enum Event {
    Submit(Ask),
    /// It finds nothing kept, and reaches the engine thread only so many turns later.
    SubmitSlowly(Ask, usize),
    Turns(usize),
    Stream(usize),
    Cancel(usize),
    Release(usize),
    Pass(Duration),
    Clear,
}

/// The answers to all prompts, each computed alone.
static TRUTH: LazyLock<Vec<Vec<TokenId>>> = LazyLock::new(|| {
    let alone = |prompt| {
        let mut stage = Stage::new(Settings::OFF);
        let reader = stage.submit(ask(prompt));
        stage.answer(reader).whole.1
    };
    (0..NUM_PROMPTS).map(alone).collect()
});

/// What tells answers apart here.
type Topic = (TokenId, Option<&'static str>);

struct Generation {
    topic: Topic,
    origin: RequestId,
    readers: HashSet<ReaderId>,
    /// Begun before the last clearing: neither joined nor kept.
    is_old: bool,
}

/// What a reader must be told.
struct Expected {
    ask: Ask,
    deadline: Option<Instant>,
    served: Served,
    shared_from: Option<RequestId>,
    streams: bool,
    is_cancelled: bool,
}

/// The rules, and the engine that is held to them.
struct Life {
    stage: Stage,
    overlap: Overlap,
    running: Vec<Generation>,
    kept: HashMap<Topic, (Instant, RequestId)>,
    expected: HashMap<ReaderId, Expected>,
    readers: Vec<ReaderId>,
    ended: HashSet<ReaderId>,
    on_their_way: Vec<(usize, ReaderId, Command)>,
    num_submitted: usize,
}

impl Life {
    fn new(overlap: Overlap) -> Self {
        Self {
            stage: Stage::overlapping(overlap, 256),
            overlap,
            running: Vec::new(),
            kept: HashMap::new(),
            expected: HashMap::new(),
            readers: Vec::new(),
            ended: HashSet::new(),
            on_their_way: Vec::new(),
            num_submitted: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit(ask) => {
                let reader = self.stage.submit(ask);
                self.note(reader, ask);
                self.arrive(reader);
            }
            Event::SubmitSlowly(ask, turns) => {
                let (reader, submission) = self.stage.prepare(ask);
                self.note(reader, ask);
                self.on_their_way.push((turns, reader, Command::Submit(Box::new(submission))));
            }
            Event::Turns(count) => (0..count).for_each(|_| self.turn()),
            Event::Stream(index) => self.with(index, |life, reader| {
                life.stage.shared.readers.stream(reader);
                life.expect(reader).streams = true;
            }),
            Event::Cancel(index) => self.with(index, |life, reader| {
                life.stage.cancel(reader);
                life.expect(reader).is_cancelled = true;
                life.leave(reader);
            }),
            Event::Release(index) => self.with(index, |life, reader| {
                life.stage.release(reader);
                life.leave(reader);
                life.ended.insert(reader);
            }),
            Event::Pass(time) => self.stage.clock.advance(time),
            Event::Clear => {
                self.stage.shared.answers.clear();
                self.kept.clear();
                self.running.iter_mut().for_each(|generation| generation.is_old = true);
            }
        }
        self.look();
    }

    fn note(&mut self, reader: ReaderId, ask: Ask) {
        let deadline = ask.timeout.map(|timeout| self.stage.now() + timeout);
        let expected = Expected {
            ask,
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

    /// A request has reached the place where it is decided how it comes to its answer.
    fn arrive(&mut self, reader: ReaderId) {
        let now = self.stage.now();
        let Expected { ask, deadline, .. } = self.expected[&reader];
        let topic = (ask.prompt, ask.salt);
        let is_late = deadline.is_some_and(|at| at <= now);
        let running = self.running.iter_mut().find(|it| it.topic == topic && !it.is_old && !is_late);
        let kept = self.kept.get(&topic).filter(|(at, _)| now < *at + Duration::from_mins(5) && !is_late);
        let (served, origin) = match (running, kept) {
            (Some(generation), _) => {
                generation.readers.insert(reader);
                (Served::Coalesced, Some(generation.origin.clone()))
            }
            (None, Some((_, origin))) => (Served::Cached, Some(origin.clone())),
            (None, None) => {
                let origin = RequestId(reader.0.to_string().into());
                let readers = HashSet::from([reader]);
                // One that comes too late shares nothing; nobody joins it, since it ends before the next one comes.
                self.running.push(Generation { topic, origin, readers, is_old: is_late });
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
        for (turns, ..) in &mut self.on_their_way {
            *turns = turns.saturating_sub(1);
        }
        while let Some(index) = self.on_their_way.iter().position(|(turns, ..)| *turns == 0) {
            let (_, reader, command) = self.on_their_way.remove(index);
            self.stage.core.take(command);
            self.arrive(reader);
        }
        self.stage.turn();
        self.look();
    }

    /// Holds every end that has come against what was to come.
    fn look(&mut self) {
        self.stage.drain();
        let ended: Vec<_> = self.readers.iter().copied().filter(|reader| self.has_news_of(*reader)).collect();
        let had_company = self.running.len() > 1;
        for reader in ended {
            self.ended.insert(reader);
            let given = self.stage.given[&reader].clone();
            let expected = &self.expected[&reader];
            let truth = &TRUTH[expected.ask.prompt as usize];
            if let Some(code) = given.error() {
                assert_eq!(code, Code::Timeout, "nothing else can go wrong here");
                // Time that passes while a step is in flight makes the device look slow: too slow to begin in time, where it
                // would be at the cost of others.
                let seemed_hopeless = self.overlap != Overlap::None && given.whole.1.is_empty() && had_company;
                assert!(expected.deadline.is_some_and(|at| at <= self.stage.now() || seemed_hopeless), "it had time");
                self.leave(reader);
                continue;
            }
            let told = given.summary().clone();
            assert_eq!((told.served, &told.shared_from), (expected.served, &expected.shared_from));
            if expected.streams {
                assert_eq!((&given.text, &given.tokens), (&given.whole.0, &given.whole.1), "streamed");
            }
            if told.finish_reason == FinishReason::Cancelled {
                assert!(expected.is_cancelled, "nobody cancelled it");
                assert!(truth.starts_with(&given.whole.1));
            } else {
                assert_eq!(&given.whole.1, truth, "whole");
                self.finished(reader);
            }
        }
    }

    fn has_news_of(&self, reader: ReaderId) -> bool {
        !self.ended.contains(&reader) && self.stage.given.get(&reader).is_some_and(|given| given.end.is_some())
    }

    /// A generation ended well: it is kept from now on.
    fn finished(&mut self, reader: ReaderId) {
        let Some(index) = self.running.iter().position(|it| it.readers.contains(&reader)) else { return };
        let generation = self.running.remove(index);
        if !generation.is_old {
            self.kept.insert(generation.topic, (self.stage.now(), generation.origin));
        }
    }

    fn end(mut self) {
        while !self.on_their_way.is_empty() {
            self.turn();
        }
        self.stage.play();
        self.look();
        assert_eq!(self.ended.len(), self.num_submitted, "everybody is told an end");
        assert!(self.running.is_empty(), "no generation without readers");
        assert!(self.stage.shared.readers.is_empty());
        let stats = self.stage.shared.stats.snapshot(&self.stage.shared.answers);
        assert_eq!(stats.requests, self.num_submitted as u64);
        assert_eq!(stats.completed + stats.cancelled + stats.failed, stats.requests, "each is counted once");
        assert_eq!(stats.answers.num_entries, self.kept.len() as u64);
    }

    fn expect(&mut self, reader: ReaderId) -> &mut Expected {
        self.expected.get_mut(&reader).expect("it was submitted")
    }

    /// Does something with a reader that has not ended and whose request has arrived.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut Self, ReaderId)) {
        let is_on_its_way = |reader: &ReaderId| self.on_their_way.iter().any(|(_, other, _)| other == reader);
        let open = |reader: &ReaderId| !self.ended.contains(reader) && !is_on_its_way(reader);
        let open: Vec<_> = self.readers.iter().copied().filter(open).collect();
        if let Some(&reader) = open.get(index % open.len().max(1)) {
            act(self, reader);
        }
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    let timeout = prop::sample::select(vec![None, None, None, Some(STEP * 3), Some(STEP * 9)]);
    let salt = prop::sample::select(vec![None, None, Some("tenant")]);
    (0..NUM_PROMPTS, salt, timeout).prop_map(|(prompt, salt, timeout)| Ask { salt, timeout, ..ask(prompt) })
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => asks().prop_map(Event::Submit),
        2 => (asks(), 1_usize..6).prop_map(|(ask, turns)| Event::SubmitSlowly(ask, turns)),
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
    fn whatever_happens_in_whatever_order_everybody_is_told_what_the_rules_say(
        overlap in prop::sample::select(vec![Overlap::None, Overlap::Bounded, Overlap::Whole]),
        events in prop::collection::vec(events(), 1..24),
    ) {
        let mut life = Life::new(overlap);
        for event in events {
            life.happen(event);
        }
        life.end();
    }
}
