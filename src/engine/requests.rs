//! How far each request is, from acceptance until its reader has the end. Orders what a caller does (cancel, leave)
//! against the request's way through the text pool, so that neither overtakes the other.
//!
//! The lock is held for a look at the map alone. Passing a request on may wait for room in the engine thread's channel,
//! and the JavaScript thread takes this lock.

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
    /// A text thread is handing it over. What the caller wanted meanwhile follows it.
    Passing { wanted: Option<Wanted> },
    /// The engine thread has it, or an answer was found.
    PassedOn,
}

/// What a caller wants of a request that the engine thread has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its answer ends with what there is.
    Cancel,
    /// Its reader left.
    Abandon,
}

/// What becomes of a request whose prompt is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// It is passed on; [`Requests::passed_on`] follows.
    PassOn,
    /// The caller asked for its end meanwhile.
    Cancelled,
    /// The caller left meanwhile.
    Abandoned,
}

impl Requests {
    pub(super) fn add(&self, reader: ReaderId) {
        lock(&self.0).insert(reader, Stage::Preparing { is_cancelled: false });
    }

    /// The prompt is ready: says whether the request is passed on.
    pub(super) fn ready(&self, reader: ReaderId) -> Ready {
        match lock(&self.0).get_mut(&reader) {
            None => Ready::Abandoned,
            Some(Stage::Preparing { is_cancelled: true }) => Ready::Cancelled,
            Some(stage) => {
                *stage = Stage::Passing { wanted: None };
                Ready::PassOn
            }
        }
    }

    /// The request was passed on. Gives what its caller wanted meanwhile: it is sent behind the request.
    pub(super) fn passed_on(&self, reader: ReaderId) -> Option<Wanted> {
        let mut requests = lock(&self.0);
        match requests.get_mut(&reader)? {
            Stage::Passing { wanted: Some(Wanted::Abandon) } => {
                requests.remove(&reader);
                Some(Wanted::Abandon)
            }
            stage => match std::mem::replace(stage, Stage::PassedOn) {
                Stage::Passing { wanted } => wanted,
                Stage::Preparing { .. } | Stage::PassedOn => None,
            },
        }
    }

    /// The caller wants the end. Says whether the engine thread is to be asked for it now.
    pub(super) fn cancel(&self, reader: ReaderId) -> bool {
        match lock(&self.0).get_mut(&reader) {
            Some(Stage::PassedOn) => return true,
            Some(Stage::Passing { wanted }) => _ = wanted.get_or_insert(Wanted::Cancel),
            Some(Stage::Preparing { is_cancelled }) => *is_cancelled = true,
            None => {}
        }
        false
    }

    /// The caller left. Says whether the engine thread is to be asked for the end now.
    pub(super) fn leave(&self, reader: ReaderId) -> bool {
        let mut requests = lock(&self.0);
        if let Some(Stage::Passing { wanted }) = requests.get_mut(&reader) {
            *wanted = Some(Wanted::Abandon);
            return false;
        }
        requests.remove(&reader) == Some(Stage::PassedOn)
    }

    /// The reader has the end.
    pub(super) fn ended(&self, reader: ReaderId) {
        lock(&self.0).remove(&reader);
    }
}
