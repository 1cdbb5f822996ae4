//! The one error type of the engine. Each room converts the errors of its libraries into it; `binding/` turns it into a
//! JavaScript error. A caller acts on the code; the message names the field, the value and what is allowed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every function of this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error codes. Stable: the public API has the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// An option, variable or file given at start is not understood, or out of range.
    ConfigError,
    /// A request field is missing, of the wrong type, out of range or unknown.
    InvalidParams,
    /// Prompt and requested answer do not fit the model's context.
    ContextLengthExceeded,
    /// No model folder at that path.
    ModelNotFound,
    /// A file of the model folder is missing, corrupt or inconsistent.
    ModelLoadError,
    /// The model was unloaded, or never loaded by this engine.
    ModelNotLoaded,
    /// The model's files are valid, but this engine cannot run a model of this kind.
    UnsupportedModel,
    /// Text could not be turned into tokens, or a chat template failed.
    TokenizerError,
    /// The grammar or schema of an answer cannot be enforced.
    GuidanceError,
    /// As many requests are pending as the engine accepts, or their prompts take too long to prepare.
    Overloaded,
    /// The request's deadline passed.
    Timeout,
    /// The request was cancelled.
    Cancelled,
    /// A stream was not read for too long.
    SlowConsumer,
    /// The device does not have enough memory.
    InsufficientMemory,
    /// The device, or the code that drives it, failed.
    BackendError,
    /// The device of a model failed so often that the model refuses requests for a while.
    CircuitOpen,
    /// The engine is shut down.
    EngineClosed,
}

impl Code {
    /// All codes, in their order.
    pub const ALL: [Self; 17] = [
        Self::ConfigError,
        Self::InvalidParams,
        Self::ContextLengthExceeded,
        Self::ModelNotFound,
        Self::ModelLoadError,
        Self::ModelNotLoaded,
        Self::UnsupportedModel,
        Self::TokenizerError,
        Self::GuidanceError,
        Self::Overloaded,
        Self::Timeout,
        Self::Cancelled,
        Self::SlowConsumer,
        Self::InsufficientMemory,
        Self::BackendError,
        Self::CircuitOpen,
        Self::EngineClosed,
    ];

    /// The name of the code as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigError => "ConfigError",
            Self::InvalidParams => "InvalidParams",
            Self::ContextLengthExceeded => "ContextLengthExceeded",
            Self::ModelNotFound => "ModelNotFound",
            Self::ModelLoadError => "ModelLoadError",
            Self::ModelNotLoaded => "ModelNotLoaded",
            Self::UnsupportedModel => "UnsupportedModel",
            Self::TokenizerError => "TokenizerError",
            Self::GuidanceError => "GuidanceError",
            Self::Overloaded => "Overloaded",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
            Self::SlowConsumer => "SlowConsumer",
            Self::InsufficientMemory => "InsufficientMemory",
            Self::BackendError => "BackendError",
            Self::CircuitOpen => "CircuitOpen",
            Self::EngineClosed => "EngineClosed",
        }
    }
}

/// An error with a stable code and, where useful, the field at fault and the limit it broke.
///
/// Cheap to clone: a failed generation reports the same error to each of its readers.
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    message: String,
    param: Option<String>,
    limit: Option<f64>,
    requested: Option<f64>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message that a caller can act on.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            code,
            message: message.into(),
            param: None,
            limit: None,
            requested: None,
            retry_after: None,
            source: None,
        }))
    }

    /// A wrong request field; `message` continues "`param` …".
    pub fn invalid(param: &str, message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidParams, format!("`{param}` {message}")).with_param(param)
    }

    /// A wrong option or environment variable; `message` continues "`param` …".
    pub fn config(param: &str, message: impl fmt::Display) -> Self {
        Self::new(Code::ConfigError, format!("`{param}` {message}")).with_param(param)
    }

    /// Names the option or field at fault.
    #[must_use]
    pub fn with_param(self, param: impl Into<String>) -> Self {
        self.edit(|inner| inner.param = Some(param.into()))
    }

    /// Says at the end of the message where the value at fault is written.
    #[must_use]
    pub fn with_place(self, place: impl fmt::Display) -> Self {
        self.edit(|inner| inner.message = format!("{} ({place})", inner.message))
    }

    /// Says which argument of a call with several ones is at fault.
    #[must_use]
    pub fn in_argument(self, name: &str) -> Self {
        self.edit(|inner| {
            inner.message = format!("in `{name}`: {}", inner.message);
            inner.param = Some(inner.param.take().map_or_else(|| name.to_owned(), |param| format!("{name}.{param}")));
        })
    }

    /// Adds the limit that was broken and the value that was requested.
    #[must_use]
    pub fn with_limit(self, limit: f64, requested: f64) -> Self {
        self.edit(|inner| {
            inner.limit = Some(limit);
            inner.requested = Some(requested);
        })
    }

    /// Adds the time after which a retry can succeed.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(after))
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The error code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, without the code.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The option or field at fault.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The limit that was broken.
    pub fn limit(&self) -> Option<f64> {
        self.0.limit
    }

    /// The value that was requested, where a limit was broken.
    pub fn requested(&self) -> Option<f64> {
        self.0.requested
    }

    /// The time after which a retry can succeed.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
