//! The queue of commands to the engine thread. Sending never blocks. The queue has no limit of its own, because its senders are
//! limited: a request has a permit and is submitted once; a reader causes at most one cancellation, one end and one unpark
//! command; loads are limited, and each model is unloaded once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// The sending end. The engine thread is notified when it is dropped.
pub(super) struct Mailbox<T>(Arc<Shared<T>>);

/// The receiving end. Dropping it closes the queue and drops its items.
pub(super) struct Inbox<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Whether the sending end was dropped.
    is_abandoned: bool,
    /// Whether the receiving end was closed.
    is_closed: bool,
}

/// Why no item was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// The given time has passed.
    TimedOut,
    /// The queue is empty and the sending end was dropped.
    Abandoned,
}

/// A queue with its two ends.
pub(super) fn mailbox<T>() -> (Mailbox<T>, Inbox<T>) {
    let state = Mutex::new(State { queue: VecDeque::new(), is_abandoned: false, is_closed: false });
    let shared = Arc::new(Shared { state, filled: Condvar::new() });
    (Mailbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Mailbox<T> {
    /// Sends an item. The error is the item, if the receiving end is closed.
    pub(super) fn send(&self, item: T) -> Result<(), T> {
        let mut state = lock(&self.0.state);
        if state.is_closed {
            return Err(item);
        }
        state.queue.push_back(item);
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        lock(&self.0.state).is_abandoned = true;
        self.0.filled.notify_one();
    }
}

impl<T> Inbox<T> {
    /// Moves all items into `items`, which must be empty, in order.
    pub(super) fn take_all(&self, items: &mut VecDeque<T>) {
        std::mem::swap(&mut lock(&self.0.state).queue, items);
    }

    /// Takes the first item. Waits for one, at most until `until`.
    pub(super) fn take(&self, until: Option<Instant>) -> Result<T, Empty> {
        let mut state = lock(&self.0.state);
        loop {
            if let Some(item) = state.queue.pop_front() {
                return Ok(item);
            }
            if state.is_abandoned {
                return Err(Empty::Abandoned);
            }
            state = self.wait(state, until).ok_or(Empty::TimedOut)?;
        }
    }

    /// Waits for a change of the queue. `None` once `until` has passed.
    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>, until: Option<Instant>) -> Option<MutexGuard<'a, State<T>>> {
        let Some(until) = until else {
            return Some(self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.0.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Drops all items. Items that are sent from now on go back to their sender.
    pub(super) fn close(&self) {
        let mut state = lock(&self.0.state);
        state.is_closed = true;
        let left = std::mem::take(&mut state.queue);
        // Dropped items may reply, and a reply may send an item, which needs the lock.
        drop(state);
        drop(left);
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.close();
    }
}
