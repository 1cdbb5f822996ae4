//! The part of a load that only the engine thread can do. It is done in small parts, in turns between steps of other models.
//! `loading` reads files and weights before; `device` gives the turns.

use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::executor::Executor;

use super::command::Loading;
use super::guarded::guarded;

/// A turn starts no further part after this time. While other models stream, their shortest step time is used if it is less.
const LONGEST_TURN: Duration = Duration::from_millis(4);
/// The least time of a turn, however short the steps of streams are.
const SHORTEST_TURN: Duration = Duration::from_millis(1);

/// A load on the engine thread. Dropping it releases what the load holds, then replies.
pub(super) struct Opening {
    loading: Loading,
    end: Option<Result<Box<dyn Executor>>>,
}

impl Opening {
    pub(super) fn new(loading: Loading) -> Self {
        Self { loading, end: None }
    }

    /// A turn on the device. It does at least one part; beside streams it takes about as long as one of their steps.
    pub(super) fn turn(&mut self, stream_step: Option<Duration>, clock: &dyn Clock) {
        let until = clock.now() + stream_step.map_or(LONGEST_TURN, |step| step.clamp(SHORTEST_TURN, LONGEST_TURN));
        while self.end.is_none() {
            self.end = self.part().transpose();
            if clock.now() >= until {
                return;
            }
        }
    }

    /// Does the next part. A panic fails only this load.
    fn part(&mut self) -> Result<Option<Box<dyn Executor>>> {
        let Loading { prepared, control, .. } = &mut self.loading;
        control.check()?;
        guarded(Code::ModelLoadError, || prepared.advance())
    }

    /// Releases what the load holds, then replies with the error.
    pub(super) fn fail(self, error: Error) {
        let Self { loading, end } = self;
        drop(end);
        loading.fail(error);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The load and its result; `None` if it has not ended.
    pub(super) fn into_end(self) -> Option<(Loading, Result<Box<dyn Executor>>)> {
        let Self { loading, end } = self;
        Some((loading, end?))
    }
}
