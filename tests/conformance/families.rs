//! Each family gives the tokens and logits of mlx-lm, in its own precision and in float32, with both implementations of
//! attention: alone, in a ragged batch, and with prompts cut into chunks.

use mlx_serving::config::Precision;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::request::SamplingParams;

use super::driver::{ANSWER, Driver, generate};
use super::seeded::{Case, Expected, cases};

/// The implementation of attention, and the precision.
type Way = (AttentionKind, Precision);

/// All configurations for a model in float32 on a CPU.
const FLOAT32: [Way; 2] = [(AttentionKind::Auto, Precision::Model), (AttentionKind::Composed, Precision::Model)];
/// The configurations for other models: half precision has no fused attention.
const OTHERS: [Way; 3] = [
    (AttentionKind::Composed, Precision::Model),
    (AttentionKind::Auto, Precision::Auto),
    (AttentionKind::Composed, Precision::Auto),
];

fn open(case: &Case, (attention, precision): Way) -> MlxExecutor {
    let backend = MlxBackend::new().expect("a backend").with_attention(attention).precision(precision, None);
    backend.open_mlx(&case.folder().folder).expect("a model")
}

/// Calls `look` for each case in each configuration.
fn for_each_way(look: impl Fn(&mut MlxExecutor, &Case, &str)) {
    for case in cases() {
        let is_float32 = case.config["torch_dtype"] == "float32" && case.config["quantization"].is_null();
        let ways = if is_float32 { &FLOAT32[..] } else { &OTHERS };
        for way in ways {
            look(&mut open(&case, *way), &case, &format!("{}, {way:?}", case.name));
        }
    }
}

fn assert_tokens(found: &[u32], prompt: &Expected, shown: &str) {
    assert_eq!(found[..prompt.tokens.len()], prompt.tokens[..], "{shown}, prompt of {}", prompt.prompt.len());
}

#[test]
fn each_family_gives_the_tokens_of_mlx_lm_alone() {
    for_each_way(|executor, case, shown| {
        for prompt in &case.prompts {
            let tokens = generate(executor, &prompt.prompt, SamplingParams::GREEDY);
            assert_tokens(&tokens, prompt, shown);
        }
    });
}

/// All prompts together, each cut into chunks.
fn assert_together(chunk: usize) {
    for_each_way(|executor, case, shown| {
        let mut driver = Driver::new(executor).with_chunk(chunk);
        for (id, prompt) in (0..).zip(&case.prompts) {
            driver.add(id, &prompt.prompt, SamplingParams::GREEDY);
        }
        driver.run_ahead(ANSWER);
        for (id, prompt) in (0..).zip(&case.prompts) {
            assert_tokens(&driver.remove(id), prompt, shown);
        }
    });
}

#[test]
fn each_family_gives_the_tokens_of_mlx_lm_in_a_ragged_batch() {
    assert_together(usize::MAX);
}

#[test]
fn each_family_gives_the_tokens_of_mlx_lm_with_prompts_in_chunks() {
    assert_together(20);
}

#[test]
fn each_family_gives_the_logits_of_mlx_lm_after_the_prompt() {
    for_each_way(|executor, case, shown| {
        for prompt in &case.prompts {
            let mut driver = Driver::new(executor);
            driver.add(0, &prompt.prompt, SamplingParams::GREEDY);
            let (off, allowed) = (distance(&driver.logits()[&0], &prompt.logits), prompt.tolerance);
            assert!(off <= allowed, "{shown}, prompt of {}: {off} > {allowed}", prompt.prompt.len());
        }
    });
}

/// The largest difference, relative to the largest magnitude.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    // `max` would ignore a NaN.
    off.fold(0.0, |worst: f32, off| if off <= worst { worst } else { off }) / largest
}
