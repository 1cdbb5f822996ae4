//! What MLX reports, as the engine's error: the one place where an exception becomes a code a caller can act on.

use mlx_rs::error::Exception;

use crate::error::{Code, Error};
use crate::hub::ModelFolder;

/// The result of building or running device operations, inside this room.
pub(super) type Mlx<T> = std::result::Result<T, Exception>;

/// How MLX's allocators and the drivers below it say that memory is exhausted, in lower case.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "unable to allocate",
    "bad_alloc",
    "maximum allowed buffer",
];

/// An exception met while doing `what` ("running a step"), as the engine's error.
pub(super) fn device_error(what: &str, exception: Exception) -> Error {
    let text = exception.what().to_lowercase();
    let code = if OUT_OF_MEMORY.iter().any(|sign| text.contains(sign)) {
        Code::InsufficientMemory
    } else {
        Code::BackendError
    };
    Error::new(code, format!("{what} failed: {}", exception.what())).with_source(exception)
}

/// What MLX's reader of files says before its errors. It names no file.
const READER: &str = "[read]";

/// An error met while the weights of a folder were loaded; one of the file system says where.
pub(super) fn unreadable_weights(folder: &ModelFolder, error: Error) -> Error {
    if !error.message().contains(READER) {
        return error;
    }
    bad_model(format!("the weight files in {} cannot be read: {}", folder.path.display(), error.message()))
        .with_source(error)
}

/// A plan that contradicts what the executor holds: a defect of whoever wrote the plan, caught before the device sees it.
pub(super) fn bad_plan(message: impl std::fmt::Display) -> Error {
    Error::new(Code::BackendError, format!("the step plan is inconsistent: {message}"))
}

/// A model folder that cannot be what it claims.
pub(super) fn bad_model(message: impl Into<String>) -> Error {
    Error::new(Code::ModelLoadError, message)
}

/// A model that asks, in field `field` of `config.json`, for what the decoder does not compute.
pub(super) fn unsupported(field: &str, message: impl std::fmt::Display) -> Error {
    Error::new(Code::UnsupportedModel, format!("config.json: `{field}`: {message}")).with_param(field)
}
