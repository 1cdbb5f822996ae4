//! The commands on their way to the engine thread. Sending never blocks: there is no bound to wait at, because what may lie
//! here is bounded by what its senders hold. A request has a permit, and causes one submission; a reader causes a cancellation,
//! an end and an unparking, each once; a load has a place among the loads, a model one unloading.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// The sending end. The engine thread learns when it is dropped.
pub(super) struct Mailbox<T>(Arc<Shared<T>>);

/// The receiving end. Dropped, what lies here is dropped, and nothing is taken any more.
pub(super) struct Inbox<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Nothing will be sent any more.
    is_abandoned: bool,
    /// Nothing will be taken any more.
    is_closed: bool,
}

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// The moment came first.
    TimedOut,
    /// Nothing will ever come.
    Abandoned,
}

/// Both ends.
pub(super) fn mailbox<T>() -> (Mailbox<T>, Inbox<T>) {
    let state = Mutex::new(State { queue: VecDeque::new(), is_abandoned: false, is_closed: false });
    let shared = Arc::new(Shared { state, filled: Condvar::new() });
    (Mailbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Mailbox<T> {
    /// Sends, or gives back what nothing will read.
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
    /// Puts all that lies here into `items`, which is empty, in the order in which it came.
    pub(super) fn take_all(&self, items: &mut VecDeque<T>) {
        std::mem::swap(&mut lock(&self.0.state).queue, items);
    }

    /// What came first; waits for it, until a moment if there is one.
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

    /// Waits for news. Gives nothing once the moment has come.
    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>, until: Option<Instant>) -> Option<MutexGuard<'a, State<T>>> {
        let Some(until) = until else {
            return Some(self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.0.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl<T> Inbox<T> {
    /// Drops what lies here; what is sent from now on goes back to its sender.
    pub(super) fn close(&self) {
        let mut state = lock(&self.0.state);
        state.is_closed = true;
        let left = std::mem::take(&mut state.queue);
        // What is dropped may give replies, and these may send.
        drop(state);
        drop(left);
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.close();
    }
}
