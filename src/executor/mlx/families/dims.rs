//! Reads the fields that most families have under the same names: sizes, attention, MLP, biases, activations.

use super::super::config::Fields;
use super::super::failure::{bad_model, unsupported};
use super::super::quantization::Quantization;
use super::super::spec::{
    Activation, AttentionSpec, DenseSpec, HeadSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, Norms, Residual, Rope,
};
use super::super::tensor_names::Names;
use crate::error::Result;

/// Sizes of a model.
pub(super) struct Dims {
    hidden: i32,
    vocab: i32,
    pub(super) layers: usize,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    /// Epsilon of all norms.
    pub(super) eps: f32,
    pub(super) positions: i32,
}

impl Dims {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let hidden = fields.int("hidden_size", 1..=1 << 17)?;
        let heads = fields.int("num_attention_heads", 1..=1 << 12)?;
        let kv_heads = fields.optional_int("num_key_value_heads", 1..=1 << 12)?.unwrap_or(heads);
        let head_dim = match fields.optional_int("head_dim", 2..=1 << 10)? {
            Some(head_dim) => head_dim,
            None => shared_among(hidden, heads)?,
        };
        check_heads(heads, kv_heads, head_dim)?;
        #[allow(clippy::cast_sign_loss)] // at least 1
        let layers = fields.int("num_hidden_layers", 1..=1 << 10)? as usize;
        Ok(Self {
            hidden,
            vocab: fields.int("vocab_size", 1..=1 << 24)?,
            layers,
            heads,
            kv_heads,
            head_dim,
            eps: narrow(fields.float("rms_norm_eps", 0.0..=1.0)?),
            // Beyond 2^24, float32 does not represent every integer, so neighbouring positions would be equal.
            positions: fields.optional_int("max_position_embeddings", 1..=1 << 24)?.unwrap_or(2048),
        })
    }

    /// Plain causal attention, scaled by the square root of the head size.
    pub(super) fn attention(&self, rope: Rope) -> AttentionSpec {
        let Self { heads, kv_heads, head_dim, .. } = *self;
        let scale = narrow(f64::from(head_dim).powf(-0.5));
        AttentionSpec { heads, kv_heads, head_dim, scale, softcap: None, window: None, rope, qk_norm: None }
    }

    /// A model with one layer for each entry of `windows`: `layer` with that attention window.
    pub(super) fn model(&self, fields: &Fields<'_>, layer: &LayerSpec, windows: Vec<Option<i32>>) -> Result<ModelSpec> {
        let layers = windows.into_iter().map(|window| {
            let attention = AttentionSpec { window, ..layer.attention.clone() };
            LayerSpec { attention, ..layer.clone() }
        });
        Ok(ModelSpec {
            hidden: self.hidden,
            vocab: self.vocab,
            embedding_scale: None,
            layers: layers.collect(),
            norm: NormSpec { eps: self.eps, adds_one: false },
            head: HeadSpec { is_tied: fields.flag("tie_word_embeddings", true)?, ..HeadSpec::default() },
            context_length: self.positions,
            quantization: Quantization::read(fields)?,
            names: Names::LLAMA,
        })
    }

    /// The square root of `hidden`, the factor of embeddings in some families.
    pub(super) fn sqrt_hidden(&self) -> f32 {
        narrow(f64::from(self.hidden).sqrt())
    }
}

/// A layer with norms before attention and MLP, a dense MLP, and no biases.
pub(super) fn plain_layer(fields: &Fields<'_>, attention: AttentionSpec) -> Result<LayerSpec> {
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let mlp = DenseSpec { width: fields.int("intermediate_size", 1..=1 << 20)?, activation, bias: false };
    Ok(LayerSpec {
        attention,
        qkv_bias: false,
        output_bias: false,
        mlp: MlpSpec::Dense(mlp),
        norms: Norms::Pre,
        residual: Residual::default(),
    })
}

/// Adds the biases that `attention_bias` and `mlp_bias` ask for.
pub(super) fn with_biases(fields: &Fields<'_>, mut layer: LayerSpec) -> Result<LayerSpec> {
    layer.qkv_bias = fields.flag("attention_bias", false)?;
    layer.output_bias = layer.qkv_bias;
    if let MlpSpec::Dense(mlp) = &mut layer.mlp {
        mlp.bias = fields.flag("mlp_bias", false)?;
    }
    Ok(layer)
}

/// A nonlinearity by its name in `config.json`.
pub(super) fn activation(fields: &Fields<'_>, name: &str, default: Activation) -> Result<Activation> {
    match fields.text(name)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            let shown: String = other.chars().take(80).collect();
            Err(unsupported(name, format!("`{shown}` is not supported; known activations: silu, gelu_pytorch_tanh")))
        }
    }
}

/// An optional soft cap.
pub(super) fn softcap(fields: &Fields<'_>, name: &str) -> Result<Option<f32>> {
    Ok(fields.optional_float(name, 1e-3..=1e6)?.map(narrow))
}

/// Rounds to float32, in which the device computes.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn narrow(number: f64) -> f32 {
    number as f32
}

/// Values per head if `config.json` has no `head_dim`.
fn shared_among(hidden: i32, heads: i32) -> Result<i32> {
    if hidden < 2 * heads {
        let message = format!(
            "config.json: `num_attention_heads` is {heads} and `hidden_size` {hidden}, which leaves no values for a head: \
             expected fewer heads or a `head_dim`"
        );
        return Err(bad_model(message).with_param("num_attention_heads"));
    }
    Ok(hidden / heads)
}

fn check_heads(heads: i32, kv_heads: i32, head_dim: i32) -> Result<()> {
    if heads % kv_heads != 0 {
        let message =
            format!("`num_attention_heads` ({heads}) is not a multiple of `num_key_value_heads` ({kv_heads})");
        return Err(bad_model(format!("config.json: {message}")).with_param("num_attention_heads"));
    }
    if head_dim < 2 || head_dim % 2 != 0 {
        let message = format!("`head_dim` is {head_dim}, expected a positive even number");
        return Err(bad_model(format!("config.json: {message}")).with_param("head_dim"));
    }
    Ok(())
}
