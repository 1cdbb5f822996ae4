//! The engine thread: an OS thread that owns the [`Core`] and with it every device array, as long as the engine lives. It
//! parks itself on the command channel with the deadline the core gives, so that an idle engine uses no CPU and no timer
//! decides a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};

use crate::error::{Code, Error, Result};
use crate::executor::Backend;

use super::answer_parser::Readers;
use super::command::Command;
use super::config::Config;
use super::core::{Core, Next};
use super::guarded::guarded;
use super::shared::SharedState;
use super::threads::{self, Work};

/// Room for commands is allocated at the start. Senders beyond it wait for the engine thread's next look, which comes
/// with every step.
const MAX_COMMANDS: usize = 16_384;

/// Makes the backend, on the engine thread: device state is bound to the thread that made it.
pub type OpenBackend = Box<dyn FnOnce() -> Result<Box<dyn Backend>> + Send>;

/// Sends commands to the engine thread.
pub(super) struct CommandSender {
    sender: Sender<Command>,
    /// Takes back what was sent when nobody was left to read it.
    returned: Receiver<Command>,
    has_ended: Arc<AtomicBool>,
}

impl CommandSender {
    /// Sends a command, or gives back those that the engine thread will not read because it has ended.
    ///
    /// The thread says that it has ended before it stops reading, and the sender looks after it has sent: whichever of
    /// them comes last finds the command, so none is left lying with its reply ungiven.
    pub(super) fn send(&self, command: Command) -> Vec<Command> {
        if self.has_ended.load(Ordering::SeqCst) {
            return vec![command];
        }
        let unsent = self.sender.send(command).err().map(SendError::into_inner);
        let returned = self.has_ended.load(Ordering::SeqCst).then(|| self.returned.try_iter());
        unsent.into_iter().chain(returned.into_iter().flatten()).collect()
    }
}

/// Starts the thread and waits until its backend is there.
pub(super) fn start(config: &Config, open: OpenBackend, shared: SharedState) -> Result<(CommandSender, Work)> {
    // A pending request causes at most a submission, an end and two changes of parking; the rest is for models and shutdown.
    let room = config.max_pending.saturating_mul(4).saturating_add(64);
    let (sender, commands) = bounded(room.min(MAX_COMMANDS));
    let (started, starting) = bounded(1);
    let has_ended = Arc::new(AtomicBool::new(false));
    let config = *config;
    let (returned, ended) = (commands.clone(), Arc::clone(&has_ended));
    let body = move || {
        let obituary = Obituary { readers: Arc::clone(&shared.readers), commands: commands.clone(), has_ended: ended };
        match guarded(Code::BackendError, open) {
            Ok(backend) => {
                started.send(Ok(())).ok();
                run(&mut Core::new(&config, backend, shared), &commands);
            }
            Err(error) => drop(started.send(Err(error))),
        }
        drop(obituary);
    };
    let thread = threads::run(body)
        .map_err(|error| Error::new(Code::BackendError, "the engine thread could not be started").with_source(error))?;
    starting
        .recv()
        .unwrap_or_else(|_| Err(Error::new(Code::BackendError, "the engine thread ended while it started")))?;
    Ok((CommandSender { sender, returned, has_ended }, thread))
}

fn run(core: &mut Core, commands: &Receiver<Command>) {
    loop {
        while let Ok(command) = commands.try_recv() {
            core.take(command);
        }
        match core.turn() {
            Next::Turn => {}
            Next::Leave => return,
            Next::Wait(until) => match wait(commands, until) {
                Ok(command) => core.take(command),
                Err(RecvTimeoutError::Timeout) => {}
                // Every handle is gone, so nobody can ask for anything any more.
                Err(RecvTimeoutError::Disconnected) => core.take(Command::Stop),
            },
        }
    }
}

fn wait(commands: &Receiver<Command>, until: Option<Instant>) -> Result<Command, RecvTimeoutError> {
    match until {
        Some(until) => commands.recv_deadline(until),
        None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Dropped when the thread ends, however it does: nobody is left to end what has not ended.
struct Obituary {
    readers: Arc<Readers>,
    commands: Receiver<Command>,
    has_ended: Arc<AtomicBool>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let code = if std::thread::panicking() { Code::BackendError } else { Code::EngineClosed };
        self.has_ended.store(true, Ordering::SeqCst);
        self.commands.try_iter().for_each(drop);
        self.readers.fail_all(&Error::new(code, "the engine thread has ended"));
    }
}
