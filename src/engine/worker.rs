//! An engine thread: an OS thread that owns a [`Core`], and with it every device array of one worker. It waits on the mailbox
//! until the deadline that the core returns, so an idle worker uses no CPU and no timer decides a batch. If it ends by a panic,
//! another thread takes over its mailbox (`supervisor`).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::panics::EndOfThread;

use super::alarm::Alarm;
use super::budget::Ledger;
use super::command::{Command, Loading};
use super::config::Config;
use super::core::{Core, Next};
use super::ids::WorkerId;
use super::lease::Lease;
use super::mailbox::{Empty, Inbox};
use super::shared::SharedState;

/// What a thread needs to be a worker.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) config: Config,
    pub(super) ledger: Arc<Ledger>,
    pub(super) shared: SharedState,
    pub(super) lease: Arc<Lease>,
    pub(super) inbox: Inbox<Command>,
    pub(super) alarm: Alarm,
    /// The worker calls it when a command has ended it. A panic does not.
    pub(super) at_end: Box<dyn FnOnce() + Send>,
}

impl Worker {
    /// Opens the given models, then runs commands until one of them ends the worker.
    pub(super) fn run(self, models: Vec<Loading>) {
        let Self { id, config, ledger, shared, lease, inbox, alarm, at_end } = self;
        let mut core = Core::new(&config, id, Arc::clone(&lease), ledger, shared);
        let mut commands = VecDeque::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if !core.open_all(models) {
                // Without one of its models it would fail every request for it. The supervisor tries again.
                resume_unwind(Box::new(EndOfThread));
            }
            serve(&mut core, &inbox, &mut commands);
        }));
        let Err(panic) = outcome else {
            drop(inbox);
            return at_end();
        };
        let is_own = lease.end();
        // Memory of the device is free before another thread needs it. Dropping what a panic left behind may panic again.
        let lost = catch_unwind(AssertUnwindSafe(|| core.abandon(&ended())));
        // A deposed thread does this as well, because its successor may not have the mailbox yet.
        inbox.hand_over(commands);
        if is_own {
            alarm.died(id);
        }
        // The thread-local state of the device library may be inconsistent, so the thread ends.
        resume_unwind(lost.err().unwrap_or(panic));
    }
}

fn serve(core: &mut Core, inbox: &Inbox<Command>, commands: &mut VecDeque<Command>) {
    loop {
        inbox.take_all(commands);
        while let Some(command) = commands.pop_front() {
            core.take(command);
        }
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

/// The error of what a worker leaves unfinished when its thread ends by a panic.
pub(super) fn ended() -> Error {
    Error::new(Code::BackendError, "the engine thread has ended")
}
