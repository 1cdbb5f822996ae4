//! The queue of commands to the engine thread. Sending never blocks. The queue has no limit of its own, because its senders are
//! limited: a request has a permit and is submitted once; a reader causes at most one cancellation, one end and one unpark
//! command; loads are limited, and each model is unloaded once; the disk tier sends one for each read and write, whose numbers are
//! limited. The queue outlives its receiver: another thread may take over.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// The sending end. The engine thread is notified when it is dropped.
pub(super) struct Mailbox<T>(Arc<Shared<T>>);

/// The receiving end. Dropping it closes the queue and drops its items, unless another one has replaced it.
pub(super) struct Inbox<T> {
    shared: Arc<Shared<T>>,
    number: u64,
}

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
    /// The number of the receiving end that may receive.
    receiver: u64,
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
    let state = Mutex::new(State { queue: VecDeque::new(), is_abandoned: false, is_closed: false, receiver: 0 });
    let mailbox = Mailbox(Arc::new(Shared { state, filled: Condvar::new() }));
    let inbox = mailbox.replace_inbox();
    (mailbox, inbox)
}

impl<T> Mailbox<T> {
    /// A new receiving end, which replaces the one before. Only one may receive at a time.
    pub(super) fn replace_inbox(&self) -> Inbox<T> {
        let mut state = lock(&self.0.state);
        state.receiver += 1;
        Inbox { shared: Arc::clone(&self.0), number: state.receiver }
    }

    /// What `read` says of the queued items.
    pub(super) fn queued<R>(&self, read: impl FnMut(&T) -> Option<R>) -> Vec<R> {
        lock(&self.0.state).queue.iter().filter_map(read).collect()
    }

    /// Whether no item is queued.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0.state).queue.is_empty()
    }

    /// Puts items before all others, in their order.
    pub(super) fn put_first(&self, items: impl DoubleEndedIterator<Item = T>) {
        let mut state = lock(&self.0.state);
        items.rev().for_each(|item| state.queue.push_front(item));
    }

    /// Drops all items. Items that are sent from now on go back to their sender.
    pub(super) fn close(&self) {
        self.0.close();
    }

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
        std::mem::swap(&mut lock(&self.shared.state).queue, items);
    }

    /// Takes the first item. Waits for one, at most until `until`.
    pub(super) fn take(&self, until: Option<Instant>) -> Result<T, Empty> {
        let mut state = lock(&self.shared.state);
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
            return Some(self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.shared.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Puts items back before all others, in their order, and leaves the queue to another receiver.
    pub(super) fn hand_over(mut self, items: VecDeque<T>) {
        let mut state = lock(&self.shared.state);
        items.into_iter().rev().for_each(|item| state.queue.push_front(item));
        drop(state);
        self.number = 0;
    }
}

impl<T> Shared<T> {
    fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        let left = std::mem::take(&mut state.queue);
        // Dropped items may reply, and a reply may send an item, which needs the lock.
        drop(state);
        drop(left);
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        if lock(&self.shared.state).receiver == self.number {
            self.shared.close();
        }
    }
}
