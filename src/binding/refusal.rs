//! Why values from JavaScript are refused.

use crate::error::Error;

/// Why an object was refused.
pub(super) enum Refusal {
    /// A value is wrong: the caller gets an error with a code.
    Invalid(Error),
    /// Code of the caller threw while the object was read (a getter, a proxy): the caller gets that error.
    Thrown(napi::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<napi::Error> for Refusal {
    fn from(error: napi::Error) -> Self {
        Self::Thrown(error)
    }
}

/// A value that was read, or the reason why it was refused.
pub(super) type Read<T> = Result<T, Refusal>;
