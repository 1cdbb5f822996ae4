//! What an engine says about itself: statistics, metrics, health, messages.

use std::sync::Arc;

use napi_derive::napi;
use tracing::Span;

use crate::engine::{Health, HealthReason, HealthStatus};
use crate::exposition;
use crate::lock::lock;

use super::NativeEngine;
use super::figures::NativeStats;
use super::log::{NativeLog, NativeLogLevel, Queue};
use super::scripted::Scripted;
use super::subscriber::Registered;

#[napi]
impl NativeEngine {
    /// Counters since the start.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeStats {
        let sample = self.engine.get().map(|engine| engine.sample()).unwrap_or_default();
        let unused_answers = lock(&self.scripted).as_ref().and_then(Scripted::unused);
        let memory = self.engine.get().map(|engine| engine.memory()).unwrap_or_default();
        NativeStats { unused_answers, ..NativeStats::new(sample, memory) }
    }

    /// Metrics as `OpenMetrics` text.
    #[napi(catch_unwind)]
    pub fn metrics(&self) -> String {
        match self.engine.get() {
            Some(engine) if engine.exports_metrics() => exposition::text(engine.sample()),
            _ => exposition::off(),
        }
    }

    /// Whether the engine can serve requests.
    #[napi(catch_unwind)]
    pub fn health(&self) -> NativeHealth {
        self.engine.get().map_or_else(NativeHealth::closed, |engine| engine.health().into())
    }

    /// Takes the messages for the logger; nothing without a logger.
    #[napi(catch_unwind)]
    pub fn take_log(&self) -> Option<NativeLog> {
        lock(&self.log).as_ref().map(|log| log.queue().take())
    }
}

impl NativeEngine {
    /// Registers the logger. Returns the span of its engine.
    pub(super) fn register_log(&self, levels: Vec<NativeLogLevel>) -> Span {
        let waker = Arc::clone(&self.waker);
        let queue = Queue::new(levels.into_iter().map(Into::into).collect(), Box::new(move || waker.wake()));
        let registered = Registered::new(queue);
        let span = registered.span().clone();
        *lock(&self.log) = Some(registered);
        span
    }
}

/// The health of an engine.
#[napi(object)]
pub struct NativeHealth {
    /// The status.
    pub status: String,
    /// Why it is not ready.
    pub reasons: Vec<NativeHealthReason>,
}

/// Why an engine is not ready.
#[napi(object)]
pub struct NativeHealthReason {
    /// Its stable name.
    pub code: String,
    /// A sentence about it.
    pub message: String,
    /// The id of the model that it is about.
    pub model: Option<String>,
}

impl NativeHealth {
    fn closed() -> Self {
        Self { status: status_name(HealthStatus::Down).into(), reasons: vec![HealthReason::Closed.into()] }
    }
}

impl From<Health> for NativeHealth {
    fn from(Health { status, reasons }: Health) -> Self {
        Self { status: status_name(status).into(), reasons: reasons.into_iter().map(Into::into).collect() }
    }
}

impl From<HealthReason> for NativeHealthReason {
    fn from(reason: HealthReason) -> Self {
        let model = match &reason {
            HealthReason::StuckStep { model, .. } | HealthReason::CircuitOpen { model } => Some(model.to_string()),
            _ => None,
        };
        Self { code: reason.name().into(), message: reason.message(), model }
    }
}

fn status_name(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Ready => "ready",
        HealthStatus::Live => "live",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Down => "down",
    }
}
