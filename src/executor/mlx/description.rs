//! What a model is, as plain data: an architecture is a description, not a copy of a transformer. Adding one means
//! reading its `config.json` into these words here. The transformer that runs them is in `decoder`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::Fields;
use super::failure::bad_model;
use super::spec::{AttentionSpec, Rope, RopeScaling};
use crate::error::{Code, Error, Result};

/// The values of `model_type` in `config.json` that can be run.
pub(super) const KNOWN_MODEL_TYPES: [&str; 2] = ["llama", "mistral"];

/// One decoder-only transformer. Dimensions are `i32` because shapes are, on the device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Description {
    pub(super) hidden: i32,
    /// What each layer's attention is.
    pub(super) attention: Vec<AttentionSpec>,
    /// Width of the MLP.
    pub(super) intermediate: i32,
    /// Rows of the embedding and of the head.
    pub(super) vocab: i32,
    pub(super) norm_eps: f32,
    /// The head is the embedding. `config.json` says so by default; a head among the tensors overrules it, see
    /// `inventory`.
    pub(super) tied: bool,
    /// Biases of the q, k, v and o projections.
    pub(super) attention_bias: bool,
    /// Biases of the gate, up and down projections.
    pub(super) mlp_bias: bool,
    /// Positions for which this description is exact.
    pub(super) context_length: i32,
    pub(super) quantization: Option<Quantization>,
}

/// Which linear layers are quantized, and how, as `config.json` says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantization {
    default: Affine,
    /// By the path of the layer; `None` is "not quantized".
    overrides: BTreeMap<String, Option<Affine>>,
}

/// MLX's affine quantization: `group_size` neighbouring inputs share a scale and an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) bits: i32,
    pub(super) group_size: i32,
}

impl Quantization {
    /// How the layer at `path` is quantized; `None` if it is not.
    pub(super) fn of(&self, path: &str) -> Option<Affine> {
        self.overrides.get(path).copied().unwrap_or(Some(self.default))
    }
}

impl Description {
    /// Reads `config.json`. Every number is range-checked, so nothing computed from the result can overflow.
    pub(super) fn read(config: &Value) -> Result<Self> {
        let fields = Fields::new(config)?;
        check_model_type(fields)?;
        let hidden = fields.int("hidden_size", 1..=1 << 17)?;
        let heads = fields.int("num_attention_heads", 1..=1 << 12)?;
        let kv_heads = fields.optional_int("num_key_value_heads", 1..=1 << 12)?.unwrap_or(heads);
        let head_dim = fields.optional_int("head_dim", 2..=1 << 10)?.unwrap_or(hidden / heads);
        check_heads(heads, kv_heads, head_dim)?;
        #[allow(clippy::cast_sign_loss)] // at least 1
        let layers = fields.int("num_hidden_layers", 1..=1 << 10)? as usize;
        let attention = AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            #[allow(clippy::cast_possible_truncation)] // the device computes in f32
            scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
            softcap: None,
            window: None,
            rope: read_rope(fields)?,
            qk_norm: None,
        };
        Ok(Self {
            hidden,
            attention: vec![attention; layers],
            intermediate: fields.int("intermediate_size", 1..=1 << 20)?,
            vocab: fields.int("vocab_size", 1..=1 << 24)?,
            norm_eps: norm_eps(fields)?,
            tied: fields.flag("tie_word_embeddings", true)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", false)?,
            context_length: context_length(fields)?,
            quantization: read_quantization(fields)?,
        })
    }
}

fn check_model_type(fields: Fields<'_>) -> Result<()> {
    let known = KNOWN_MODEL_TYPES.join(", ");
    match fields.text("model_type")? {
        Some(model_type) if KNOWN_MODEL_TYPES.contains(&model_type) => {}
        Some(model_type) => {
            let shown: String = model_type.chars().take(80).collect();
            return Err(unsupported(format!("models of type `{shown}` cannot be run; known types: {known}")));
        }
        None => return Err(bad_model(format!("config.json has no `model_type`; known types: {known}"))),
    }
    match fields.text("hidden_act")? {
        None | Some("silu") => Ok(()),
        Some(other) => Err(unsupported(format!("`hidden_act` is `{other}`, only `silu` can be run"))),
    }
}

fn check_heads(heads: i32, kv_heads: i32, head_dim: i32) -> Result<()> {
    if heads % kv_heads != 0 {
        return Err(bad_model(format!(
            "config.json: `num_attention_heads` ({heads}) is not a multiple of `num_key_value_heads` ({kv_heads})"
        )));
    }
    if head_dim < 2 || head_dim % 2 != 0 {
        return Err(bad_model(format!("config.json: heads of {head_dim} values; a positive even number is needed")));
    }
    Ok(())
}

fn norm_eps(fields: Fields<'_>) -> Result<f32> {
    let eps = fields.optional_float("rms_norm_eps", 0.0..=1.0)?;
    let eps = eps.ok_or_else(|| bad_model("config.json has no `rms_norm_eps`"))?;
    #[allow(clippy::cast_possible_truncation)] // the device computes in f32
    Ok(eps as f32)
}

/// Sliding-window layers see the same positions as full attention as long as everything fits the window, so such a
/// model is run exactly by limiting its context to it.
fn context_length(fields: Fields<'_>) -> Result<i32> {
    // Beyond 2^24 an f32 cannot tell neighbouring positions apart.
    let positions = fields.optional_int("max_position_embeddings", 1..=1 << 24)?.unwrap_or(2048);
    let slides = fields.text("model_type")? == Some("mistral") || fields.get("layer_types").is_some();
    let window = fields.optional_int("sliding_window", 1..=1 << 27)?.filter(|_| slides);
    Ok(window.map_or(positions, |window| window.min(positions)))
}

fn read_rope(fields: Fields<'_>) -> Result<Rope> {
    // Newer exporters keep everything about rope in `rope_parameters`.
    let scaling = match fields.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => fields.object("rope_parameters")?,
    };
    let theta = |fields: Fields<'_>| fields.optional_float("rope_theta", 1e-3..=1e12);
    let inner = scaling.map(theta).transpose()?.flatten();
    Ok(Rope {
        base: theta(fields)?.or(inner).unwrap_or(10_000.0),
        scaling: scaling.map_or(Ok(RopeScaling::None), read_scaling)?,
        traditional: fields.flag("rope_traditional", false)?,
    })
}

fn read_scaling(fields: Fields<'_>) -> Result<RopeScaling> {
    let kind = match fields.text("type")? {
        Some(kind) => kind,
        None => fields.text("rope_type")?.unwrap_or("default"),
    };
    let number = |name: &str, default: Option<f64>| {
        let found = fields.optional_float(name, 1e-6..=1e9)?.or(default);
        found.ok_or_else(|| bad_model(format!("config.json: `rope_scaling` has no `{name}`")))
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("factor", None)? }),
        "llama3" => {
            let (low, high) = (number("low_freq_factor", Some(1.0))?, number("high_freq_factor", Some(4.0))?);
            if low >= high {
                return Err(bad_model(format!(
                    "config.json: `rope_scaling.low_freq_factor` ({low}) is not below `high_freq_factor` ({high})"
                )));
            }
            let original = number("original_max_position_embeddings", Some(8192.0))?;
            Ok(RopeScaling::Llama3 { factor: number("factor", None)?, low, high, original })
        }
        other => Err(unsupported(format!("rope scaling of type `{other}`; known types: default, linear, llama3"))),
    }
}

/// `quantization` is MLX's own word; `quantization_config` is its copy in MLX exports and something else elsewhere.
fn read_quantization(fields: Fields<'_>) -> Result<Option<Quantization>> {
    let fields = match fields.object("quantization")? {
        Some(found) => found,
        None => match fields.object("quantization_config")? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    if let Some(method) = fields.text("quant_method")? {
        return Err(unsupported(format!("weights quantized by `{method}`; only MLX's affine quantization can be run")));
    }
    let default = read_affine(fields)?;
    let mut overrides = BTreeMap::new();
    for (path, value) in fields.iter() {
        let choice = match value {
            Value::Bool(true) => Some(default),
            Value::Bool(false) => None,
            Value::Object(_) => Some(read_affine(Fields::new(value)?)?),
            _ => continue,
        };
        overrides.insert(path.clone(), choice);
    }
    Ok(Some(Quantization { default, overrides }))
}

fn read_affine(fields: Fields<'_>) -> Result<Affine> {
    match fields.text("mode")? {
        None | Some("affine") => {}
        Some(mode) => return Err(unsupported(format!("quantization mode `{mode}`; known modes: affine"))),
    }
    let affine = Affine { bits: fields.int("bits", 2..=8)?, group_size: fields.int("group_size", 32..=128)? };
    if affine.bits == 7 || ![32, 64, 128].contains(&affine.group_size) {
        return Err(bad_model(format!(
            "config.json: quantization to {} bits in groups of {}; known are 2, 3, 4, 5, 6, 8 bits in groups of 32, 64, 128",
            affine.bits, affine.group_size
        )));
    }
    Ok(affine)
}

fn unsupported(message: String) -> Error {
    Error::new(Code::UnsupportedModel, message)
}
