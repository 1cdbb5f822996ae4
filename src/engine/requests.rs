//! How far each request is, from acceptance until its reader has been told its end. Orders what a caller does (cancel,
//! leave) against the request's way through the text pool, so that neither can overtake the other.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::answers::ReaderId;
use crate::lock::lock;

/// Requests that a caller may still cancel or leave.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<HashMap<ReaderId, Stage>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its prompt is being prepared.
    Preparing { is_cancelled: bool },
    /// The engine thread has it, or an answer was found.
    PassedOn,
}

/// What is to become of a request whose prompt is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// It was passed on.
    PassedOn,
    /// The caller asked for its end meanwhile.
    Cancelled,
    /// The caller left meanwhile.
    Abandoned,
}

impl Requests {
    pub(super) fn add(&self, reader: ReaderId) {
        lock(&self.0).insert(reader, Stage::Preparing { is_cancelled: false });
    }

    /// The prompt is ready: calls `pass_on` unless the caller does not want it any more. The lock is held meanwhile, so a
    /// later cancel follows the submission on its way to the engine thread.
    pub(super) fn ready(&self, reader: ReaderId, pass_on: impl FnOnce()) -> Ready {
        let mut requests = lock(&self.0);
        match requests.get_mut(&reader) {
            None => Ready::Abandoned,
            Some(Stage::Preparing { is_cancelled: true }) => Ready::Cancelled,
            Some(stage) => {
                *stage = Stage::PassedOn;
                pass_on();
                Ready::PassedOn
            }
        }
    }

    /// The caller wants the end: calls `tell` if the engine thread has the request, else notes it.
    pub(super) fn cancel(&self, reader: ReaderId, tell: impl FnOnce()) {
        match lock(&self.0).get_mut(&reader) {
            Some(Stage::PassedOn) => tell(),
            Some(Stage::Preparing { is_cancelled }) => *is_cancelled = true,
            None => {}
        }
    }

    /// Forgets a reader; calls `tell` if the engine thread has its request.
    pub(super) fn remove(&self, reader: ReaderId, tell: impl FnOnce()) {
        if let Some(Stage::PassedOn) = lock(&self.0).remove(&reader) {
            tell();
        }
    }
}
