//! The model families. Each has a file that reads its `config.json` into a [`ModelSpec`] and names its tensors. A new family
//! is a new file, a line in [`FAMILIES`] and fixtures. `dims`, `rope` and `window` read what families share.

mod dims;
mod gemma2;
mod gemma3_text;
mod granite;
mod llama;
mod mistral;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod rope;
mod window;

use serde_json::Value;

use super::config::Fields;
use super::failure::{bad_model, unsupported};
use super::spec::ModelSpec;
use crate::error::Result;

/// Reads the `config.json` of a family.
type Read = fn(&Fields<'_>) -> Result<ModelSpec>;

/// The families by `model_type`.
const FAMILIES: [(&str, Read); 9] = [
    ("gemma2", gemma2::read),
    ("gemma3_text", gemma3_text::read),
    ("granite", granite::read),
    ("llama", llama::read),
    ("mistral", mistral::read),
    ("qwen2", qwen2::read),
    ("qwen2_moe", qwen2_moe::read),
    ("qwen3", qwen3::read),
    ("qwen3_moe", qwen3_moe::read),
];

/// A field whose name contains one of these probably changes the computation.
const COMPUTED: [&str; 35] = [
    "_act",
    "activation",
    "attention",
    "attn",
    "bias",
    "chunk",
    "clip",
    "compress",
    "conv",
    "embed",
    "expert",
    "gate",
    "head",
    "hyper",
    "layer",
    "lora",
    "mamba",
    "mlp",
    "moe",
    "multiplier",
    "norm",
    "parallel",
    "position",
    "quant",
    "query",
    "rank",
    "residual",
    "rope",
    "rotary",
    "scal",
    "sink",
    "softcap",
    "sparse",
    "ssm",
    "window",
];

/// A field whose name contains one of these does not change the computation: it concerns training, or selects an implementation.
const NOT_COMPUTED: [&str; 8] =
    ["dropout", "_coef", "_eps", "epsilon", "implementation", "initializer", "quantization_config", "router_logits"];

/// Reads `config.json`. A field that its family does not read and that may change the computation is an error.
pub(super) fn read(config: &Value) -> Result<ModelSpec> {
    let fields = Fields::new(config)?;
    let mut model = family(&fields)?(&fields)?;
    fields.refuse_unread(changes_computation)?;
    drop_wide_windows(&mut model);
    Ok(model)
}

fn family(fields: &Fields<'_>) -> Result<Read> {
    let known = FAMILIES.map(|(model_type, _)| model_type).join(", ");
    let Some(model_type) = fields.text("model_type")? else {
        return Err(
            bad_model(format!("config.json has no `model_type`; known types: {known}")).with_param("model_type")
        );
    };
    let found = FAMILIES.iter().find(|(known, _)| *known == model_type);
    found.map(|(_, read)| *read).ok_or_else(|| {
        let shown: String = model_type.chars().take(80).collect();
        unsupported("model_type", format!("models of type `{shown}` are not supported; known types: {known}"))
    })
}

fn changes_computation(name: &str) -> bool {
    let any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    !name.starts_with('_') && any(&COMPUTED) && !any(&NOT_COMPUTED)
}

/// Removes windows that are at least as wide as the context, which change nothing.
fn drop_wide_windows(model: &mut ModelSpec) {
    let positions = model.context_length;
    for layer in &mut model.layers {
        layer.attention.window = layer.attention.window.filter(|window| *window < positions);
    }
}
