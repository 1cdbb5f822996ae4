//! What the handle tells the engine thread. Commands carry their reply; a reply is called exactly once, on whatever
//! thread drops or runs the command, and never blocks.

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

/// A loaded model, for as long as the engine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelKey(pub u32);

/// A reply that is given even when the command is dropped unread, because the engine ended.
pub struct Reply<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Reply<T> {
    /// Calls `done` with what became of the command.
    pub fn new(done: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    /// Gives the reply.
    pub fn send(mut self, result: Result<T>) {
        self.give(result);
    }

    /// A reply of another type that gives this one.
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

/// A request on its way to the scheduler.
pub(super) struct Submission {
    pub(super) model: ModelKey,
    pub(super) sequence: SequenceId,
    pub(super) reader: ReaderId,
    pub(super) request: Request,
    /// Set where it may share an answer.
    pub(super) claim: Option<Claim>,
    pub(super) log: Arc<AnswerLog>,
    pub(super) permit: Permit,
}

/// What a model that was opened lets a request do.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) limits: Limits,
    pub(super) fingerprint: Fingerprint,
    pub(super) ledger: Arc<Ledger>,
}

/// A model whose weights were read and whose tokenizer is ready. Fields are in the order in which they are dropped: the reply
/// is given after everything was given back.
pub(super) struct Loading {
    pub(super) prepared: Box<dyn Prepared>,
    /// The memory of its weights.
    pub(super) reservation: Reservation,
    pub(super) active: ActiveLoad,
    pub(super) key: ModelKey,
    pub(super) text: Arc<ModelText>,
    /// Hash of what the folder's files are told apart by.
    pub(super) files: [u8; 32],
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) reply: Reply<Opened>,
}

impl Loading {
    /// Gives back what it holds, then the reply.
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
    /// The reader wants what there is, now.
    Cancel(ReaderId),
    /// The reader left.
    Abandon(ReaderId),
    /// The reader was behind and has caught up.
    Unpark(ReaderId),
    Load(Box<Loading>),
    /// Rows of the model may end first; then it is dropped.
    Unload(ModelKey, Reply<()>),
    /// Running requests may end until then.
    Shutdown(Instant, Reply<()>),
    /// The process is exiting: leave at once.
    Stop,
}

pub(super) fn closed() -> Error {
    Error::new(Code::EngineClosed, "the engine is shut down")
}
