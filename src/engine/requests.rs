//! Which reader belongs to which sequence, from acceptance until the reader has been told its end. Orders what a caller
//! does (cancel, leave) against the request's way through the text thread, so that neither can overtake the other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::answers::ReaderId;
use crate::request::SequenceId;

/// Requests that a caller may still cancel or leave.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<HashMap<ReaderId, Stage>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its prompt is being prepared.
    Preparing { sequence: SequenceId, is_cancelled: bool },
    /// The engine thread has it.
    Submitted(SequenceId),
}

/// What is to become of a request whose prompt is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// It was passed on.
    Submitted,
    /// The caller asked for its end meanwhile.
    Cancelled,
    /// The caller left meanwhile.
    Abandoned,
}

impl Requests {
    pub(super) fn add(&self, reader: ReaderId, sequence: SequenceId) {
        self.lock().insert(reader, Stage::Preparing { sequence, is_cancelled: false });
    }

    /// The prompt is ready: calls `submit` unless the caller does not want it any more. The lock is held meanwhile, so a
    /// later cancel follows the submission on its way to the engine thread.
    pub(super) fn ready(&self, reader: ReaderId, submit: impl FnOnce()) -> Ready {
        let mut requests = self.lock();
        match requests.get_mut(&reader) {
            None => Ready::Abandoned,
            Some(Stage::Preparing { is_cancelled: true, .. }) => Ready::Cancelled,
            Some(stage) => {
                if let Stage::Preparing { sequence, .. } = *stage {
                    *stage = Stage::Submitted(sequence);
                    submit();
                }
                Ready::Submitted
            }
        }
    }

    /// The caller wants the end: calls `tell` if the engine thread has the request, else notes it.
    pub(super) fn cancel(&self, reader: ReaderId, tell: impl FnOnce(SequenceId)) {
        match self.lock().get_mut(&reader) {
            Some(Stage::Submitted(sequence)) => tell(*sequence),
            Some(Stage::Preparing { is_cancelled, .. }) => *is_cancelled = true,
            None => {}
        }
    }

    /// Forgets a reader; calls `tell` if the engine thread has its request.
    pub(super) fn remove(&self, reader: ReaderId, tell: impl FnOnce(SequenceId)) {
        if let Some(Stage::Submitted(sequence)) = self.lock().remove(&reader) {
            tell(sequence);
        }
    }

    /// The sequence of a reader, if the engine thread has it.
    pub(super) fn submitted(&self, reader: ReaderId) -> Option<SequenceId> {
        match self.lock().get(&reader) {
            Some(Stage::Submitted(sequence)) => Some(*sequence),
            Some(Stage::Preparing { .. }) | None => None,
        }
    }

    /// Nothing done under this lock can panic half-way, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, HashMap<ReaderId, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
