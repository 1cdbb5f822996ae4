//! Converts MLX's exceptions into the engine's errors. It is the only place that gives an exception a code.

use mlx_rs::error::Exception;

use crate::error::{Code, Error};
use crate::hub::ModelFolder;

/// The result of building or running device operations.
pub(super) type Mlx<T> = std::result::Result<T, Exception>;

/// Parts of messages in lower case by which MLX's allocators and the drivers report that memory is exhausted.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "unable to allocate",
    "bad_alloc",
    "maximum allowed buffer",
];

/// The error of an exception during `what`, such as "running a step".
pub(super) fn device_error(what: &str, exception: Exception) -> Error {
    let text = exception.what().to_lowercase();
    let code = if OUT_OF_MEMORY.iter().any(|sign| text.contains(sign)) {
        Code::InsufficientMemory
    } else {
        Code::BackendError
    };
    Error::new(code, format!("{what} failed: {}", exception.what())).with_source(exception)
}

/// The prefix of errors of MLX's file reader, which does not name the file.
const READER: &str = "[read]";

/// The error of loading a folder's weights. An error of the file reader becomes `ModelLoadError` and names the folder.
pub(super) fn unreadable_weights(folder: &ModelFolder, error: Error) -> Error {
    if !error.message().contains(READER) {
        return error;
    }
    bad_model(format!("the weight files in {} cannot be read: {}", folder.path.display(), error.message()))
        .with_source(error)
}

/// A plan that contradicts the executor's state. It is a defect of the scheduler, found before the device runs the plan.
pub(super) fn bad_plan(message: impl std::fmt::Display) -> Error {
    Error::new(Code::BackendError, format!("the step plan is inconsistent: {message}"))
}

/// A model folder whose files contradict each other or hold invalid values.
pub(super) fn bad_model(message: impl Into<String>) -> Error {
    Error::new(Code::ModelLoadError, message)
}

/// A model whose field `field` of `config.json` asks for something that the decoder cannot compute.
pub(super) fn unsupported(field: &str, message: impl std::fmt::Display) -> Error {
    Error::new(Code::UnsupportedModel, format!("config.json: `{field}`: {message}")).with_param(field)
}
