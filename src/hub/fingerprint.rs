//! A hash that identifies a model. Small files are hashed by content. Weights, which can be many gigabytes, are hashed by
//! name, layout and state (see `state`) at the time of opening. A copy of a folder may get another hash, but two different
//! models never get the same one.

use blake3::Hasher;

use super::ModelFolder;
use super::files::read_file;
use super::state::{FileState, WeightFile};
use crate::error::Result;

const MAX_FILE_BYTES: u64 = 64 << 20;
/// The files that determine how weights are used and what tokens mean. The key of an answer has the tokens of the prompt, so
/// files that only affect the rendering of prompts are left out.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// The hash of an opened folder. It changes if the folder holds another model.
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
