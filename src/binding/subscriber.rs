//! The subscriber of tracing events. A process can have only one, so it serves all engines. An event belongs to the engine whose
//! span its thread has entered. The threads of an engine run in the span in which the engine was started.
//!
//! Where no engine wants an event, tracing skips it by one comparison: its values are neither computed nor formatted.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Span, Subscriber};
use tracing_core::span::Current;

use super::log::Queue;
use crate::lock::lock;

/// The target of the spans of engines.
const SPANS: &str = "mlx_serving::log";

/// The queues of all engines with a logger.
static QUEUES: Mutex<Vec<(u64, Arc<Queue>)>> = Mutex::new(Vec::new());

/// What describes the span of every engine.
static SPAN: OnceLock<&'static Metadata<'static>> = OnceLock::new();

thread_local! {
    /// The engines in whose spans this thread is, the innermost last.
    static ENTERED: RefCell<Vec<(u64, Option<Arc<Queue>>)>> = const { RefCell::new(Vec::new()) };
}

/// A queue that gets the events of its span. Dropping it ends that.
pub(super) struct Registered {
    id: u64,
    queue: Arc<Queue>,
    span: Span,
}

impl Registered {
    pub(super) fn new(queue: Queue) -> Self {
        static INSTALLED: Once = Once::new();
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        // It fails only if the process has another subscriber, which gets the events then.
        INSTALLED.call_once(|| drop(tracing::subscriber::set_global_default(ToQueues)));
        let (id, queue) = (LAST_ID.fetch_add(1, Ordering::Relaxed) + 1, Arc::new(queue));
        lock(&QUEUES).push((id, Arc::clone(&queue)));
        tracing::callsite::rebuild_interest_cache();
        Self { id, queue, span: tracing::error_span!(target: SPANS, "engine", id) }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&QUEUES).retain(|(id, _)| *id != self.id);
        tracing::callsite::rebuild_interest_cache();
    }
}

struct ToQueues;

impl Subscriber for ToQueues {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let is_wanted = metadata.target() == SPANS || lock(&QUEUES).iter().any(|(_, queue)| queue.wants(metadata));
        // `enabled` decides for each event, by the span of its thread.
        if is_wanted { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(lock(&QUEUES).iter().map(|(_, queue)| queue.max_level()).max().unwrap_or(LevelFilter::OFF))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == SPANS || entered().is_some_and(|queue| queue.wants(metadata))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut id = IdField(0);
        span.record(&mut id);
        SPAN.get_or_init(|| span.metadata());
        Id::from_u64(id.0)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if let Some(queue) = entered() {
            queue.push(event);
        }
    }

    fn enter(&self, span: &Id) {
        let id = span.into_u64();
        let queue = lock(&QUEUES).iter().find(|(own, _)| *own == id).map(|(_, queue)| Arc::clone(queue));
        ENTERED.with_borrow_mut(|entered| entered.push((id, queue)));
    }

    fn exit(&self, span: &Id) {
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| {
            if let Some(index) = entered.iter().rposition(|(own, _)| *own == id) {
                entered.remove(index);
            }
        });
    }

    fn current_span(&self) -> Current {
        let id = ENTERED.with_borrow(|entered| entered.last().map(|(id, _)| *id));
        match (id, SPAN.get()) {
            (Some(id), Some(metadata)) => Current::new(Id::from_u64(id), metadata),
            _ => Current::none(),
        }
    }
}

/// The queue of the engine for which this thread works.
fn entered() -> Option<Arc<Queue>> {
    // A thread that ends may have dropped its list.
    ENTERED.try_with(|entered| entered.borrow().last().and_then(|(_, queue)| queue.clone())).ok().flatten()
}

/// Reads the field `id` of a span.
struct IdField(u64);

impl Visit for IdField {
    fn record_u64(&mut self, _: &Field, id: u64) {
        self.0 = id;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::atomic::AtomicUsize;

    use super::super::log::{CAPACITY, MAX_VALUE_BYTES, NativeLog};
    use super::*;

    const TARGET: &str = "mlx_serving::scheduler";

    /// A registered queue, and how often it has woken.
    fn registered(level: LevelFilter) -> (Registered, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Registered::new(Queue::new(vec![(TARGET.into(), level)], Box::new(wake))), wakes)
    }

    fn texts(log: &Registered) -> Vec<String> {
        log.queue().take().lines.into_iter().map(|line| line.text).collect()
    }

    /// A value that counts how often it is formatted.
    struct Counted<'a>(&'a AtomicUsize);

    impl Debug for Counted<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            f.write_str("value")
        }
    }

    #[test]
    fn a_line_has_the_message_and_its_values_as_words() {
        let (log, _) = registered(LevelFilter::DEBUG);
        log.span().in_scope(|| tracing::debug!(target: TARGET, a = 1, b = "two words", c = ?Some("x"), "it happened"));
        let expected = r#"it happened a=1 b="two words" c="Some(\"x\")" target=mlx_serving::scheduler"#;
        assert_eq!(texts(&log), [expected]);
        let value = "é".repeat(MAX_VALUE_BYTES);
        log.span().in_scope(|| tracing::debug!(target: TARGET, value, "it happened"));
        assert_eq!(texts(&log)[0].matches('é').count(), MAX_VALUE_BYTES / 2);
    }

    #[test]
    fn an_event_that_no_logger_wants_is_not_formatted() {
        let formatted = AtomicUsize::new(0);
        let (log, wakes) = registered(LevelFilter::INFO);
        let (verbose, _) = registered(LevelFilter::TRACE);
        log.span().in_scope(|| {
            tracing::debug!(target: TARGET, value = ?Counted(&formatted), "below the level");
            tracing::info!(target: "mlx_serving::other", value = ?Counted(&formatted), "another target");
        });
        tracing::info!(target: TARGET, value = ?Counted(&formatted), "of no engine");
        assert_eq!((texts(&log).len(), texts(&verbose).len()), (0, 0));
        assert_eq!((formatted.load(Ordering::Relaxed), wakes.load(Ordering::Relaxed)), (0, 0));
        log.span().in_scope(|| tracing::info!(target: TARGET, value = ?Counted(&formatted), "wanted"));
        assert_eq!((texts(&log).len(), formatted.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted_and_there_is_one_wake() {
        let (log, wakes) = registered(LevelFilter::INFO);
        let emit = |count| log.span().in_scope(|| (0..count).for_each(|n| tracing::info!(target: TARGET, n, "line")));
        emit(CAPACITY + 7);
        let NativeLog { lines, dropped } = log.queue().take();
        assert_eq!((lines.len(), dropped, wakes.load(Ordering::Relaxed)), (CAPACITY, 7, 1));
        assert!(lines[CAPACITY - 1].text.starts_with(&format!("line n={} ", CAPACITY - 1)));
        emit(1);
        let NativeLog { lines, dropped } = log.queue().take();
        assert_eq!((lines.len(), dropped, wakes.load(Ordering::Relaxed)), (1, 0, 2));
    }

    #[test]
    fn events_go_to_the_engine_whose_span_the_thread_is_in() {
        let [(first, _), (second, _)] = [(); 2].map(|()| registered(LevelFilter::INFO));
        first.span().in_scope(|| {
            tracing::info!(target: TARGET, "one");
            second.span().in_scope(|| tracing::info!(target: TARGET, "two"));
            let span = tracing::Span::current();
            std::thread::spawn(move || span.in_scope(|| tracing::info!(target: TARGET, "three")))
                .join()
                .expect("it ends");
        });
        let line = |text: &str| format!("{text} target={TARGET}");
        assert_eq!(texts(&first), [line("one"), line("three")]);
        assert_eq!(texts(&second), [line("two")]);
        let span = first.span().clone();
        drop(first);
        span.in_scope(|| tracing::info!(target: TARGET, "after the end"));
        assert_eq!(texts(&second).len(), 0);
    }
}
