//! The disk tier on a simulated device, which refuses KV that does not belong to its tokens. The test moves the clock.
//! The disk is real.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::harness::{Harness, Options, PROFILE, STEP, Spec, spec};
use crate::answers::{ReaderId, Settings};
use crate::engine::command::{Command, Reply};
use crate::engine::core::Next;
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind, Profile};
use crate::host_kv::{KvElement, KvLayout};
use crate::prefix_store::{DiskCounts, Pending, PrefixStore, Read};
use crate::request::{FinishReason, TokenId};

const BLOCK: usize = 256;

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn open(folder: &TempDir) -> Harness {
    failing(folder, Vec::new())
}

/// An engine on a device that reads a prompt token in a millisecond and has KV for 3,000 positions.
fn failing(folder: &TempDir, faults: Vec<Fault>) -> Harness {
    let profile = Profile { kv_bytes_per_position: 1, prefill_per_token: STEP, ..PROFILE };
    let store = PrefixStore::open(folder.path().join("kv"), 1 << 20, Box::new(|| ())).expect("a folder");
    let options = Options { faults, chunk: 64, kv_bytes: Some(3_000), disk: Some(store) };
    Harness::on(profile, Settings::OFF, 256, options)
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("kv")).expect("the folder");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect()
}

/// A prompt that repeats one token, so that all prompts of a token have the same beginning.
fn prompt(token: TokenId, prompt_len: usize) -> Spec {
    Spec { prompt_len, ..spec(token) }
}

fn counts(harness: &Harness) -> DiskCounts {
    harness.shared.disk.get().expect("a store").counts()
}

/// Waits until the disk has done all queued work.
fn settle(harness: &Harness) {
    let until = Instant::now() + Duration::from_secs(20);
    while !harness.shared.disk.get().expect("a store").is_idle() {
        assert!(Instant::now() < until, "the disk is still busy");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Runs until no work is left. The clock waits for the disk, so the disk is faster than the device.
fn run(harness: &mut Harness) {
    loop {
        match harness.turn() {
            Next::Turn => {}
            Next::Leave => return,
            Next::Wait(until) => {
                settle(harness);
                match (harness.turn(), until) {
                    (Next::Wait(None), _) => return,
                    (Next::Wait(Some(until)), _) => {
                        harness.clock.advance(until.saturating_duration_since(harness.now()));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Stops the disk until a message is sent.
fn stall(harness: &Harness) -> Sender<()> {
    let (send, receive) = channel();
    let done = Box::new(move |_| receive.recv().unwrap_or_default());
    let layout = KvLayout::of_layers("none", KvElement::F32, BLOCK, std::iter::empty());
    let (keys, is_wanted) = ([].into(), Arc::new(AtomicBool::new(true)));
    harness.shared.disk.get().expect("a store").read(Read { keys, layout: Arc::new(layout), is_wanted, done });
    send
}

fn answer(harness: &mut Harness, spec: Spec) -> (Vec<TokenId>, usize) {
    let reader = harness.submit(spec);
    run(harness);
    let received = &harness.received[&reader];
    (received.whole.1.clone(), received.summary().usage.cached_input_tokens)
}

/// Ends an engine as `engine.shutdown()` does.
fn shut_down(mut harness: Harness) {
    let at = harness.now();
    harness.core.take(Command::Shutdown(at, Reply::new(|_| ())));
    while harness.turn() != Next::Leave {}
    harness.shared.disk.get().expect("a store").finish(Pending::WriteUntil(Instant::now() + Duration::from_mins(1)));
}

/// An engine whose folder has the blocks of `prompt(50, 600)`, which an earlier engine has written.
fn opened_again() -> (TempDir, Harness) {
    let folder = folder();
    let mut harness = open(&folder);
    answer(&mut harness, prompt(50, 600));
    shut_down(harness);
    let harness = open(&folder);
    (folder, harness)
}

#[test]
fn an_engine_reuses_the_blocks_that_an_earlier_engine_has_written() {
    let folder = folder();
    let mut harness = open(&folder);
    let (first, reused) = answer(&mut harness, prompt(50, 600));
    assert_eq!((reused, counts(&harness).num_writes), (0, 2));
    shut_down(harness);
    let mut harness = open(&folder);
    assert_eq!(answer(&mut harness, prompt(50, 600)), (first, 2 * BLOCK));
    let DiskCounts { num_hits, num_tokens_reused, num_reads, .. } = counts(&harness);
    assert_eq!((num_hits, num_tokens_reused, num_reads), (1, 512, 2));
}

#[test]
fn blocks_that_are_not_written_yet_are_written_when_the_engine_is_shut_down() {
    let folder = folder();
    let mut harness = open(&folder);
    let reader = harness.submit(prompt(50, 900));
    while harness.received.get(&reader).is_none_or(|received| received.end.is_none()) {
        harness.turn();
    }
    shut_down(harness);
    assert_eq!(files(&folder).len(), 3);
}

#[test]
fn a_prompt_of_whole_blocks_computes_its_last_token() {
    let (_folder, mut harness) = opened_again();
    assert_eq!(answer(&mut harness, prompt(50, 2 * BLOCK)).1, 2 * BLOCK - 1);
}

#[test]
fn a_request_waits_for_the_disk_at_most_as_long_as_computing_its_prompt_takes() {
    let (_folder, mut harness) = opened_again();
    answer(&mut harness, prompt(51, 300));
    let release = stall(&harness);
    let (first, began) = (harness.submit(prompt(50, 600)), harness.now());
    let Next::Wait(Some(until)) = harness.turn() else { panic!("the request waits") };
    let patience = until - began;
    assert!((450..600).contains(&patience.as_millis()), "512 tokens take half a second: {patience:?}");
    let counted = harness.shared.stats.snapshot(&harness.shared.answers);
    assert_eq!((counted.queued, counted.running), (1, 0));
    harness.clock.advance(patience);
    harness.turns(2);
    release.send(()).expect("the disk waits for the message");
    run(&mut harness);
    assert_eq!(harness.received[&first].summary().usage.cached_input_tokens, 0);
    assert_eq!(counts(&harness).num_hits, 0);
}

#[test]
fn requests_that_wait_for_the_disk_can_end() {
    let (_folder, mut harness) = opened_again();
    let release = stall(&harness);
    let late = harness.submit(Spec { timeout: Some(Duration::from_millis(5)), ..prompt(50, 600) });
    let cancelled = harness.submit(prompt(50, 601));
    let left = harness.submit(prompt(50, 602));
    let waits = harness.submit(prompt(50, 603));
    harness.turn();
    harness.cancel(cancelled);
    harness.release(left);
    harness.clock.advance(Duration::from_millis(5));
    harness.turn();
    assert_eq!(harness.received[&late].error(), Some(Code::Timeout));
    assert!(harness.received[&cancelled].summary().finish_reason == FinishReason::Cancelled);
    assert_eq!((harness.num_pending(), counts(&harness).num_reads), (1, 0));
    release.send(()).expect("the disk waits for the message");
    run(&mut harness);
    assert_eq!(harness.received[&waits].summary().usage.cached_input_tokens, 2 * BLOCK);
    assert_eq!(counts(&harness).num_reads, 2, "one read for all");
}

#[test]
fn an_engine_ends_while_requests_wait_for_the_disk() {
    let (_folder, mut harness) = opened_again();
    let release = stall(&harness);
    let reader = harness.submit(prompt(50, 600));
    harness.turn();
    harness.core.take(Command::Stop);
    harness.turn();
    assert_eq!(harness.received[&reader].error(), Some(Code::EngineClosed));
    release.send(()).expect("the disk waits for the message");
}

#[test]
fn a_model_is_unloaded_after_the_requests_that_wait_for_the_disk() {
    let (_folder, mut harness) = opened_again();
    let release = stall(&harness);
    let reader = harness.submit(prompt(50, 600));
    let unloaded = harness.unload();
    harness.turn();
    assert!(unloaded.try_recv().is_err());
    release.send(()).expect("the disk waits for the message");
    run(&mut harness);
    assert_eq!(harness.received[&reader].summary().usage.cached_input_tokens, 2 * BLOCK);
    assert!(unloaded.try_recv().is_ok());
}

#[test]
fn a_prompt_that_is_computed_faster_than_read_is_not_read() {
    let (_folder, mut harness) = opened_again();
    // Teaches the time of prompts.
    answer(&mut harness, prompt(51, 300));
    harness.shared.disk.get().expect("a store").slow_down(1.0);
    assert_eq!(answer(&mut harness, prompt(50, 600)).1, 0);
    assert_eq!((counts(&harness).num_skipped, counts(&harness).num_reads), (1, 0));
}

#[test]
fn no_block_and_no_request_is_lost_in_a_failed_step() {
    let folder = folder();
    let mut harness = open(&folder);
    let (expected, _) = answer(&mut harness, prompt(50, 600));
    shut_down(harness);
    for kind in [FaultKind::Submit, FaultKind::Collect, FaultKind::Panic] {
        let fault = Fault { step: 0, kind };
        let mut harness = failing(&folder, vec![fault]);
        assert_eq!(answer(&mut harness, prompt(50, 600)).0, expected, "{kind:?}");
        shut_down(harness);
        assert_eq!(files(&folder).len(), 2);
    }
}

#[test]
fn forgetting_prefixes_ends_reads_and_removes_files() {
    let (folder, mut harness) = opened_again();
    let reader = harness.submit(prompt(50, 600));
    harness.core.take(Command::ForgetPrefixes);
    run(&mut harness);
    assert_eq!(harness.received[&reader].summary().usage.cached_input_tokens, 0);
    assert_eq!((files(&folder).len(), counts(&harness).num_blocks), (0, 0), "the request writes no blocks");
}

#[test]
fn forgetting_prefixes_does_not_start_a_request_that_has_ended() {
    let (_folder, mut harness) = opened_again();
    let release = stall(&harness);
    let (cancelled, left) = (harness.submit(prompt(50, 600)), harness.submit(prompt(50, 601)));
    harness.cancel(cancelled);
    harness.release(left);
    harness.core.take(Command::ForgetPrefixes);
    harness.turn();
    let counted = harness.shared.stats.snapshot(&harness.shared.answers);
    assert_eq!((counted.queued, counted.running, counted.steps), (0, 0, 0));
    release.send(()).expect("the disk waits for the message");
}

/// What happens to an engine and its folder.
#[derive(Debug, Clone)]
enum Act {
    Submit(Asked),
    Turns(usize),
    /// The disk does all queued work.
    Settle,
    Cancel(prop::sample::Index),
    Clear,
    Restart,
    Damage(prop::sample::Index, prop::sample::Index),
    Limit(u64),
}

/// A prompt: its token, its length and its salt.
type Asked = (TokenId, usize, Option<&'static str>);

fn asked() -> impl Strategy<Value = Asked> {
    let lengths = prop::sample::select(vec![100, 256, 257, 300, 512, 600, 900, 1100]);
    (50..53u32, lengths, prop::sample::select(vec![None, Some("a"), Some("b")]))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => asked().prop_map(Act::Submit),
        8 => (1..40usize).prop_map(Act::Turns),
        4 => Just(Act::Settle),
        1 => any::<prop::sample::Index>().prop_map(Act::Cancel),
        1 => Just(Act::Clear),
        3 => Just(Act::Restart),
        1 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(file, at)| Act::Damage(file, at)),
        1 => prop::sample::select(vec![0, 5_000, 20_000, 1 << 20]).prop_map(Act::Limit),
    ]
}

fn damage(path: &PathBuf, at: prop::sample::Index) {
    let mut bytes = fs::read(path).unwrap_or_default();
    if !bytes.is_empty() {
        let at = at.index(bytes.len());
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("it can be written");
    }
}

/// The answer to each prompt without a disk.
static EXPECTED: LazyLock<HashMap<(TokenId, usize), Vec<TokenId>>> = LazyLock::new(|| {
    let mut harness = Harness::with_kv(100_000);
    let mut answers = HashMap::new();
    for token in 50..53 {
        for len in [100, 256, 257, 300, 512, 600, 900, 1100] {
            let reader = harness.submit(prompt(token, len));
            answers.insert((token, len), harness.answer(reader).whole.1);
        }
    }
    answers
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_whatever_happens_to_the_folder(acts in prop::collection::vec(act(), 1..60)) {
        let folder = folder();
        let mut harness = open(&folder);
        let mut readers: Vec<(ReaderId, Asked)> = Vec::new();
        let check = |harness: &mut Harness, readers: &mut Vec<(ReaderId, Asked)>| {
            run(harness);
            for (reader, (token, len, _)) in readers.drain(..) {
                let received = &harness.received[&reader];
                prop_assert_eq!(received.error(), None);
                let (found, whole) = (&received.whole.1, &EXPECTED[&(token, len)]);
                prop_assert!(found == whole || whole.starts_with(found), "{:?} instead of {:?}", found, whole);
            }
            prop_assert_eq!(harness.core.kv_held(), 0);
            Ok(())
        };
        for act in acts {
            match act {
                Act::Submit((token, prompt_len, salt)) => {
                    let reader = harness.submit(Spec { salt, prompt_len, ..spec(token) });
                    readers.push((reader, (token, prompt_len, salt)));
                }
                Act::Turns(count) => harness.turns(count),
                Act::Settle => settle(&harness),
                Act::Cancel(index) if !readers.is_empty() => harness.cancel(index.get(&readers).0),
                Act::Cancel(_) => {}
                Act::Clear => harness.core.take(Command::ForgetPrefixes),
                Act::Restart => {
                    check(&mut harness, &mut readers)?;
                    shut_down(harness);
                    harness = open(&folder);
                }
                Act::Damage(file, at) => {
                    let files = files(&folder);
                    if !files.is_empty() {
                        damage(file.get(&files), at);
                    }
                }
                Act::Limit(bytes) => harness.shared.disk.get().expect("a store").limit(bytes),
            }
        }
        check(&mut harness, &mut readers)?;
        shut_down(harness);
    }
}
