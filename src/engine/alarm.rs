//! Notifies a supervisor of threads that ended and of workers that got something to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::ids::WorkerId;

/// What a supervisor hears.
pub(super) enum Event {
    /// A thread has ended by a panic.
    Died(WorkerId),
    /// Workers got something to do.
    Busy,
    /// The engine was dropped.
    End,
}

/// Tells the supervisor what happened. Never blocks.
#[derive(Clone)]
pub(super) struct Alarm {
    events: Sender<Event>,
    /// Whether the supervisor waits without a limit.
    is_asleep: Arc<AtomicBool>,
}

impl Alarm {
    /// An alarm, and what its supervisor hears.
    pub(super) fn new() -> (Self, Heard) {
        let (events, heard) = unbounded();
        let is_asleep = Arc::<AtomicBool>::default();
        (Self { events, is_asleep: Arc::clone(&is_asleep) }, Heard { events: heard, is_asleep })
    }

    pub(super) fn died(&self, id: WorkerId) {
        self.events.send(Event::Died(id)).ok();
    }

    /// A request, a load, an unload or a shutdown was sent to a worker.
    pub(super) fn busy(&self) {
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::AcqRel) {
            self.events.send(Event::Busy).ok();
        }
    }

    pub(super) fn end(&self) {
        self.events.send(Event::End).ok();
    }
}

/// The receiving end of an [`Alarm`].
pub(super) struct Heard {
    pub(super) events: Receiver<Event>,
    pub(super) is_asleep: Arc<AtomicBool>,
}
