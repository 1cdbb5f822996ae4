//! How arguments are written, and the state of a value that is being read.

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// JSON. Strings may contain line breaks, which models forget to escape.
    Json,
    /// Python: both kinds of quotes, `True`, `None`, and a comma before a closing bracket.
    Python,
    /// Keys without quotes. The string stands in place of quotes around texts, which have no escapes.
    Bare(&'static str),
}

/// The state of a value after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueProgress {
    /// The value needs more characters.
    Incomplete,
    /// The character completed the value.
    Complete,
    /// The value was complete before the character.
    EndedBefore,
    /// The character is not valid here.
    Invalid,
}
