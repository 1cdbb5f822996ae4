//! The right of a thread to act for a worker. The thread has this right until the supervisor deposes it. Nothing can stop a
//! thread in a device call, so the thread marks these calls (`lend`), and the supervisor deposes it only during such a call. A
//! deposed thread ends as soon as the call returns, and does nothing more for the worker. The lease also keeps the replies of
//! commands that wait until a model or everything is dropped, so that the supervisor can send them instead of the thread.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::lock::lock;
use crate::panics::EndOfThread;

use super::command::Reply;
use super::ids::ModelKey;

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

    /// Gives the replies that wait for this end; those of models, too, if everything has ended.
    pub(super) fn reply(&self, what: Ended) {
        let has_ended = |(other, _): &mut (Ended, Reply<()>)| *other == what || what == Ended::All;
        let ended: Vec<_> = lock(&self.waiting).extract_if(.., has_ended).collect();
        for (_, reply) in ended {
            reply.send(Ok(()));
        }
    }
}
