//! Weights that another thread reads, and loads that are aborted. A separate test program, because MLX counts the
//! memory of its process.

#![cfg(feature = "mlx")]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mlx_rs::memory::{active_memory, cache_memory};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend};
use mlx_serving::executor::{Backend, Executor, LoadControl, LoadProgress};
use mlx_serving::hub::{ModelFolder, open_folder};
use mlx_serving::request::{SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Row};

const PROMPT: usize = 200;
const SEQUENCE: SequenceId = SequenceId(0);

fn demo() -> ModelFolder {
    open_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")).expect("the demo model")
}

fn backend(attention: AttentionKind) -> Arc<dyn Backend> {
    Arc::new(MlxBackend::new().expect("a backend").with_attention(attention))
}

/// The tokens after a prompt.
fn tokens(executor: &mut dyn Executor) -> Vec<TokenId> {
    let prompt: Arc<[TokenId]> = (20..).take(PROMPT).collect();
    let admit = vec![Admission { max_positions: PROMPT + 9, ..Admission::of(SEQUENCE, &prompt) }];
    let reading = Row { sequence: SEQUENCE, start: 0, feed: Feed::Prompt { len: PROMPT }, sample: true };
    let mut plan = Plan { admit, rows: vec![reading], ..Plan::default() };
    let mut tokens = Vec::new();
    for step in 1..9 {
        executor.submit(&plan).expect("a step");
        tokens.extend(executor.collect().expect("a token").tokens.iter().map(|(_, token)| *token));
        let start = PROMPT + step - 1;
        let rows = vec![Row { sequence: SEQUENCE, start, feed: Feed::Sampled, sample: true }];
        plan = Plan { step: step as u64, rows, ..Plan::default() };
    }
    tokens
}

/// Loads the demo model with weights that another thread reads.
fn load(backend: &Arc<dyn Backend>, control: &LoadControl) -> Result<Box<dyn Executor>, Error> {
    let (reader, control) = (Arc::clone(backend), control.clone());
    let prepared = thread::spawn(move || reader.prepare(&demo(), None, &control)).join().expect("no panic");
    let mut prepared = prepared?;
    loop {
        if let Some(executor) = prepared.advance()? {
            return Ok(executor);
        }
    }
}

fn weights_of_another_thread_give_the_same_tokens() {
    for attention in [AttentionKind::Auto, AttentionKind::Composed] {
        let backend = backend(attention);
        let mut own = backend.open(&demo(), None).expect("a model");
        let mut other = load(&backend, &LoadControl::default()).expect("a model");
        assert_eq!(tokens(&mut *own), tokens(&mut *other), "{attention:?}");
    }
}

fn an_aborted_load_gives_its_memory_back_whenever_it_is_aborted() {
    let before = active_memory().expect("the memory in use");
    for attention in [AttentionKind::Auto, AttentionKind::Composed] {
        let backend = backend(attention);
        for delay in (0..20).map(|step| Duration::from_micros(step * 500)) {
            let control = LoadControl::default();
            let aborting = control.clone();
            let abort = thread::spawn(move || {
                thread::sleep(delay);
                aborting.abort(Error::new(Code::Cancelled, "aborted"));
            });
            match load(&backend, &control) {
                Ok(executor) => drop(executor),
                Err(error) => assert_eq!(error.code(), Code::Cancelled, "{error}"),
            }
            abort.join().expect("no panic");
            assert_eq!(active_memory().expect("the memory in use"), before, "{attention:?}, after {delay:?}");
        }
        let aborted = LoadControl::default();
        aborted.abort(Error::new(Code::Cancelled, "aborted"));
        assert!(load(&backend, &aborted).is_err());
        assert!(load(&backend, &LoadControl::default()).is_ok(), "the same model can be loaded");
    }
}

/// The folder of a quantized model, in several files.
fn sharded() -> ModelFolder {
    let folder = "tools/conformance/fixtures/q4-g64";
    open_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a model")
}

fn a_load_counts_the_bytes_of_each_tensor_once() {
    for attention in [AttentionKind::Auto, AttentionKind::Composed] {
        for folder in [demo(), sharded()] {
            let control = LoadControl::default();
            assert_eq!(control.progress(), LoadProgress::default());
            // Twice the bytes, so that this limit does not hide a tensor that is counted twice.
            let total_bytes = 2 * folder.weight_bytes;
            control.expect_bytes(total_bytes);
            let mut prepared = backend(attention).prepare(&folder, None, &control).expect("a model");
            let loaded_bytes = folder.weight_bytes;
            assert_eq!(control.progress(), LoadProgress { loaded_bytes, total_bytes }, "{}", folder.path.display());
            while prepared.advance().expect("a model").is_none() {}
        }
    }
}

fn progress_is_visible_while_weights_are_loaded() {
    let seen_between = || {
        let control = LoadControl::default();
        control.expect_bytes(demo().weight_bytes);
        let (reader, loading) = (backend(AttentionKind::Auto), control.clone());
        let load = thread::spawn(move || reader.prepare(&demo(), None, &loading).map(drop));
        let mut num_between = 0;
        let mut last = 0;
        while !load.is_finished() {
            let LoadProgress { loaded_bytes, total_bytes } = control.progress();
            assert!((last..=total_bytes).contains(&loaded_bytes));
            num_between += usize::from(last < loaded_bytes && loaded_bytes < total_bytes);
            last = loaded_bytes;
            thread::yield_now();
        }
        load.join().expect("no panic").expect("a model");
        num_between
    };
    assert!((0..100).any(|_| seen_between() > 1));
}

fn buffers_that_are_kept_for_reuse_stay_within_their_part_of_the_memory() {
    const BOUND: u64 = 1 << 16;
    let backend = MlxBackend::new().expect("a backend").with_attention(AttentionKind::Composed);
    let backend = backend.bound_buffer_cache(Some(32 * BOUND)).expect("a bound");
    let mut executor = backend.open(&demo(), None).expect("a model");
    assert_eq!(tokens(&mut *executor).len(), 8);
    assert!(cache_memory().expect("the cached memory") as u64 <= BOUND);
}

/// One after another, because each counts the memory of the process.
#[test]
fn loads_on_other_threads_give_the_same_tokens_and_release_their_memory() {
    weights_of_another_thread_give_the_same_tokens();
    an_aborted_load_gives_its_memory_back_whenever_it_is_aborted();
    a_load_counts_the_bytes_of_each_tensor_once();
    progress_is_visible_while_weights_are_loaded();
    buffers_that_are_kept_for_reuse_stay_within_their_part_of_the_memory();
}
