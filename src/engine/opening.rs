//! A model on its way from a load thread to its scheduler: what only the engine thread can do is done in parts, in turns
//! between steps of other models.

use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::executor::Executor;

use super::command::Loading;
use super::guarded::guarded;

/// How long a turn goes on with the next part, unless streams of other models want less.
const LONGEST_TURN: Duration = Duration::from_millis(4);
/// A turn of a load beside the fastest streams.
const SHORTEST_TURN: Duration = Duration::from_millis(1);

/// See the module. Dropped, it gives back what the load holds, and then its reply.
pub(super) struct Opening {
    loading: Loading,
    end: Option<Result<Box<dyn Executor>>>,
}

impl Opening {
    pub(super) fn new(loading: Loading) -> Self {
        Self { loading, end: None }
    }

    /// A turn on the device. Beside streams it takes about as long as one of their steps, and one part at least.
    pub(super) fn turn(&mut self, stream_step: Option<Duration>, clock: &dyn Clock) {
        let until = clock.now() + stream_step.map_or(LONGEST_TURN, |step| step.clamp(SHORTEST_TURN, LONGEST_TURN));
        while self.end.is_none() {
            self.end = self.part().transpose();
            if clock.now() >= until {
                return;
            }
        }
    }

    /// A panic while a model is opened is that model's failure alone.
    fn part(&mut self) -> Result<Option<Box<dyn Executor>>> {
        let Loading { prepared, active, .. } = &mut self.loading;
        active.control.check()?;
        guarded(Code::ModelLoadError, || prepared.advance())
    }

    /// Gives back what it holds, then the reply.
    pub(super) fn fail(self, error: Error) {
        let Self { loading, end } = self;
        drop(end);
        loading.fail(error);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What was loaded and how that ended; absent while it goes on.
    pub(super) fn into_end(self) -> Option<(Loading, Result<Box<dyn Executor>>)> {
        let Self { loading, end } = self;
        Some((loading, end?))
    }
}
