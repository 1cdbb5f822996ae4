//! The loads of an engine that have not ended: their number is limited, and all end with the engine. `loading` does the work.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Result};
use crate::executor::LoadControl;
use crate::lock::lock;

/// The most loads at a time, each of which has a thread.
const MAX_LOADS: usize = 32;

/// The loads that have not ended.
#[derive(Default)]
pub(super) struct Loads {
    state: Mutex<State>,
    left_device: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    active: Vec<Active>,
    /// Called after the last load has ended.
    at_end: Vec<Box<dyn FnOnce() + Send>>,
    /// The error of new loads, once the engine is closed.
    closed: Option<Error>,
}

struct Active {
    number: u64,
    control: LoadControl,
    /// Whether the load may hold objects of the device library.
    is_on_device: bool,
}

/// A load. It ends when this is dropped. Everything that the load holds must be dropped before.
pub(super) struct ActiveLoad {
    pub(super) control: LoadControl,
    number: u64,
    loads: Arc<Loads>,
}

impl Loads {
    /// Starts a load that `control` can abort.
    pub(super) fn begin(self: &Arc<Self>, control: LoadControl) -> Result<ActiveLoad> {
        let mut state = lock(&self.state);
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        let count = state.active.len();
        if count >= MAX_LOADS {
            let message = format!("at most {MAX_LOADS} models are loaded at a time; retry when a load has ended");
            return Err(Error::new(Code::Overloaded, message).with_limit(MAX_LOADS as f64, (count + 1) as f64));
        }
        let number = state.next;
        state.next += 1;
        state.active.push(Active { number, control: control.clone(), is_on_device: false });
        Ok(ActiveLoad { control, number, loads: Arc::clone(self) })
    }

    /// Aborts all loads with an error, and refuses later loads with it.
    pub(super) fn close(&self, error: &Error) {
        let mut state = lock(&self.state);
        state.closed = Some(error.clone());
        for active in &state.active {
            active.control.abort(error.clone());
        }
    }

    /// Calls `done` after all loads have released what they held; at once if there are none.
    pub(super) fn at_end(&self, done: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        if state.active.is_empty() {
            drop(state);
            return done();
        }
        state.at_end.push(Box::new(done));
    }

    /// Waits until no load holds objects of the device library. It does not wait for loads that only read files.
    pub(super) fn leave_device(&self) {
        let state = lock(&self.state);
        let is_there = |state: &mut State| state.active.iter().any(|active| active.is_on_device);
        drop(self.left_device.wait_while(state, is_there).unwrap_or_else(PoisonError::into_inner));
    }

    #[cfg(test)]
    pub(super) fn num_active(&self) -> usize {
        lock(&self.state).active.len()
    }

    fn end(&self, number: u64) {
        let mut state = lock(&self.state);
        state.active.retain(|active| active.number != number);
        let done = if state.active.is_empty() { std::mem::take(&mut state.at_end) } else { Vec::new() };
        drop(state);
        self.left_device.notify_all();
        for done in done {
            done();
        }
    }
}

impl ActiveLoad {
    /// From now on the load may hold objects of the device library. An error once the engine is closed.
    pub(super) fn enter_device(&self) -> Result<()> {
        let mut state = lock(&self.loads.state);
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        if let Some(own) = state.active.iter_mut().find(|active| active.number == self.number) {
            own.is_on_device = true;
        }
        Ok(())
    }
}

impl Drop for ActiveLoad {
    fn drop(&mut self) {
        self.loads.end(self.number);
    }
}
