//! Messages for the logger of an engine: a bounded queue of lines, which JavaScript takes after a wake. `subscriber` fills it
//! from tracing events; `lib/log.ts` decides the levels and writes the lines.

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use napi_derive::napi;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata};

/// Lines that may wait for JavaScript. Further ones are dropped and counted.
pub(super) const CAPACITY: usize = 1_024;
/// A longer value is cut.
pub(super) const MAX_VALUE_BYTES: usize = 1_024;

/// The lines of one engine that JavaScript has not taken.
pub(super) struct Queue {
    /// The level of each target. Other targets are off.
    levels: Vec<(String, LevelFilter)>,
    sender: Sender<NativeLogLine>,
    receiver: Receiver<NativeLogLine>,
    dropped: AtomicU32,
    is_wake_pending: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Queue {
    /// An empty queue. `wake` is called when there is something to take, at most once between two calls of [`take`](Self::take).
    pub(super) fn new(levels: Vec<(String, LevelFilter)>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let (sender, receiver) = bounded(CAPACITY);
        let (dropped, is_wake_pending) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { levels, sender, receiver, dropped, is_wake_pending, wake }
    }

    /// The most verbose level of all targets.
    pub(super) fn max_level(&self) -> LevelFilter {
        self.levels.iter().map(|(_, level)| *level).max().unwrap_or(LevelFilter::OFF)
    }

    /// Whether the logger wants events of this kind.
    pub(super) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.iter().any(|(target, level)| target == metadata.target() && metadata.level() <= level)
    }

    /// Adds the line of an event. Never blocks.
    pub(super) fn push(&self, event: &Event<'_>) {
        let line = NativeLogLine { level: name_of(*event.metadata().level()).into(), text: text_of(event) };
        if self.sender.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if !self.is_wake_pending.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Takes the lines that wait.
    pub(super) fn take(&self) -> NativeLog {
        // Cleared first: a line that is added meanwhile causes another wake.
        self.is_wake_pending.store(false, Ordering::Release);
        let lines = self.receiver.try_iter().take(CAPACITY).collect();
        NativeLog { lines, dropped: self.dropped.swap(0, Ordering::Relaxed) }
    }
}

/// `message name=value …`, as `lib/log.ts` writes its own lines.
fn text_of(event: &Event<'_>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    let Text { message, fields } = text;
    format!("{message}{fields} target={}", event.metadata().target())
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn add(&mut self, field: &Field, mut value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        if value.len() > MAX_VALUE_BYTES {
            value.truncate(value.floor_char_boundary(MAX_VALUE_BYTES));
            value.push('…');
        }
        if value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
            value = serde_json::Value::String(value).to_string();
        }
        // Writing to a string cannot fail.
        let _ = write!(self.fields, " {}={value}", field.name());
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The level of a target, as `lib/log.ts` reads it from `MLX_LOG`.
#[napi(object)]
pub struct NativeLogLevel {
    /// The target of events.
    pub target: String,
    /// The name of the most verbose level that the logger wants.
    pub level: String,
}

impl From<NativeLogLevel> for (String, LevelFilter) {
    fn from(NativeLogLevel { target, level }: NativeLogLevel) -> Self {
        (target, level.parse().unwrap_or(LevelFilter::OFF))
    }
}

/// Messages for a logger.
#[napi(object)]
pub struct NativeLog {
    /// The messages, oldest first.
    pub lines: Vec<NativeLogLine>,
    /// Messages that found no room since the last call.
    pub dropped: u32,
}

/// A message.
#[napi(object)]
pub struct NativeLogLine {
    /// The name of its level.
    pub level: String,
    /// The message and its values.
    pub text: String,
}
