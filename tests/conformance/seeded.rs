//! Models from a seed: the same weights as in `tools/conformance/seeded.py`, bit by bit. A family fixture lists its tensors
//! instead of storing them.

use std::fs;
use std::path::{Path, PathBuf};

use mlx_serving::hub::{ModelFolder, open_folder};
use mlx_serving::request::TokenId;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// A model with mlx-lm's answers.
#[derive(Deserialize)]
pub(crate) struct Case {
    #[serde(rename = "case")]
    pub(crate) name: String,
    seed: u64,
    pub(crate) config: Value,
    tensors: Vec<Tensor>,
    pub(crate) prompts: Vec<Expected>,
}

/// mlx-lm's answer to a prompt, as far as it does not depend on rounding.
#[derive(Deserialize)]
pub(crate) struct Expected {
    #[serde(rename = "prompt_tokens")]
    pub(crate) prompt: Vec<TokenId>,
    #[serde(rename = "greedy_tokens")]
    pub(crate) tokens: Vec<TokenId>,
    /// The logits after the prompt.
    pub(crate) logits: Vec<f32>,
    /// The largest allowed error of logits, relative to the largest of the row.
    pub(crate) tolerance: f32,
}

/// Name, type, shape, center and spread of a uniform distribution; type `U32` is random bits.
#[derive(Deserialize)]
struct Tensor(String, String, Vec<usize>, f64, f64);

/// A model folder, removed when dropped.
pub(crate) struct SeededFolder {
    pub(crate) folder: ModelFolder,
    _files: TempDir,
}

/// The family fixtures by name, or the models that `npm run conformance:live` made.
pub(crate) fn cases() -> Vec<Case> {
    let checked_in = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/conformance/families");
    let folder = std::env::var_os("CONFORMANCE_FAMILIES").map_or_else(checked_in, PathBuf::from);
    let entries = fs::read_dir(&folder).expect("a folder of fixtures");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a fixture").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures in {}", folder.display());
    let read =
        |path: &PathBuf| serde_json::from_slice(&fs::read(path).expect("a file")).expect("what the script writes");
    paths.iter().map(read).collect()
}

/// The family fixture of this name.
pub(crate) fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).expect("a family fixture")
}

impl Case {
    /// Writes the model folder.
    pub(crate) fn folder(&self) -> SeededFolder {
        let files = self.files();
        SeededFolder { folder: open_folder(files.path()).expect("a sound model folder"), _files: files }
    }

    /// The files of the model folder; there is no tokenizer among them.
    pub(crate) fn files(&self) -> TempDir {
        let files = tempfile::tempdir().expect("a folder");
        fs::write(files.path().join("config.json"), self.config.to_string()).expect("a written file");
        self.write_weights(&files.path().join("model.safetensors"));
        files
    }

    fn write_weights(&self, path: &Path) {
        let bytes: Vec<_> = self.tensors.iter().map(|tensor| tensor.bytes(self.seed)).collect();
        let view = |(tensor, bytes)| {
            let Tensor(name, kind, shape, ..): &Tensor = tensor;
            let dtype = match kind.as_str() {
                "U32" => Dtype::U32,
                "F32" => Dtype::F32,
                "F16" => Dtype::F16,
                _ => Dtype::BF16,
            };
            (name, TensorView::new(dtype, shape.clone(), bytes).expect("a tensor"))
        };
        let views: Vec<_> = self.tensors.iter().zip(bytes.iter().map(Vec::as_slice)).map(view).collect();
        serialize_to_file(views, None, path).expect("a written file");
    }
}

impl Tensor {
    fn bytes(&self, seed: u64) -> Vec<u8> {
        let Self(name, kind, shape, center, spread) = self;
        #[allow(clippy::cast_possible_truncation)] // these few digits are the same in f32
        let (center, spread) = (*center as f32, *spread as f32);
        let hashes = hashes(seed, name).take(shape.iter().product());
        let mut bytes = Vec::new();
        for hash in hashes {
            // 24 bits, which an f32 holds exactly.
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let unit = ((hash >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32;
            let value = center + spread * unit;
            match kind.as_str() {
                #[allow(clippy::cast_possible_truncation)]
                "U32" => bytes.extend(((hash >> 32) as u32).to_le_bytes()),
                "F32" => bytes.extend(value.to_le_bytes()),
                "F16" => bytes.extend(to_float16(value).to_le_bytes()),
                _ => bytes.extend(to_bfloat16(value).to_le_bytes()),
            }
        }
        bytes
    }
}

/// The finalizer of `SplitMix64` over a counter that starts at FNV-1a of the name.
fn hashes(seed: u64, name: &str) -> impl Iterator<Item = u64> {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, fnv);
    (1_u64..).map(move |index| {
        let mut bits = start.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

/// Rounds to the nearest, ties to even. Values are far below the largest float16.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn to_float16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.abs();
    if magnitude < 2.0_f32.powi(-14) {
        return sign | (magnitude * 2.0_f32.powi(24)).round_ties_even() as u16;
    }
    let bits = magnitude.to_bits();
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// Rounds to the nearest, ties to even.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
