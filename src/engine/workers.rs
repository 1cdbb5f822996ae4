//! The workers of an engine: a mailbox and a thread for each. `router` decides which of them gets a request, `supervisor`
//! replaces threads, `worker` is one thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::error::{Code, Error, Result};
use crate::executor::Backend;
use crate::lock::lock;
use crate::scheduler::PrefixConfig;

use super::alarm::Alarm;
use super::budget::Ledger;
use super::command::{Command, Loading, closed};
use super::config::Config;
use super::guarded::guarded;
use super::ids::WorkerId;
use super::lease::Lease;
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::sample::{WorkerLoad, WorkerStats};
use super::shared::SharedState;
use super::threads::{self, Work};
use super::worker::{self, Worker};

/// When the engine ends, it waits at most this long for deposed threads, because they may hang in a device call for ever.
const PATIENCE: Duration = Duration::from_secs(2);
/// When the engine ends, it checks this often whether a thread is stuck.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the backend on an engine thread.
pub type OpenBackend = Box<dyn FnOnce() -> Result<Box<dyn Backend>> + Send>;

/// See the module.
pub(super) struct Workers {
    /// What new threads start with.
    config: Mutex<Config>,
    ledger: Arc<Ledger>,
    shared: SharedState,
    alarm: Alarm,
    all: Vec<Place>,
    /// Number of workers that take commands: no command has ended them, and they were not given up.
    num_left: Arc<AtomicUsize>,
    is_ending: AtomicBool,
    /// Held while a thread is replaced.
    replacing: Mutex<()>,
}

/// The place of one worker, whose threads come and go.
struct Place {
    mailbox: Mailbox<Command>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    thread: Option<Work>,
    lease: Arc<Lease>,
    /// Threads that were deposed.
    deposed: Vec<Work>,
    num_restarts: u64,
}

impl Workers {
    /// Starts the threads. The first one opens the backend; this waits for it.
    pub(super) fn start(
        config: &Config,
        ledger: Arc<Ledger>,
        open: OpenBackend,
        shared: SharedState,
        alarm: Alarm,
    ) -> Result<(Arc<Self>, Arc<dyn Backend>)> {
        let count = config.workers.count.max(1);
        let (places, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (mailbox, inbox) = mailbox();
                (Place { mailbox, state: Mutex::default() }, inbox)
            })
            .unzip();
        let num_left = Arc::new(AtomicUsize::new(count));
        let (is_ending, replacing) = Default::default();
        let config = Mutex::new(*config);
        let workers = Arc::new(Self { config, ledger, shared, alarm, all: places, num_left, is_ending, replacing });
        let (started, starting) = bounded(1);
        let mut open = Some(move || started.send(guarded(Code::BackendError, open).map(Arc::from)).is_ok());
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let first = open.take();
            workers.start_thread(WorkerId(number), inbox, Vec::new(), move || first.is_none_or(|open| open()))?;
        }
        let backend = starting
            .recv()
            .unwrap_or_else(|_| Err(Error::new(Code::BackendError, "the engine thread ended while it started")))?;
        Ok((workers, backend))
    }

    /// Starts a thread for a worker. It ends at once if `prepare` returns false.
    fn start_thread(
        &self,
        id: WorkerId,
        inbox: Inbox<Command>,
        models: Vec<Loading>,
        prepare: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<()> {
        let lease = Arc::new(Lease::default());
        let (readers, num_left) = (Arc::clone(&self.shared.readers), Arc::clone(&self.num_left));
        let at_end = move || {
            // Requests that are sent from now on go back to their senders, which end them; those of earlier ones end here.
            if num_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                readers.fail_all(&closed());
            }
        };
        let worker = Worker {
            id,
            config: *lock(&self.config),
            ledger: Arc::clone(&self.ledger),
            shared: self.shared.clone(),
            lease: Arc::clone(&lease),
            inbox,
            alarm: self.alarm.clone(),
            at_end: Box::new(at_end),
        };
        let body = move || {
            if prepare() {
                worker.run(models);
            }
        };
        let started = threads::ENGINES.run(body);
        let thread = started.map_err(|error| {
            Error::new(Code::BackendError, "the engine thread could not be started").with_source(error)
        })?;
        let mut state = lock(&self.place(id).state);
        (state.thread, state.lease) = (Some(thread), lease);
        Ok(())
    }

    /// Sends a command to a worker; never blocks. A command that it does not take any more comes back.
    pub(super) fn send(&self, id: WorkerId, command: Command) -> Result<(), Command> {
        self.place(id).mailbox.send(command)
    }

    /// Changes which KV is reused, also by threads that are started later.
    pub(super) fn configure_prefixes(&self, config: PrefixConfig) {
        lock(&self.config).scheduler.prefix = config;
        self.send_all(|| Command::ConfigurePrefixes(config));
    }

    /// Sends a command to each worker. After their threads have ended, dropped commands give their replies.
    pub(super) fn send_all(&self, mut command: impl FnMut() -> Command) {
        for place in &self.all {
            drop(place.mailbox.send(command()));
        }
    }

    pub(super) fn mailbox(&self, id: WorkerId) -> &Mailbox<Command> {
        &self.place(id).mailbox
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.all.len()).map(WorkerId)
    }

    /// The lease of the thread of a worker.
    pub(super) fn lease(&self, id: WorkerId) -> Arc<Lease> {
        Arc::clone(&lock(&self.place(id).state).lease)
    }

    /// Workers that take commands.
    pub(super) fn open_ids(&self) -> Vec<WorkerId> {
        let loads = self.ids().zip(self.shared.router.loads());
        loads.filter_map(|(id, load)| (!load.is_closed).then_some(id)).collect()
    }

    /// Whether no worker is in a device call, has a command, or owes a reply.
    pub(super) fn are_idle(&self) -> bool {
        self.all.iter().all(|place| place.mailbox.is_empty() && lock(&place.state).lease.is_idle())
    }

    /// Whether a thread that was deposed has not ended.
    pub(super) fn has_deposed(&self, id: WorkerId) -> bool {
        lock(&self.place(id).state).deposed.iter().any(Work::is_running)
    }

    /// Deposes the thread of a worker, if it waits in this call of the device.
    pub(super) fn depose(&self, id: WorkerId, lent: u64) -> bool {
        let mut state = lock(&self.place(id).state);
        let is_deposed = state.lease.depose(lent);
        if is_deposed {
            state.deposed.retain(Work::is_running);
            let thread = state.thread.take();
            state.deposed.extend(thread);
        }
        is_deposed
    }

    /// Starts another thread for a worker, which opens the given models first. Returns false if that is impossible, or if the
    /// engine is ending.
    pub(super) fn replace(&self, id: WorkerId, models: impl FnOnce() -> Vec<Loading>) -> bool {
        let (place, _held) = (self.place(id), lock(&self.replacing));
        let is_replaced = !self.is_ending() && {
            let inbox = place.mailbox.replace_inbox();
            self.start_thread(id, inbox, models(), || true).is_ok()
        };
        lock(&place.state).num_restarts += u64::from(is_replaced);
        is_replaced
    }

    /// A worker that is lost is not replaced: what is sent to it comes back from now on.
    pub(super) fn give_up(&self, id: WorkerId) {
        // Nothing is sent to it any more before what was sent comes back.
        let was_open = self.shared.router.close(id);
        self.place(id).mailbox.close();
        if was_open && self.num_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.readers.fail_all(&worker::ended());
        }
    }

    /// The engine ends: no thread is replaced any more.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Waits until all threads have ended; call [`end`](Self::end) before. Waits at most `PATIENCE` for deposed threads, and if
    /// `is_brief`, about as long for all threads.
    pub(super) fn wait(&self, is_brief: bool) {
        let patience = Instant::now() + PATIENCE;
        let is_over = || is_brief && Instant::now() > patience;
        drop(lock(&self.replacing));
        for id in self.ids() {
            while let Some(thread) = self.running(id).filter(|_| !is_over()) {
                thread.wait_until(Instant::now() + LOOK);
                let is_stuck = self.shared.stats.is_stuck(id, self.shared.clock.now());
                let lease = self.lease(id);
                if let Some(lent) = lease.lent().filter(|_| is_stuck)
                    && self.depose(id, lent)
                {
                    lease.fail_loads(&closed());
                }
            }
            let deposed = lock(&self.place(id).state).deposed.clone();
            for thread in deposed {
                thread.wait_until(patience);
            }
        }
    }

    /// The thread of a worker, if it has not ended and was not deposed.
    fn running(&self, id: WorkerId) -> Option<Work> {
        lock(&self.place(id).state).thread.clone().filter(Work::is_running)
    }

    /// The state of each worker.
    pub(super) fn stats(&self) -> Vec<WorkerStats> {
        let stats = |(place, load): (&Place, WorkerLoad)| {
            let state = lock(&place.state);
            let is_running = state.thread.as_ref().is_some_and(Work::is_running) && !state.lease.has_ended();
            WorkerStats { load, is_running, num_restarts: state.num_restarts }
        };
        self.all.iter().zip(self.shared.router.loads()).map(stats).collect()
    }

    /// Whether at least one worker takes commands, now or when its thread is replaced.
    pub(super) fn has_any(&self) -> bool {
        self.num_left.load(Ordering::Acquire) > 0
    }

    fn place(&self, id: WorkerId) -> &Place {
        &self.all[id.0]
    }
}
