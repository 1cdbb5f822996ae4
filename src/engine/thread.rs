//! The engine thread: an OS thread that owns the [`Core`] and with it every device array. It waits on the mailbox until the
//! deadline that the core returns, so an idle engine uses no CPU and no timer decides a batch.

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

/// Makes the backend on the engine thread, because device state is bound to the thread that makes it.
pub type OpenBackend = Box<dyn FnOnce() -> Result<Box<dyn Backend>> + Send>;

/// A running engine thread.
pub(super) struct Started {
    /// Sends commands to the thread.
    pub(super) mailbox: Mailbox<Command>,
    pub(super) thread: Work,
    pub(super) backend: Arc<dyn Backend>,
}

/// Starts the thread and waits until its backend is ready.
pub(super) fn start(config: &Config, ledger: Arc<Ledger>, open: OpenBackend, shared: SharedState) -> Result<Started> {
    let (mailbox, inbox) = mailbox();
    let (started, starting) = bounded(1);
    let config = *config;
    let body = move || {
        let guard = EndGuard { readers: Arc::clone(&shared.readers), inbox };
        match guarded(Code::BackendError, open) {
            Ok(backend) => {
                started.send(Ok(Arc::from(backend))).ok();
                run(&mut Core::new(&config, ledger, shared), &guard.inbox);
            }
            Err(error) => drop(started.send(Err(error))),
        }
        drop(guard);
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
                // Every handle was dropped.
                Err(Empty::Abandoned) => core.take(Command::Stop),
            },
        }
    }
}

/// Ends all open answers when the thread ends, also after a panic.
struct EndGuard {
    readers: Arc<Readers>,
    inbox: Inbox<Command>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let code = if std::thread::panicking() { Code::BackendError } else { Code::EngineClosed };
        // Later submissions go back to their sender, which ends their answers; the answers of earlier ones end here.
        self.inbox.close();
        self.readers.fail_all(&Error::new(code, "the engine thread has ended"));
    }
}
