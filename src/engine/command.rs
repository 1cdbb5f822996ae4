//! Commands of the handle for the engine thread, with their replies. A reply is called exactly once, on the thread that runs or
//! drops the command, and never blocks. `core` runs the commands.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::answers::{AnswerLog, Claim, Fingerprint, ReaderId};
use crate::error::{Code, Error, Result};
use crate::executor::{Limits, Prepared};
use crate::request::{Request, SequenceId};
use crate::text::ModelText;

use super::budget::{Ledger, Reservation};
use super::loads::ActiveLoad;
use super::permit::Permit;
use super::scripted::Writer;

/// Identifies a loaded model. Keys are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelKey(pub u32);

/// The reply to a command. If the command is dropped, because the engine ended, the reply is `EngineClosed`.
pub struct Reply<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Reply<T> {
    /// A reply that calls `done` with the result of the command.
    pub fn new(done: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    /// Sends the reply.
    pub fn send(mut self, result: Result<T>) {
        self.give(result);
    }

    /// A reply of another type, which `change` converts into this one.
    #[must_use]
    pub fn map<U: 'static>(self, change: impl FnOnce(U) -> T + Send + 'static) -> Reply<U>
    where
        T: 'static,
    {
        Reply::new(move |result: Result<U>| self.send(result.map(change)))
    }

    fn give(&mut self, result: Result<T>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.give(Err(closed()));
    }
}

/// A prepared request for the scheduler of its model.
pub(super) struct Submission {
    pub(super) model: ModelKey,
    pub(super) sequence: SequenceId,
    pub(super) reader: ReaderId,
    pub(super) request: Request,
    /// Set if the request may share an answer.
    pub(super) claim: Option<Claim>,
    /// Set on a simulated device with scripted answers.
    pub(super) writer: Option<Writer>,
    pub(super) log: Arc<AnswerLog>,
    pub(super) permit: Permit,
}

/// A model that was loaded.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) limits: Limits,
    pub(super) fingerprint: Fingerprint,
    pub(super) ledger: Arc<Ledger>,
}

/// A model whose weights were read and whose tokenizer is ready. Fields are dropped in this order: all memory is released before
/// the reply is sent.
pub(super) struct Loading {
    pub(super) prepared: Box<dyn Prepared>,
    /// Memory of the weights.
    pub(super) reservation: Reservation,
    pub(super) active: ActiveLoad,
    pub(super) key: ModelKey,
    pub(super) text: Arc<ModelText>,
    /// Fingerprint of the folder's files.
    pub(super) files: [u8; 32],
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) reply: Reply<Opened>,
}

impl Loading {
    /// Releases all memory, then replies with the error.
    pub(super) fn fail(self, error: Error) {
        let Self { prepared, reservation, active, reply, .. } = self;
        drop(prepared);
        drop(reservation);
        drop(active);
        reply.send(Err(error));
    }
}

pub(super) enum Command {
    Submit(Box<Submission>),
    /// Ends the answer of a reader with the tokens so far.
    Cancel(ReaderId),
    /// Removes a reader that left.
    Abandon(ReaderId),
    /// Continues the row of a reader that has credit again.
    Unpark(ReaderId),
    Load(Box<Loading>),
    /// Drops a model after its rows have ended.
    Unload(ModelKey, Reply<()>),
    /// Ends the engine. Running requests may end until the given time.
    Shutdown(Instant, Reply<()>),
    /// Ends the engine at once, because the process is exiting.
    Stop,
}

pub(super) fn closed() -> Error {
    Error::new(Code::EngineClosed, "the engine is shut down")
}
