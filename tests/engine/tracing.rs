//! Events for subscribers: every admission with its reason, every failed step with its error.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};

use mlx_serving::engine::Config;
use mlx_serving::executor::sim::{Fault, FaultKind};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::support::{Caller, draft};

/// Records the events of the scheduler and the engine.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string takes it");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["mlx_serving::scheduler", "mlx_serving::engine"].contains(&metadata.target())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut Fields(&mut line));
        self.0.lock().expect("not poisoned").push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The engine has its own thread, so the listener is global. The tests share it.
fn listener() -> &'static Listener {
    static LISTENER: OnceLock<Listener> = OnceLock::new();
    LISTENER.get_or_init(|| {
        let listener = Listener::default();
        tracing::subscriber::set_global_default(listener.clone()).expect("no other listener");
        listener
    })
}

#[test]
fn an_admission_emits_an_event_with_its_reason() {
    let listener = listener();
    let caller = Caller::with(&Config::default(), "instant", Vec::new());
    caller.ask(draft("one two", 3));
    let events = listener.0.lock().expect("not poisoned").join("\n");
    for part in ["admitted", "reason=FastPath", "depth=1", "tier=Medium", "waited_us="] {
        assert!(events.contains(part), "{part} is missing: {events}");
    }
}

#[test]
fn a_failed_step_emits_an_event_with_its_error() {
    let listener = listener();
    // After the first token, so that the request does not run again.
    let faults = vec![Fault { step: 4, kind: FaultKind::Collect }];
    let caller = Caller::with(&Config::default(), "instant", faults);
    caller.ask(draft("one two", 9));
    let events = listener.0.lock().expect("not poisoned").join("\n");
    for part in ["step failed", "lost=1", "error=BackendError: "] {
        assert!(events.contains(part), "{part} is missing: {events}");
    }
}
