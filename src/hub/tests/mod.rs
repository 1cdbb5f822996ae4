//! Folders made by code, valid and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test ends at the first unexpected result")]

mod changes;
mod folders;
mod headers;
mod python;

use std::path::Path;

use tempfile::TempDir;

use super::{ModelFolder, open_folder};
use crate::error::{Code, Error};

/// A weight file with this header and this many bytes of data.
fn weight_file(header: &str, num_data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + num_data, 7);
    file
}

/// Two tensors, 16 and 6 bytes.
fn sound_file() -> Vec<u8> {
    weight_file(
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}"#,
        22,
    )
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// A valid folder with these files added or replaced.
fn folder_with(files: &[(&str, &[u8])]) -> TempDir {
    let folder = folder(&[("config.json", b"{}"), ("model.safetensors", &sound_file())]);
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn open(path: &Path) -> Result<ModelFolder, Error> {
    open_folder(path)
}

/// Checks that the folder is refused because of `file`, with a message that contains all `words`.
#[track_caller]
fn refuses(path: &Path, file: &str, words: &[&str]) {
    let error = open(path).expect_err(file);
    assert_eq!(error.code(), Code::ModelLoadError, "{error}");
    for word in words.iter().chain([&file]) {
        assert!(error.message().contains(word), "`{word}` is not in: {error}");
    }
}
