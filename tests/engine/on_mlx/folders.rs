//! Model folders: the demo model in half precision or at 4 bits, stored as mlx-lm stores models, and family fixtures with a
//! tokenizer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_serving::request::TokenId;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::seeded::{Case, to_bfloat16, to_float16};

/// The format of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Float32,
    Float16,
    Bfloat16,
    /// Matrices in groups of [`GROUP`], with scales and biases in bfloat16; the rest in bfloat16.
    FourBits,
}

/// Number of values that share a scale and a bias.
const GROUP: usize = 64;
/// Number of 4-bit codes in a 32-bit word.
const CODES: usize = 8;
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A tensor as bytes of an element type.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

fn demo_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// The demo model in a format. Rows that read the token `nan` have NaN logits.
pub(super) fn demo(stored: Stored, nan: Option<TokenId>) -> TempDir {
    let files = tempfile::tempdir().expect("a folder");
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::copy(demo_folder().join(name), files.path().join(name)).expect("a copy");
    }
    fs::write(files.path().join("config.json"), config(stored, nan).to_string()).expect("a written file");
    let bytes = fs::read(demo_folder().join("model.safetensors")).expect("weights");
    let mut tensors = BTreeMap::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes).expect("tensors").iter() {
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let (shape, mut own) = (tensor.shape(), values.clone());
        if let Some(token) = nan.filter(|_| name == EMBEDDING) {
            // The head is the embedding, unless it has a tensor of its own.
            store(&mut tensors, "lm_head.weight", shape, &values, stored);
            own[token as usize * shape[1]..][..shape[1]].fill(f32::NAN);
        }
        store(&mut tensors, name, shape, &own, stored);
    }
    write(&tensors, &files.path().join("model.safetensors"));
    files
}

fn config(stored: Stored, nan: Option<TokenId>) -> Value {
    let mut config: Value =
        serde_json::from_slice(&fs::read(demo_folder().join("config.json")).expect("a config")).expect("JSON");
    config["dtype"] = match stored {
        Stored::Float32 => json!("float32"),
        Stored::Float16 => json!("float16"),
        Stored::Bfloat16 | Stored::FourBits => json!("bfloat16"),
    };
    if stored == Stored::FourBits {
        let quantization = json!({"group_size": GROUP, "bits": 4, "mode": "affine"});
        config["quantization"] = quantization.clone();
        config["quantization_config"] = quantization;
    }
    config["tie_word_embeddings"] = json!(nan.is_none());
    config
}

/// Adds a tensor, or its quantized parts.
fn store(tensors: &mut BTreeMap<String, Tensor>, name: &str, shape: &[usize], values: &[f32], stored: Stored) {
    if let (Stored::FourBits, Some(path), &[rows, width]) = (stored, name.strip_suffix(".weight"), shape) {
        let (mut codes, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for group in values.chunks(GROUP) {
            let (scale, bias, group) = quantized(group);
            codes.extend(group);
            scales.push(scale);
            biases.push(bias);
        }
        tensors.insert(name.to_owned(), (Dtype::U32, vec![rows, width / CODES], codes));
        for (suffix, values) in [("scales", scales), ("biases", biases)] {
            let shape = vec![rows, width / GROUP];
            tensors.insert(format!("{path}.{suffix}"), (Dtype::BF16, shape, bytes(&values, Dtype::BF16)));
        }
        return;
    }
    let dtype = match stored {
        Stored::Float32 => Dtype::F32,
        Stored::Float16 => Dtype::F16,
        Stored::Bfloat16 | Stored::FourBits => Dtype::BF16,
    };
    tensors.insert(name.to_owned(), (dtype, shape.to_vec(), bytes(values, dtype)));
}

fn bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|value| half(*value).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|value| to_bfloat16(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// The conversion of weights knows numbers only.
fn half(value: f32) -> u16 {
    if value.is_nan() { 0x7e00 } else { to_float16(value) }
}

/// MLX's affine quantization to 4 bits: scale, bias, and codes, eight in a word. The value of the group that is farthest from
/// zero is represented exactly, and so is zero.
fn quantized(values: &[f32]) -> (f32, f32, Vec<u8>) {
    if values.iter().any(|value| value.is_nan()) {
        return (f32::NAN, f32::NAN, vec![0; values.len() / 2]);
    }
    let (least, most) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), value| (a.min(*value), b.max(*value)));
    let is_below = least.abs() > most.abs();
    let (edge, sign) = if is_below { (least, 1.0) } else { (most, -1.0) };
    let scale = sign * ((most - least) / 15.0).max(1e-7);
    let steps = (edge / scale).round();
    let (scale, bias) = if steps == 0.0 { (scale, 0.0) } else { (edge / steps, edge) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 15
    let code = |value: &f32| ((value - bias) / scale).round().clamp(0.0, 15.0) as u32;
    let word = |values: &[f32]| values.iter().rev().fold(0, |word, value| word << 4 | code(value));
    (scale, bias, values.chunks(CODES).flat_map(|values| word(values).to_le_bytes()).collect())
}

fn write(tensors: &BTreeMap<String, Tensor>, path: &Path) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor of its shape"))
    });
    serialize_to_file(views, None, path).expect("a file");
}

/// A family fixture with the first tokens of the demo model's vocabulary.
pub(super) fn family(case: &Case) -> TempDir {
    let files = case.files();
    let bytes = fs::read(demo_folder().join("tokenizer.json")).expect("a tokenizer");
    let mut tokenizer: Value = serde_json::from_slice(&bytes).expect("JSON");
    let vocab_size = case.config["vocab_size"].as_u64().expect("a number");
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("tokens");
    vocabulary.retain(|_, id| id.as_u64().is_some_and(|id| id < vocab_size));
    fs::write(files.path().join("tokenizer.json"), tokenizer.to_string()).expect("a written file");
    files
}
