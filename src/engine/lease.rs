//! The right of a thread to act for a worker. The thread has this right until the supervisor deposes it. Nothing can stop a
//! thread in a device call, so the thread marks these calls (`lend`), and the supervisor deposes it only during such a call. A
//! deposed thread ends as soon as the call returns, and does nothing more for the worker. The lease also keeps the replies of
//! commands that wait until a model or everything is dropped, and of loads, so that the supervisor can send them instead of the
//! thread.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::lock::lock;
use crate::panics::EndOfThread;

use super::command::{Opened, Reply};
use super::ids::ModelKey;
use super::loads::ActiveLoad;

/// The state of a thread that was deposed.
const DEPOSED: u64 = u64::MAX;
/// The state of a thread that has ended by itself.
const ENDED: u64 = u64::MAX - 1;

/// The lease of one engine thread.
#[derive(Default)]
pub(super) struct Lease {
    /// Counts the starts and ends of device calls: odd during a call. [`DEPOSED`] and [`ENDED`] are final.
    state: AtomicU64,
    /// Whether the device has ever returned to the thread.
    has_served: AtomicBool,
    waiting: Mutex<Vec<(Ended, Reply<()>)>>,
    loads: Mutex<Vec<LoadEnd>>,
}

/// What must happen at the end of a load, once: the load does not count as active any more, and its caller gets the result.
#[derive(Clone)]
pub(super) struct LoadEnd(Arc<Mutex<Option<UnsentEnd>>>);

type UnsentEnd = (Option<Arc<ActiveLoad>>, Reply<Opened>);

impl LoadEnd {
    pub(super) fn new(active: Option<Arc<ActiveLoad>>, reply: Reply<Opened>) -> Self {
        Self(Arc::new(Mutex::new(Some((active, reply)))))
    }

    /// Ends the load, if it has not ended.
    pub(super) fn give(&self, result: Result<Opened>) {
        let taken = lock(&self.0).take();
        if let Some((active, reply)) = taken {
            drop(active);
            reply.send(result);
        }
    }

    fn is_given(&self) -> bool {
        lock(&self.0).is_none()
    }
}

/// What a reply waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The model is dropped.
    Model(ModelKey),
    /// Everything is dropped.
    All,
}

impl Lease {
    /// Runs a device call. Does not return if the thread was deposed during the call: the thread ends.
    pub(super) fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        let lent = self.state.load(Ordering::Relaxed) | 1;
        self.state.store(lent, Ordering::Release);
        let result = work();
        if self.state.compare_exchange(lent, lent + 1, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // The result belongs to the device, and this thread still owns it.
            drop(result);
            resume_unwind(Box::new(EndOfThread));
        }
        self.has_served.store(true, Ordering::Relaxed);
        result
    }

    /// The number of the call of the device in which the thread is, if it is in one.
    pub(super) fn lent(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        (state < ENDED && state % 2 == 1).then_some(state)
    }

    /// Whether the thread is in no device call, and no reply waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.lent().is_none() && lock(&self.waiting).is_empty()
    }

    /// Takes the worker from a thread that waits in this call of the device. Returns whether it did.
    pub(super) fn depose(&self, lent: u64) -> bool {
        self.state.compare_exchange(lent, DEPOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The thread ends. Returns whether it acted for its worker until now.
    pub(super) fn end(&self) -> bool {
        self.state.swap(ENDED, Ordering::AcqRel) != DEPOSED
    }

    /// Whether the thread has done anything on the device.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended, or has nothing left to do.
    pub(super) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == ENDED
    }

    /// Keeps a reply until something has ended.
    pub(super) fn keep(&self, what: Ended, reply: Reply<()>) {
        lock(&self.waiting).push((what, reply));
    }

    /// Keeps the end of a load that the thread has begun.
    pub(super) fn keep_load(&self, end: LoadEnd) {
        let mut loads = lock(&self.loads);
        loads.retain(|end| !end.is_given());
        loads.push(end);
    }

    /// Ends the loads that the thread has begun: the thread may hang for ever.
    pub(super) fn fail_loads(&self, error: &Error) {
        let loads = std::mem::take(&mut *lock(&self.loads));
        for load in loads {
            load.give(Err(error.clone()));
        }
    }

    /// Gives the replies that wait for this end; those of models, too, if everything has ended.
    pub(super) fn reply(&self, what: Ended) {
        let has_ended = |(other, _): &mut (Ended, Reply<()>)| *other == what || what == Ended::All;
        let ended: Vec<_> = lock(&self.waiting).extract_if(.., has_ended).collect();
        for (_, reply) in ended {
            reply.send(Ok(()));
        }
    }
}
