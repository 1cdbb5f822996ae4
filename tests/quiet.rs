//! Dropping a model in the middle of a step waits for MLX's threads: the process may end next, or another model may
//! need the memory. A separate test program, because MLX counts the memory of its process.

#![cfg(feature = "mlx")]

use std::path::Path;
use std::sync::Arc;

use mlx_rs::memory::{active_memory, cache_memory};
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend};
use mlx_serving::hub::open_folder;
use mlx_serving::request::{SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Row};

/// Enough prompt for some milliseconds of work. Dropping a model takes microseconds.
const PROMPT: usize = 400;

/// A step that reads a prompt, and a step that samples the next token.
fn plans() -> [Plan; 2] {
    let sequence = SequenceId(0);
    let prompt: Arc<[TokenId]> = vec![7; PROMPT].into();
    let reading = Row { sequence, start: 0, feed: Feed::Prompt { len: PROMPT }, sample: true };
    let decoding = Row { sequence, start: PROMPT, feed: Feed::Sampled, sample: true };
    let admit = vec![Admission { max_positions: PROMPT + 2, ..Admission::of(sequence, &prompt) }];
    [Plan { admit, rows: vec![reading], ..Plan::default() }, Plan { step: 1, rows: vec![decoding], ..Plan::default() }]
}

#[test]
fn dropping_a_model_in_mid_step_waits_for_the_threads_of_the_device() {
    let folder = open_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")).expect("the demo model");
    for attention in [AttentionKind::Auto, AttentionKind::Composed] {
        let before = active_memory().expect("the memory in use");
        for _ in 0..3 {
            let backend = MlxBackend::new().expect("a backend").with_attention(attention);
            let mut executor = { backend }.open_mlx(&folder).expect("a model");
            for plan in plans() {
                executor.submit(&plan).expect("a step");
            }
            drop(executor);
            assert_eq!(active_memory().expect("the memory in use"), before, "{attention:?}: a step is under way");
            assert_eq!(cache_memory().expect("the cached memory"), 0, "{attention:?}: dropped memory is released");
        }
    }
}
