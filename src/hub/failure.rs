//! Errors of the files in a model folder. Each names its file.

use std::path::Path;

use crate::error::{Code, Error};

/// The error about a file with wrong content; `problem` continues the file's name.
pub(super) fn load_error(path: &Path, problem: &str) -> Error {
    Error::new(Code::ModelLoadError, format!("{} {problem}", path.display()))
}

/// The error about a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    load_error(path, &problem).with_source(error)
}
