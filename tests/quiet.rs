//! A model that is dropped in the middle of a step leaves nobody at work: what comes next may be the end of the process,
//! or a model that needs the memory. A test program of its own, since MLX counts the memory of its process.

#![cfg(feature = "mlx")]

use std::path::Path;
use std::sync::Arc;

use mlx_rs::memory::{active_memory, cache_memory};
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend};
use mlx_serving::hub::open_folder;
use mlx_serving::request::{SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Row};

/// Some milliseconds of work: dropping a model takes microseconds.
const PROMPT: usize = 400;

/// A step that reads a prompt, and one that draws the token after the prompt's.
fn plans() -> [Plan; 2] {
    let sequence = SequenceId(0);
    let prompt: Arc<[TokenId]> = vec![7; PROMPT].into();
    let reading = Row { sequence, start: 0, feed: Feed::Prompt { len: PROMPT }, sample: true };
    let drawing = Row { sequence, start: PROMPT, feed: Feed::Sampled, sample: true };
    let admit = vec![Admission { max_positions: PROMPT + 2, ..Admission::of(sequence, &prompt) }];
    [Plan { admit, rows: vec![reading], ..Plan::default() }, Plan { step: 1, rows: vec![drawing], ..Plan::default() }]
}

#[test]
fn a_model_that_is_dropped_in_mid_step_leaves_nobody_at_work() {
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
            assert_eq!(cache_memory().expect("the memory kept"), 0, "{attention:?}: what was dropped is given back");
        }
    }
}
