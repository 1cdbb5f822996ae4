//! Loads of models beside streams, and aborted loads.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::answers::{ReaderId, Settings};
use crate::engine::Config;
use crate::engine::budget::{Budget, Ledger};
use crate::engine::command::{Command, Reply, closed};
use crate::engine::core::Next;
use crate::engine::ids::ModelKey;
use crate::engine::loads::Loads;
use crate::error::{Code, Error};
use crate::executor::LoadControl;
use crate::executor::sim::SimLoad;
use crate::lock::lock;

use super::harness::{Harness, NUM_TOKENS, STEP, Spec, spec};

const NEW: ModelKey = ModelKey(7);
/// Each part takes half a step.
const PARTS: SimLoad = SimLoad { num_parts: 40, part: Duration::from_micros(500), fails_at: None };

type Outcome = Receiver<Result<(), Code>>;

/// Starts a load in parts. Its reply arrives on the channel.
fn begin(harness: &mut Harness, load: SimLoad) -> (LoadControl, Outcome) {
    let (sender, replies) = channel();
    harness.add_device(load);
    let reply = Reply::new(move |opened| {
        sender.send(opened.map(drop).map_err(|error: Error| error.code())).ok();
    });
    (harness.begin_load(NEW, reply), replies)
}

fn aborted() -> Error {
    Error::new(Code::Cancelled, "the load was aborted")
}

/// A harness on which one user of the first model always has a stream.
struct Streaming {
    harness: Harness,
    reader: ReaderId,
    num_asked: u32,
    num_tokens: usize,
}

impl Streaming {
    fn new() -> Self {
        let mut harness = Harness::new(Settings::OFF);
        let reader = harness.stream(spec(1));
        let mut streaming = Self { harness, reader, num_asked: 1, num_tokens: 0 };
        streaming.turns(2 * NUM_TOKENS);
        streaming
    }

    /// Runs `count` turns. Returns the longest time between two tokens of the stream.
    fn turns(&mut self, count: usize) -> Duration {
        let (mut last, mut longest) = (self.harness.now(), Duration::ZERO);
        for _ in 0..count {
            self.harness.turn();
            let received = self.harness.received.entry(self.reader).or_default();
            let (num_tokens, has_ended) = (received.tokens.len(), received.end.is_some());
            if num_tokens != self.num_tokens {
                self.num_tokens = num_tokens;
                longest = longest.max(self.harness.now() - last);
                last = self.harness.now();
            }
            if has_ended {
                self.num_asked += 1;
                self.reader = self.harness.stream(spec(self.num_asked));
                self.num_tokens = 0;
            }
        }
        longest
    }
}

#[test]
fn streams_continue_between_the_parts_of_a_load() {
    let mut streaming = Streaming::new();
    let alone = streaming.turns(50);
    let (_, replies) = begin(&mut streaming.harness, PARTS);
    let beside = streaming.turns(20);
    assert_eq!(replies.try_recv(), Err(TryRecvError::Empty), "the load takes longer");
    assert!(beside <= alone + STEP + PARTS.part, "{beside:?} instead of {alone:?}");
}

#[test]
fn a_load_beside_a_continuous_stream_ends() {
    let mut streaming = Streaming::new();
    let (_, replies) = begin(&mut streaming.harness, PARTS);
    let began = streaming.harness.now();
    while replies.try_recv() == Err(TryRecvError::Empty) {
        streaming.turns(1);
        assert!(streaming.harness.now() - began < PARTS.part * PARTS.num_parts * 8, "it has its share of the device");
    }
    let on_new = streaming.harness.submit(Spec { model: NEW, ..spec(99) });
    streaming.turns(8 * NUM_TOKENS);
    assert!(streaming.harness.received[&on_new].end.is_some(), "the new model answers");
}

#[test]
fn a_load_on_an_idle_engine_takes_as_long_as_its_parts() {
    let mut harness = Harness::new(Settings::OFF);
    let (_, replies) = begin(&mut harness, PARTS);
    let began = harness.now();
    harness.run();
    assert_eq!(replies.try_recv(), Ok(Ok(())));
    assert_eq!(harness.now() - began, PARTS.part * PARTS.num_parts);
}

#[test]
fn two_loads_share_the_device_and_both_end() {
    let mut harness = Harness::new(Settings::OFF);
    let (_, first) = begin(&mut harness, PARTS);
    let (sender, second) = channel();
    harness.add_device(PARTS);
    harness.begin_load(ModelKey(8), Reply::new(move |opened| _ = sender.send(opened.is_ok())));
    harness.run();
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(Ok(())), Ok(true)));
}

#[test]
fn an_aborted_load_ends_within_a_part_and_the_model_can_be_loaded_at_once() {
    let mut harness = Harness::new(Settings::OFF);
    let (control, replies) = begin(&mut harness, PARTS);
    harness.turn();
    control.abort(aborted());
    let at = harness.now();
    harness.turn();
    assert_eq!(replies.try_recv(), Ok(Err(Code::Cancelled)));
    assert_eq!(harness.now(), at, "no part was begun");
    let (_, again) = begin(&mut harness, PARTS);
    harness.run();
    assert_eq!(again.try_recv(), Ok(Ok(())));
}

#[test]
fn an_abort_before_the_first_part_ends_a_load_and_one_after_the_last_does_not() {
    let mut harness = Harness::new(Settings::OFF);
    let (control, replies) = begin(&mut harness, PARTS);
    control.abort(aborted());
    harness.turn();
    assert_eq!(replies.try_recv(), Ok(Err(Code::Cancelled)));
    let (control, replies) = begin(&mut harness, PARTS);
    harness.run();
    control.abort(aborted());
    assert_eq!(replies.try_recv(), Ok(Ok(())));
    let reader = harness.stream(Spec { model: NEW, ..spec(1) });
    assert!(harness.answer(reader).tokens.len() > 1, "the model is there all the same");
}

#[test]
fn a_load_that_fails_in_a_late_part_does_not_affect_streams() {
    let mut streaming = Streaming::new();
    let (_, replies) = begin(&mut streaming.harness, SimLoad { fails_at: Some(30), ..PARTS });
    let before = streaming.num_asked;
    while replies.try_recv() == Err(TryRecvError::Empty) {
        streaming.turns(1);
    }
    streaming.turns(4 * NUM_TOKENS);
    assert!(streaming.num_asked > before);
    assert_eq!(streaming.harness.loader.loads_left(), 0);
}

#[test]
fn a_shutdown_ends_a_load_before_its_own_reply() {
    let mut harness = Harness::new(Settings::OFF);
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |word: &'static str| {
        let order = Arc::clone(&order);
        move || lock(&order).push(word)
    };
    let (load, shutdown) = (note("load"), note("shutdown"));
    harness.add_device(PARTS);
    harness.begin_load(
        NEW,
        Reply::new(move |opened| {
            assert_eq!(opened.map(drop).map_err(|error: Error| error.code()), Err(Code::EngineClosed));
            load();
        }),
    );
    harness.turn();
    let at = harness.now() + Duration::from_secs(30);
    harness.core.take(Command::Shutdown(at, Reply::new(move |_| shutdown())));
    assert_eq!(harness.turn(), Next::Leave, "no load is waited for");
    assert_eq!(*lock(&order), ["load", "shutdown"]);
    assert_eq!(harness.loader.loads_left(), 0);
}

fn ledger(memory: u64) -> Arc<Ledger> {
    Ledger::new(Budget::new(&Config { memory_bytes: Some(memory), ..Config::default() }))
}

#[test]
fn weights_that_are_being_loaded_reserve_memory_of_kv_until_they_are_dropped() {
    let ledger = ledger(1_600);
    let control = LoadControl::default();
    let all = ledger.kv();
    let (reservation, free) = ledger.reserve(&control, |_| Ok(600)).expect("it fits");
    assert_eq!((all, free, ledger.kv()), (Some(1_200), Some(1_600), Some(600)));
    let refused = ledger.reserve(&control, |_| Ok(1_000)).map(drop).expect_err("both do not fit");
    assert_eq!(refused.code(), Code::InsufficientMemory);
    drop(reservation);
    assert_eq!(ledger.kv(), all);
}

#[test]
fn a_load_waits_for_the_memory_of_an_aborted_one() {
    let ledger = ledger(1_600);
    let control = LoadControl::default();
    let (leaving, _) = ledger.reserve(&control, |_| Ok(1_000)).expect("it fits");
    control.abort(aborted());
    let next = Arc::clone(&ledger);
    let waiting = thread::spawn(move || next.reserve(&LoadControl::default(), |_| Ok(1_000)).is_ok());
    drop(leaving);
    assert!(waiting.join().expect("no panic"));
}

#[test]
fn loads_beyond_the_limit_are_refused_with_the_limit() {
    let loads = Arc::<Loads>::default();
    let begin = || loads.begin(LoadControl::default());
    let active: Vec<_> = std::iter::from_fn(|| begin().ok()).take(1_000).collect();
    let refused = begin().map(drop).expect_err("too many");
    assert_eq!((refused.code(), refused.limit()), (Code::Overloaded, Some(active.len() as f64)));
    drop(active);
    assert!(begin().is_ok());
}

#[test]
fn a_closed_engine_aborts_its_loads_and_waits_for_those_on_the_device() {
    let loads = Arc::<Loads>::default();
    let reading = loads.begin(LoadControl::default()).expect("open");
    loads.close(&closed());
    assert!(reading.control.is_aborted());
    assert_eq!(reading.enter_device().map_err(|error| error.code()), Err(Code::EngineClosed));
    loads.leave_device();
    let (sender, replies) = channel();
    loads.at_end(move || _ = sender.send(()));
    assert_eq!(replies.try_recv(), Err(TryRecvError::Empty), "one load is still on the device");
    drop(reading);
    assert_eq!(replies.try_recv(), Ok(()));
}
