//! Opens a model folder: which files must exist, and how large they may be. `header` reads weight files, and `weights` finds
//! them.

use std::path::Path;

use serde_json::{Map, Value};

use super::ModelFolder;
use super::failure::load_error;
use super::files::read_json;
use super::weights::{self, Weights};
use crate::error::{Code, Error, Result};

const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Older models have every added token and their chat template in this file.
const MAX_TOKENIZER_CONFIG_BYTES: u64 = 16 << 20;

/// Reads and validates a model folder: configuration, and the headers of all weights.
///
/// `ModelNotFound` if there is no such folder. `ModelLoadError`, naming the file and possibly the tensor, if something in it
/// is missing or wrong.
pub fn open_folder(path: &Path) -> Result<ModelFolder> {
    let path = path.canonicalize().ok().filter(|path| path.is_dir()).ok_or_else(|| {
        let message = format!(
            "no model folder at {}: a model folder holds `config.json`, `tokenizer.json` and weights as `.safetensors`; a \
             model of a hub is named `owner/name`",
            path.display()
        );
        Error::new(Code::ModelNotFound, message)
    })?;
    let config_path = path.join("config.json");
    let config = optional_json(&config_path, MAX_CONFIG_BYTES)?
        .ok_or_else(|| load_error(&config_path, "does not exist: a model folder needs it"))?;
    let generation_config = optional_json(&path.join("generation_config.json"), MAX_CONFIG_BYTES)?;
    let tokenizer_config = optional_json(&path.join("tokenizer_config.json"), MAX_TOKENIZER_CONFIG_BYTES)?;
    let special_tokens_map = optional_json(&path.join("special_tokens_map.json"), MAX_CONFIG_BYTES)?;
    let Weights { tensors, files, bytes } = weights::read(&path)?;
    Ok(ModelFolder {
        config,
        generation_config: generation_config.unwrap_or_else(empty),
        tokenizer_config: tokenizer_config.unwrap_or_else(empty),
        special_tokens_map: special_tokens_map.unwrap_or_else(empty),
        tensors,
        weight_files: files,
        weight_bytes: bytes,
        path,
    })
}

fn optional_json(path: &Path, limit: u64) -> Result<Option<Value>> {
    // A dangling link is an error, not an absent file.
    if path.symlink_metadata().is_err() { Ok(None) } else { read_json(path, limit).map(Some) }
}

fn empty() -> Value {
    Value::Object(Map::new())
}
