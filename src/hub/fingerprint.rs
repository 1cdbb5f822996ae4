//! A hash that tells models apart. Small files count by their content; weights, which can be many gigabytes, by name,
//! layout and state (see `state`) as they were opened. A copied folder may be taken for another model, but another model
//! is never taken for this one.

use blake3::Hasher;

use super::ModelFolder;
use super::files::read_file;
use super::state::{FileState, WeightFile};
use crate::error::Result;

const MAX_FILE_BYTES: u64 = 64 << 20;
/// What says how the weights are used and what tokens mean. How prompts become tokens is told apart by the tokens.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// A hash that changes when the folder comes to hold another model.
pub fn fingerprint(folder: &ModelFolder) -> Result<[u8; 32]> {
    let mut hasher = Hasher::new_derive_key("mlx-serving model fingerprint 2");
    for name in FILES {
        let path = folder.path.join(name);
        let content = if path.exists() { read_file(&path, MAX_FILE_BYTES)? } else { Vec::new() };
        field(&mut hasher, &content);
    }
    for (name, tensor) in &folder.tensors {
        field(&mut hasher, name.as_bytes());
        field(&mut hasher, format!("{:?} {:?} {}", tensor.dtype, tensor.shape, tensor.file).as_bytes());
    }
    for WeightFile { path, state: FileState { len, modified, changed, .. } } in &folder.weight_files {
        field(&mut hasher, path.file_name().unwrap_or_default().as_encoded_bytes());
        field(&mut hasher, format!("{len} {modified:?} {changed:?}").as_bytes());
    }
    Ok(*hasher.finalize().as_bytes())
}

fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
