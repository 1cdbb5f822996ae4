//! Whether an engine can serve requests, as a probe asks for it. Read from any thread, also while the engine thread waits for a
//! device that does not answer.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::CircuitState;
use super::sample::Sample;
use super::watch::RunningStep;

/// What a load balancer and a supervisor should do with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// It serves requests.
    Ready,
    /// It runs, and has no model.
    Live,
    /// It runs, and requests are refused or wait for too long.
    Degraded,
    /// It does not accept requests any more.
    Down,
}

/// Why an engine is not ready.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthReason {
    /// It is shut down, or is shutting down.
    Closed,
    /// Its thread has ended by itself.
    EngineStopped,
    /// No model is loaded.
    NoModel,
    /// As many requests are pending as it accepts.
    QueueFull {
        /// The most pending requests.
        limit: usize,
    },
    /// The device failed too often, so the circuit breaker of a model is open.
    CircuitOpen {
        /// The id of the model.
        model: Arc<str>,
    },
    /// The device does not finish a step.
    StuckStep {
        /// The id of the model.
        model: Arc<str>,
        /// The step.
        step: RunningStep,
    },
}

impl HealthReason {
    /// The status of an engine with this reason alone.
    pub fn status(&self) -> HealthStatus {
        match self {
            Self::Closed | Self::EngineStopped => HealthStatus::Down,
            Self::QueueFull { .. } | Self::CircuitOpen { .. } | Self::StuckStep { .. } => HealthStatus::Degraded,
            Self::NoModel => HealthStatus::Live,
        }
    }

    /// Its name in the public API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::EngineStopped => "engineStopped",
            Self::NoModel => "noModel",
            Self::QueueFull { .. } => "queueFull",
            Self::CircuitOpen { .. } => "circuitOpen",
            Self::StuckStep { .. } => "stuckStep",
        }
    }

    /// A sentence about it.
    pub fn message(&self) -> String {
        match self {
            Self::Closed => "the engine is shut down".into(),
            Self::EngineStopped => "the engine thread has ended after an internal error".into(),
            Self::NoModel => "no model is loaded".into(),
            Self::QueueFull { limit } => format!("{limit} requests are pending, as many as this engine accepts"),
            Self::CircuitOpen { model } => {
                format!("the device failed too often, so requests for the model '{model}' are refused for a while")
            }
            Self::StuckStep { model, step: RunningStep { took, limit } } => {
                let [took, limit] = [took, limit].map(Duration::as_secs_f64);
                format!(
                    "a step of the model '{model}' has run for {took:.1} s; steps like it should end within {limit:.1} s"
                )
            }
        }
    }
}

/// The health of an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The worst status of its reasons.
    pub status: HealthStatus,
    /// Everything that is wrong; empty if it is ready.
    pub reasons: Vec<HealthReason>,
}

impl Health {
    /// The health of an engine with these reasons, the worst ones first.
    pub(super) fn of(mut reasons: Vec<HealthReason>) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.status()));
        let status = reasons.first().map_or(HealthStatus::Ready, HealthReason::status);
        Self { status, reasons }
    }
}

/// Reasons that a sample shows. A worker that is being replaced has no model for a moment.
pub(super) fn of_models(sample: &Sample, has_model: bool) -> impl Iterator<Item = HealthReason> {
    let stuck = sample.labels.iter().filter_map(|label| {
        let step = label.loaded?.step.filter(RunningStep::is_stuck)?;
        Some(HealthReason::StuckStep { model: Arc::clone(&label.label), step })
    });
    let open = sample.labels.iter().filter_map(|label| {
        let is_open = label.loaded?.circuit == CircuitState::Open;
        is_open.then(|| HealthReason::CircuitOpen { model: Arc::clone(&label.label) })
    });
    (!has_model).then_some(HealthReason::NoModel).into_iter().chain(stuck).chain(open)
}
