//! Opens files of a model folder. Only regular files are opened, also through symbolic links, as download caches have them.
//! Opening does not wait for a pipe, and reading stops at a limit.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::failure::{load_error, unreadable};
use super::json;
use super::state::FileState;
use crate::error::Result;

/// An open regular file and its length in bytes.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Checked before it is opened, because opening some devices has an effect.
    let kind = path.metadata().map_err(|error| unreadable(path, error))?;
    if !kind.is_file() {
        return Err(load_error(path, "is not a regular file"));
    }
    // If it has become a pipe since, opening it must not wait for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| unreadable(path, error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    if !metadata.is_file() {
        return Err(load_error(path, "is not a regular file"));
    }
    Ok((file, metadata.len()))
}

/// Reads a file of at most `limit` bytes. `ModelLoadError` names the file.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (mut file, len) = open_regular(path)?;
    if len > limit {
        let message = format!("has {len} bytes; at most {limit} are allowed");
        return Err(load_error(path, &message).with_limit(limit as f64, len as f64));
    }
    let state = |file: &File| file.metadata().map(|found| FileState::from(&found));
    let before = state(&file).map_err(|error| unreadable(path, error))?;
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    let after = state(&file).map_err(|error| unreadable(path, error))?;
    if before == after && bytes.len() as u64 == after.len {
        Ok(bytes)
    } else {
        Err(load_error(path, "changed while it was read"))
    }
}

/// Reads a JSON file of at most `limit` bytes that holds an object. JSON as Python writes it is accepted; see `json`.
pub(crate) fn read_json(path: &Path, limit: u64) -> Result<Value> {
    let bytes = read_file(path, limit)?;
    let value = json::parse(&bytes)
        .map_err(|error| load_error(path, &format!("is not valid JSON: {error}")).with_source(error))?;
    if value.is_object() { Ok(value) } else { Err(load_error(path, "is not a JSON object")) }
}
