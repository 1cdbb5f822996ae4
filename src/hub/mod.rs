//! Opens model folders and validates them: their content is not trusted. An opened folder is consistent: every JSON file
//! parses, every tensor lies inside its file, and no name leads out of the folder.

mod failure;
mod files;
mod fingerprint;
mod folder;
mod header;
mod json;
mod state;
mod weights;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::Result;

pub use fingerprint::fingerprint;
pub use folder::open_folder;
pub use state::{FileState, WeightFile};

pub(crate) use files::{open_regular, read_file, read_json};

/// A model folder that has been read and validated. Of the weights, only the headers were read.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// Absolute path of the folder.
    pub path: PathBuf,
    /// `config.json`, an object.
    pub config: Value,
    /// `generation_config.json`, or an empty object without the file.
    pub generation_config: Value,
    /// `tokenizer_config.json`, or an empty object without the file.
    pub tokenizer_config: Value,
    /// `special_tokens_map.json`, or an empty object without the file.
    pub special_tokens_map: Value,
    /// The tensors of all weight files, by name.
    pub tensors: BTreeMap<String, TensorHeader>,
    /// The weight files, in name order.
    pub weight_files: Vec<WeightFile>,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
}

/// The file, type and shape of a tensor. Type and shape fit its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    /// Index into [`ModelFolder::weight_files`].
    pub file: usize,
    /// Element type.
    pub dtype: safetensors::Dtype,
    /// Shape. The number of elements does not overflow.
    pub shape: Vec<usize>,
}

impl ModelFolder {
    /// Fails with `ModelLoadError`, naming the file, if the content of a weight file may have changed since the folder was
    /// opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.weight_files.iter().try_for_each(WeightFile::check_unchanged)
    }

    /// The architecture, as `config.json` names it.
    pub fn family(&self) -> String {
        self.config.get("model_type").and_then(Value::as_str).unwrap_or("unknown").to_owned()
    }

    /// Bits and group size, if the weights are quantized.
    pub fn quantization(&self) -> Option<(u32, u32)> {
        let quantization = self.config.get("quantization")?;
        let number = |key| u32::try_from(quantization.get(key)?.as_u64()?).ok();
        Some((number("bits")?, number("group_size")?))
    }
}
