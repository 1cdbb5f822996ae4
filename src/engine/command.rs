//! Commands of the handle for the engine thread, with their replies. A reply is called exactly once, on the thread that runs or
//! drops the command, and never blocks. `core` runs the commands.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::answers::{AnswerLog, Claim, Fingerprint, ReaderId};
use crate::error::{Code, Error, Result};
use crate::executor::{Limits, LoadControl, Prepared};
use crate::lock::lock;
use crate::request::{PinId, Request, SequenceId};
use crate::scheduler::PrefixConfig;
use crate::text::ModelText;

use super::asked::Asked;
use super::breaker::Circuit;
use super::budget::{Ledger, Reservation};
use super::ids::ModelKey;
use super::labels::ModelLabel;
use super::loads::ActiveLoad;
use super::scripted::Writer;

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

    /// Splits the reply into one for each worker. After all of them are sent, this one is sent with the first error, or with the
    /// first result if there is no error.
    pub(super) fn split(self, count: usize) -> Vec<Self>
    where
        T: Send + 'static,
    {
        let whole = Arc::new(Mutex::new((count, None::<Result<T>>, Some(self))));
        let part = |_| {
            let whole = Arc::clone(&whole);
            Self::new(move |result| {
                let mut state = lock(&whole);
                let (num_left, first, reply) = &mut *state;
                *num_left -= 1;
                if first.as_ref().is_none_or(|first| first.is_ok() && result.is_err()) {
                    *first = Some(result);
                }
                let done = if *num_left == 0 { reply.take().zip(first.take()) } else { None };
                drop(state);
                if let Some((reply, result)) = done {
                    reply.send(result);
                }
            })
        };
        (0..count).map(part).collect()
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
#[derive(Clone)]
pub(super) struct Submission {
    pub(super) model: ModelKey,
    pub(super) sequence: SequenceId,
    pub(super) asked: Asked,
    pub(super) request: Request,
    /// Set if the request may share an answer.
    pub(super) claim: Option<Claim>,
    /// Set on a simulated device with scripted answers.
    pub(super) writer: Option<Writer>,
    pub(super) log: Arc<AnswerLog>,
}

/// A model that was loaded.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) label: ModelLabel,
    pub(super) limits: Limits,
    pub(super) fingerprint: Fingerprint,
    pub(super) ledger: Arc<Ledger>,
    pub(super) circuit: Arc<Circuit>,
}

/// A model whose weights were read and whose tokenizer is ready. Fields are dropped in this order: all memory is released before
/// the reply is sent.
pub(super) struct Loading {
    pub(super) prepared: Box<dyn Prepared>,
    /// Memory of the weights.
    pub(super) reservation: Arc<Reservation>,
    /// Absent on a thread that replaces another one.
    pub(super) active: Option<Arc<ActiveLoad>>,
    pub(super) control: LoadControl,
    pub(super) key: ModelKey,
    pub(super) label: ModelLabel,
    pub(super) text: Arc<ModelText>,
    /// Fingerprint of the folder's files.
    pub(super) files: [u8; 32],
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) circuit: Arc<Circuit>,
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

/// How a model is unloaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unloading {
    /// Rows that still run at this time fail.
    pub(super) at: Instant,
    pub(super) answers: UnloadedAnswers,
}

/// What becomes of the cached answers of a model that is unloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnloadedAnswers {
    /// They stay: the model may be loaded again.
    Keep,
    /// They are removed.
    Remove,
}

pub(super) enum Command {
    Submit(Box<Submission>),
    /// Ends the answer of a reader with the tokens so far.
    Cancel(ReaderId),
    /// Removes a reader that left.
    Abandon(ReaderId),
    /// Continues the row of a reader that has credit again.
    Unpark(ReaderId),
    /// Drops the KV that is retained for later requests.
    ForgetPrefixes,
    /// Releases a pinned prompt.
    Unpin(PinId),
    /// KV was read from the disk, or there is room to write more.
    DiskReady,
    /// Changes which KV is reused.
    ConfigurePrefixes(PrefixConfig),
    Load(Box<Loading>),
    /// Drops a model after its rows have ended.
    Unload(ModelKey, Unloading, Reply<()>),
    /// Ends the engine. Running requests may end until the given time.
    Shutdown(Instant, Reply<()>),
    /// Ends the engine at once, because the process is exiting.
    Stop,
}

pub(super) fn closed() -> Error {
    Error::new(Code::EngineClosed, "the engine is shut down")
}
