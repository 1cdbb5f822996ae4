//! Loom runs every interleaving of the engine thread, a text thread and the draining thread on a few answers. No delivery is
//! lost or repeated, and no wake is missing.

use std::sync::Arc;
use std::time::Instant;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::answers::{AnswerLog, PromptReady, ReaderId, Readers, Stage, Wanted};
use crate::request::Served;

use super::{finished, log};

/// The readers of an engine, and the thread that drains when it is woken.
struct Drainer {
    readers: Arc<Readers>,
    wakes: Arc<AtomicUsize>,
    num_handled: usize,
    text: String,
    ends: Vec<ReaderId>,
}

impl Drainer {
    fn new() -> Self {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let wake = Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let readers = Arc::new(Readers::new(8, wake));
        Self { readers, wakes, num_handled: 0, text: String::new(), ends: Vec::new() }
    }

    fn add(&self, log: &Arc<AnswerLog>) -> ReaderId {
        self.readers.add(Arc::clone(log), Instant::now())
    }

    /// One turn of the draining thread. Returns whether it was woken.
    fn drain_if_woken(&mut self) -> bool {
        let wakes = self.wakes.load(Ordering::SeqCst);
        if wakes == self.num_handled {
            return false;
        }
        self.num_handled = wakes;
        let deliveries = self.readers.drain(&mut Vec::new(), &mut self.text);
        self.ends.extend(deliveries.iter().filter(|it| it.end.is_some()).map(|it| it.reader));
        true
    }

    /// Drains as long as there are wakes. Without a wake nothing is drained.
    fn drain_all(&mut self) {
        while self.drain_if_woken() {}
    }
}

fn written(texts: &[&str]) -> Arc<AnswerLog> {
    let log = log("first");
    for text in texts {
        log.append(7, text, &[]);
    }
    log.close("", Ok(finished()));
    Arc::new(log)
}

#[test]
fn tokens_written_during_a_drain_are_delivered() {
    loom::model(|| {
        let mut drainer = Drainer::new();
        let answer = Arc::new(log("first"));
        let reader = drainer.add(&answer);
        drainer.readers.stream(reader);
        let readers = Arc::clone(&drainer.readers);
        let engine = thread::spawn(move || {
            answer.append(1, "a", &[]);
            readers.notify([reader]);
            readers.wake();
            answer.append(2, "b", &[]);
            answer.close("c", Ok(finished()));
            readers.notify([reader]);
            readers.wake();
        });
        drainer.drain_if_woken();
        drainer.drain_if_woken();
        engine.join().expect("the thread ends");
        drainer.drain_all();
        assert_eq!((drainer.text.as_str(), drainer.ends.as_slice()), ("abc", [reader].as_slice()));
        assert!(drainer.readers.is_empty());
    });
}

#[test]
fn a_reader_that_starts_to_stream_while_it_gets_a_cached_answer_reads_it_once() {
    loom::model(|| {
        let mut drainer = Drainer::new();
        let reader = drainer.add(&Arc::new(log("second")));
        let readers = Arc::clone(&drainer.readers);
        let text = thread::spawn(move || {
            readers.share(reader, written(&["a", "b"]), Served::Cached, Instant::now(), None);
            readers.notify([reader]);
            readers.wake();
        });
        drainer.drain_if_woken();
        drainer.readers.stream(reader);
        drainer.drain_if_woken();
        text.join().expect("the thread ends");
        drainer.drain_all();
        assert_eq!(drainer.ends, [reader]);
        // A reader that starts to stream after the end has the whole answer in the end itself.
        assert!(drainer.text == "ab" || drainer.text.is_empty(), "{}", drainer.text);
    });
}

#[test]
fn a_reader_that_joins_a_running_answer_reads_it_from_the_beginning() {
    loom::model(|| {
        let mut drainer = Drainer::new();
        let answer = Arc::new(log("first"));
        let joins = drainer.add(&Arc::new(log("second")));
        let readers = Arc::clone(&drainer.readers);
        let engine = thread::spawn(move || {
            answer.append(1, "a", &[]);
            readers.share(joins, Arc::clone(&answer), Served::Coalesced, Instant::now(), None);
            readers.notify([joins]);
            readers.wake();
            answer.close("b", Ok(finished()));
            readers.notify([joins]);
            readers.wake();
        });
        drainer.readers.stream(joins);
        drainer.drain_if_woken();
        engine.join().expect("the thread ends");
        drainer.drain_all();
        assert_eq!((drainer.text.as_str(), drainer.ends.as_slice()), ("ab", [joins].as_slice()));
    });
}

#[test]
fn a_reader_that_leaves_a_running_answer_gets_nothing_and_the_other_reader_gets_everything() {
    loom::model(|| {
        let mut drainer = Drainer::new();
        let answer = Arc::new(log("first"));
        let [leaves, stays] = [drainer.add(&answer), drainer.add(&answer)];
        let readers = Arc::clone(&drainer.readers);
        let engine = thread::spawn(move || {
            answer.append(1, "a", &[]);
            answer.close("", Ok(finished()));
            readers.notify([leaves, stays]);
            readers.wake();
        });
        let was_there = drainer.readers.remove(leaves).is_some();
        drainer.drain_if_woken();
        engine.join().expect("the thread ends");
        drainer.drain_all();
        assert!(was_there);
        assert_eq!(drainer.ends, [stays]);
        assert!(drainer.readers.is_empty());
    });
}

#[test]
fn a_reader_that_catches_up_while_its_row_is_parked_unparks_the_row() {
    loom::model(|| {
        let drainer = Drainer::new();
        let answer = Arc::new(log("first"));
        let reader = drainer.add(&answer);
        drainer.readers.stream(reader);
        (0..8).for_each(|token| answer.append(token, "a", &[]));
        let readers = Arc::clone(&drainer.readers);
        let engine =
            thread::spawn(move || readers.backlog([reader].into_iter(), 0) == crate::answers::Backlog::Exceeded);
        let must_unpark = drainer.readers.credit(reader, 8);
        let is_parked = engine.join().expect("the thread ends");
        assert_eq!(is_parked, must_unpark, "exactly the parked rows are unparked");
    });
}

#[test]
fn a_reader_that_leaves_while_its_request_is_submitted_is_abandoned_exactly_once() {
    loom::model(|| {
        let drainer = Drainer::new();
        let reader = drainer.add(&Arc::new(log("first")));
        let readers = Arc::clone(&drainer.readers);
        let text = thread::spawn(move || {
            let is_submitted = readers.begin_submit(reader, None) == PromptReady::Submit;
            is_submitted.then(|| readers.end_submit(reader))
        });
        let stage = drainer.readers.remove(reader);
        let submitted = text.join().expect("the thread ends");
        let num_abandoned = [stage == Some(Stage::Submitted), submitted == Some(Some(Wanted::Abandon))];
        let num_abandoned = num_abandoned.into_iter().filter(|is_sent| *is_sent).count();
        assert_eq!(num_abandoned, usize::from(submitted.is_some()), "{stage:?} {submitted:?}");
    });
}
