//! What a model is told apart by. Small files by their content; weights, which can be many gigabytes, by name, layout,
//! length and times: the system sets a file's change time whenever its content or owner changes, and lets nobody choose
//! it. A copied folder may so be taken for another model, but another model never for this one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use blake3::Hasher;

use super::ModelFolder;
use super::files::{load_error, open_regular, read_file};
use crate::error::Result;

const MAX_FILE_BYTES: u64 = 64 << 20;
/// What says how the weights are used and what tokens mean. How prompts become tokens is told apart by the tokens.
const FILES: [&str; 4] = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];

/// A hash that changes when the folder comes to hold another model.
pub fn fingerprint(folder: &ModelFolder) -> Result<[u8; 32]> {
    let mut hasher = Hasher::new_derive_key("mlx-serving model fingerprint 1");
    for name in FILES {
        let path = folder.path.join(name);
        let content = if path.exists() { read_file(&path, MAX_FILE_BYTES)? } else { Vec::new() };
        field(&mut hasher, &content);
    }
    for (name, tensor) in &folder.tensors {
        field(&mut hasher, name.as_bytes());
        field(&mut hasher, format!("{:?} {:?} {}", tensor.dtype, tensor.shape, tensor.file).as_bytes());
    }
    for path in &folder.weight_files {
        field(&mut hasher, path.file_name().unwrap_or_default().as_encoded_bytes());
        field(&mut hasher, state_of(path)?.as_bytes());
    }
    Ok(*hasher.finalize().as_bytes())
}

fn state_of(path: &Path) -> Result<String> {
    let (file, len) = open_regular(path)?;
    let metadata = file.metadata().map_err(|error| load_error(path, "cannot be read").with_source(error))?;
    let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Ok(format!("{len} {modified:?} {changed:?}"))
}

fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
