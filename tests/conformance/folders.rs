//! The fixtures: model folders and what mlx-lm answers for them. `tools/conformance` makes them.

use std::path::PathBuf;

use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::hub::{ModelFolder, open_folder};
use mlx_serving::request::TokenId;
use safetensors::SafeTensors;
use serde_json::Value;

/// mlx-lm's answer to one prompt.
pub(crate) struct Expected {
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) logits: Vec<f32>,
    /// The largest allowed error of logits, relative to the largest of the row.
    pub(crate) tolerance: f32,
    /// Each token leads by at least twice the tolerance, so a device with other rounding chooses the same.
    pub(crate) is_clear: bool,
}

/// Every conformance case.
pub(crate) const CASES: [&str; 17] = [
    "base",
    "bf16",
    "biases",
    "defaults",
    "f16",
    "head-dim",
    "q-mixed",
    "q2-g32",
    "q3-g64",
    "q4-g128",
    "q4-g64",
    "q6-g64",
    "q8-g32",
    "rope-linear",
    "rope-llama3",
    "rope-traditional",
    "sharded",
];

/// The model folder of a case.
pub(crate) fn folder(case: &str) -> ModelFolder {
    open_folder(&path(case)).expect("a sound model folder")
}

/// The model of a case, loaded.
pub(crate) fn open(case: &str, attention: AttentionKind) -> MlxExecutor {
    let backend = MlxBackend::new().expect("a backend");
    backend.with_attention(attention).open_mlx(&folder(case)).expect("a model")
}

/// mlx-lm's answer with logits processors.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Adjusted {
    pub(crate) prompt_tokens: Vec<TokenId>,
    pub(crate) greedy_tokens: Vec<TokenId>,
    pub(crate) logit_bias: Vec<(TokenId, f32)>,
    pub(crate) repetition_penalty: f32,
    pub(crate) repetition_context: u32,
}

/// The recorded answers with logits processors, all of the case "base".
pub(crate) fn adjusted() -> Vec<Adjusted> {
    #[derive(serde::Deserialize)]
    struct File {
        answers: Vec<Adjusted>,
    }
    let bytes = std::fs::read(path("base").join("adjusted.json")).expect("a fixture file");
    serde_json::from_slice::<File>(&bytes).expect("what the script writes").answers
}

/// The recorded log-probabilities of the case "base" after the prompt of that length: of every token of the vocabulary, at each
/// of the first greedy tokens.
pub(crate) fn logprobs(prompt_len: usize, vocab_size: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path("base").join("logprobs.safetensors")).expect("a fixture file");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let all = floats(&tensors, &format!("logprobs.{prompt_len}"));
    all.chunks(vocab_size).map(<[f32]>::to_vec).collect()
}

/// The expected results of a case, for each prompt. Only a CPU rounds as the device of the fixtures does: on other devices
/// prompts with unclear tokens are left out, and `npm run conformance` names their cases.
pub(crate) fn expected_on(executor: &MlxExecutor, case: &str) -> Vec<Expected> {
    let is_same_device = executor.limits().device.contains("CPU");
    expected(case).into_iter().filter(|expected| is_same_device || expected.is_clear).collect()
}

/// The expected results of a case, for each prompt.
pub(crate) fn expected(case: &str) -> Vec<Expected> {
    let read = |name: &str| std::fs::read(path(case).join(name)).expect("a fixture file");
    let list: Value = serde_json::from_slice(&read("expected.json")).expect("JSON");
    let tensors = read("expected.safetensors");
    let tensors = SafeTensors::deserialize(&tensors).expect("tensors");
    let prompts = list["prompts"].as_array().expect("a list of prompts");
    let number = |prompt: &Value, name: &str| prompt[name].as_f64().expect("a number");
    let expected = prompts.iter().map(|prompt| Expected {
        prompt: tokens(&prompt["prompt_tokens"]),
        tokens: tokens(&prompt["greedy_tokens"]),
        logits: floats(&tensors, prompt["logits"].as_str().expect("a name")),
        #[allow(clippy::cast_possible_truncation)]
        tolerance: number(prompt, "tolerance") as f32,
        is_clear: number(prompt, "min_margin") >= 2.0 * number(prompt, "tolerance"),
    });
    expected.collect()
}

/// The folder of a case.
pub(crate) fn path(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/conformance/fixtures").join(case)
}

fn tokens(value: &Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).expect("a list of tokens")
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).expect("a tensor").data();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
