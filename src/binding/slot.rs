//! The native parts of a JavaScript engine object: the engine, and the function that wakes JavaScript. Both are released
//! when the engine is closed. The JavaScript object itself may be garbage-collected much later.

use std::sync::{Arc, Mutex};

use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::lock::lock;

/// Wakes JavaScript. Weak: an idle engine does not keep the process alive. A queue of one is enough: a pending wake also
/// drains everything that arrives before it runs.
type WakeFunction = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// The engine of a JavaScript object.
#[derive(Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Default)]
enum State {
    /// Not started yet.
    #[default]
    Empty,
    Running(Arc<Engine>),
    Closed,
}

impl Slot {
    /// Stores the engine that was started.
    pub(super) fn set(&self, engine: Arc<Engine>) -> Result<()> {
        let mut state = lock(&self.0);
        match *state {
            State::Empty => *state = State::Running(engine),
            State::Running(_) => return Err(Error::new(Code::ConfigError, "the engine was started before")),
            State::Closed => return Err(Error::new(Code::EngineClosed, "the engine was closed while it started")),
        }
        Ok(())
    }

    pub(super) fn get(&self) -> Option<Arc<Engine>> {
        match &*lock(&self.0) {
            State::Running(engine) => Some(Arc::clone(engine)),
            State::Empty | State::Closed => None,
        }
    }

    /// Takes the engine out. No engine can be stored afterwards.
    pub(super) fn close(&self) -> Option<Arc<Engine>> {
        match std::mem::replace(&mut *lock(&self.0), State::Closed) {
            State::Running(engine) => Some(engine),
            State::Empty | State::Closed => None,
        }
    }
}

/// Wakes JavaScript, from any thread, until it is released.
pub(super) struct Waker(Mutex<Option<WakeFunction>>);

impl Waker {
    pub(super) fn new(wake: &Function<'_, (), ()>) -> napi::Result<Self> {
        let wake = wake
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .max_queue_size::<1>()
            .build()?;
        Ok(Self(Mutex::new(Some(wake))))
    }

    pub(super) fn wake(&self) {
        if let Some(wake) = &*lock(&self.0) {
            // If the call is refused, a wake is queued already or JavaScript has ended.
            let _status = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Releases the function. Until then Node counts it as an open handle.
    pub(super) fn release(&self) {
        drop(lock(&self.0).take());
    }
}
