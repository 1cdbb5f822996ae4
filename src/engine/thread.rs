//! The engine thread: an OS thread that owns the [`Core`] and with it every device array, as long as the engine lives. It
//! parks itself on the mailbox with the deadline the core gives, so that an idle engine uses no CPU and no timer
//! decides a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::bounded;

use crate::error::{Code, Error, Result};
use crate::executor::Backend;

use super::answer_parser::Readers;
use super::budget::Ledger;
use super::command::Command;
use super::config::Config;
use super::core::{Core, Next};
use super::guarded::guarded;
use super::mailbox::{Empty, Inbox, Mailbox, mailbox};
use super::shared::SharedState;
use super::threads::{self, Work};

/// Makes the backend, on the engine thread: device state is bound to the thread that made it.
pub type OpenBackend = Box<dyn FnOnce() -> Result<Box<dyn Backend>> + Send>;

/// An engine thread that runs.
pub(super) struct Started {
    /// The way to it.
    pub(super) mailbox: Mailbox<Command>,
    pub(super) thread: Work,
    pub(super) backend: Arc<dyn Backend>,
}

/// Starts the thread and waits until its backend is there.
pub(super) fn start(config: &Config, ledger: Arc<Ledger>, open: OpenBackend, shared: SharedState) -> Result<Started> {
    let (mailbox, inbox) = mailbox();
    let (started, starting) = bounded(1);
    let config = *config;
    let body = move || {
        let obituary = Obituary { readers: Arc::clone(&shared.readers), inbox };
        match guarded(Code::BackendError, open) {
            Ok(backend) => {
                started.send(Ok(Arc::from(backend))).ok();
                run(&mut Core::new(&config, ledger, shared), &obituary.inbox);
            }
            Err(error) => drop(started.send(Err(error))),
        }
        drop(obituary);
    };
    let thread = threads::ENGINES
        .run(body)
        .map_err(|error| Error::new(Code::BackendError, "the engine thread could not be started").with_source(error))?;
    let backend = starting
        .recv()
        .unwrap_or_else(|_| Err(Error::new(Code::BackendError, "the engine thread ended while it started")))?;
    Ok(Started { mailbox, thread, backend })
}

fn run(core: &mut Core, inbox: &Inbox<Command>) {
    let mut commands = VecDeque::new();
    loop {
        inbox.take_all(&mut commands);
        commands.drain(..).for_each(|command| core.take(command));
        match core.turn() {
            Next::Turn => {}
            Next::Leave => return,
            Next::Wait(until) => match inbox.take(until) {
                Ok(command) => core.take(command),
                Err(Empty::TimedOut) => {}
                // Every handle is gone, so there is nothing to do any more.
                Err(Empty::Abandoned) => core.take(Command::Stop),
            },
        }
    }
}

/// Dropped when the thread ends, however it does: nothing else could end what has not ended.
struct Obituary {
    readers: Arc<Readers>,
    inbox: Inbox<Command>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let code = if std::thread::panicking() { Code::BackendError } else { Code::EngineClosed };
        // A submission that comes later is given back to its sender; the answers of those before end here.
        self.inbox.close();
        self.readers.fail_all(&Error::new(code, "the engine thread has ended"));
    }
}
