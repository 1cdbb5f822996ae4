use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::answers::{AnswerLog, Backlog, PromptReady, ReaderId, Readers, Stage, Wanted};
use crate::error::{Code, Error};
use crate::request::Progress;

use super::{finished, log};

struct Desk {
    readers: Readers,
    wakes: Arc<AtomicUsize>,
}

fn desk(window: usize) -> Desk {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let wake = Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    Desk { readers: Readers::new(window, wake), wakes }
}

impl Desk {
    fn add(&self) -> (Arc<AnswerLog>, ReaderId) {
        let log = Arc::new(log("first"));
        let id = self.readers.add(Arc::clone(&log), Instant::now());
        (log, id)
    }

    fn step(&self, log: &AnswerLog, id: ReaderId, text: &str) {
        log.append(7, text, &[]);
        self.readers.notify([id]);
        self.readers.wake();
    }

    fn close(&self, log: &AnswerLog, id: ReaderId) {
        log.close("", Ok(finished()));
        self.readers.notify([id]);
        self.readers.wake();
    }

    fn drain(&self) -> (String, Vec<(ReaderId, usize, bool)>) {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        let deliveries = self.readers.drain(&mut tokens, &mut text);
        (text, deliveries.into_iter().map(|d| (d.reader, d.num_tokens, d.end.is_some())).collect())
    }

    fn num_wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

#[test]
fn steps_that_pass_before_a_drain_cause_one_wake_and_one_delivery() {
    let desk = desk(8);
    let (log, id) = desk.add();
    desk.readers.stream(id);
    desk.step(&log, id, "a");
    desk.step(&log, id, "b");
    assert_eq!(desk.num_wakes(), 1);
    assert_eq!(desk.drain(), ("ab".into(), vec![(id, 2, false)]));
    desk.step(&log, id, "c");
    assert_eq!((desk.num_wakes(), desk.drain().0), (2, "c".into()));
}

#[test]
fn a_reader_that_only_awaits_is_woken_once_at_the_end() {
    let desk = desk(8);
    let (log, id) = desk.add();
    desk.step(&log, id, "a");
    assert_eq!((desk.num_wakes(), desk.drain().1), (0, vec![]));
    desk.close(&log, id);
    assert_eq!((desk.num_wakes(), desk.drain().1), (1, vec![(id, 0, true)]));
    assert!(desk.readers.is_empty(), "the end was delivered, so the reader is removed");
}

#[test]
fn a_reader_that_starts_to_stream_late_gets_everything_from_the_beginning() {
    let desk = desk(8);
    let (log, id) = desk.add();
    desk.step(&log, id, "ab");
    desk.readers.stream(id);
    assert_eq!((desk.num_wakes(), desk.drain().0), (1, "ab".into()));
}

#[test]
fn a_reader_that_starts_to_stream_before_the_first_token_causes_no_wake() {
    let desk = desk(8);
    let (log, id) = desk.add();
    desk.readers.stream(id);
    assert_eq!(desk.num_wakes(), 0);
    desk.step(&log, id, "a");
    assert_eq!((desk.num_wakes(), desk.drain().0), (1, "a".into()));
}

#[test]
fn a_removed_reader_gets_nothing_more() {
    let desk = desk(8);
    let (log, id) = desk.add();
    desk.readers.stream(id);
    desk.step(&log, id, "a");
    assert!(desk.readers.remove(id).is_some());
    assert_eq!(desk.drain(), (String::new(), vec![]));
    assert!(desk.readers.remove(id).is_none());
}

#[test]
fn a_reader_is_behind_when_its_window_is_full_and_catches_up_at_half() {
    let desk = desk(4);
    let (log, id) = desk.add();
    desk.readers.stream(id);
    (0..3).for_each(|_| desk.step(&log, id, "a"));
    assert_eq!(desk.readers.backlog([id].into_iter(), 0), Backlog::Room(1));
    assert_eq!(desk.readers.backlog([id].into_iter(), 1), Backlog::Exceeded, "one more token is in flight");
    desk.step(&log, id, "a");
    assert_eq!(desk.readers.backlog([id].into_iter(), 0), Backlog::Exceeded);
    assert!(!desk.readers.credit(id, 1), "three tokens are unconsumed");
    assert!(desk.readers.credit(id, 1), "two tokens are unconsumed");
    assert!(!desk.readers.credit(id, 1), "reported once");
}

#[test]
fn a_reader_that_only_awaits_is_never_behind() {
    let desk = desk(1);
    let (log, id) = desk.add();
    (0..9).for_each(|_| desk.step(&log, id, "a"));
    assert_eq!(desk.readers.backlog([id].into_iter(), 0), Backlog::Room(1));
}

#[test]
fn notifying_a_reader_that_only_awaits_does_not_wait_for_the_writer_of_its_log() {
    let Desk { readers, .. } = desk(8);
    let log = Arc::new(log("first"));
    let id = readers.add(Arc::clone(&log), Instant::now());
    let (notified, notification) = mpsc::channel();
    let write = |_: &mut String| {
        let notify = move || {
            readers.notify([id]);
            notified.send(()).ok();
        };
        let thread = thread::spawn(notify);
        (notification.recv_timeout(Duration::from_secs(10)), thread)
    };
    let (is_notified, thread) = log.write(7, &[], write);
    thread.join().expect("ends");
    assert_eq!(is_notified, Ok(()), "the reader was notified during the write");
}

#[test]
fn an_answer_has_room_while_one_of_its_readers_keeps_up() {
    let desk = desk(2);
    let (log, slow) = desk.add();
    let fast = desk.readers.add(Arc::clone(&log), Instant::now());
    for id in [slow, fast] {
        desk.readers.stream(id);
    }
    (0..5).for_each(|_| desk.step(&log, slow, "a"));
    desk.readers.credit(fast, 5);
    assert_eq!(desk.readers.backlog([slow, fast].into_iter(), 0), Backlog::Room(2));
}

#[test]
fn fail_all_ends_every_open_answer_with_the_error() {
    let desk = desk(8);
    let (log, _) = desk.add();
    let (ended, other) = desk.add();
    ended.close("", Ok(finished()));
    desk.readers.fail_all(&Error::new(Code::BackendError, "gone"));
    assert_eq!(desk.drain().1.len(), 2);
    assert_eq!(log.end().expect("the answer has ended").expect_err("failed").code(), Code::BackendError);
    assert!(ended.end().expect("the answer has ended").is_ok(), "the first end counts");
    assert!(desk.readers.remove(other).is_none());
}

#[test]
fn one_wake_delivers_the_last_progress_report_and_then_the_tokens() {
    let desk = desk(8);
    let (log, id) = desk.add();
    let at = |processed| Progress { processed, total: 9, cached: 0 };
    desk.readers.progress(id, at(1));
    assert!(!desk.readers.wants_progress(id));
    desk.readers.notify([id]);
    desk.readers.wake();
    assert_eq!(desk.num_wakes(), 0, "the reader wants no reports");
    desk.readers.want_progress(id);
    desk.readers.stream(id);
    desk.readers.progress(id, at(4));
    desk.readers.progress(id, at(9));
    desk.step(&log, id, "a");
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let reported = desk.readers.drain(&mut tokens, &mut text).into_iter().map(|it| (it.progress, it.num_tokens));
    assert_eq!(reported.collect::<Vec<_>>(), [(Some(at(9)), 0), (None, 1)]);
    assert_eq!(desk.num_wakes(), 1);
    desk.step(&log, id, "b");
    assert_eq!(desk.drain().1, [(id, 1, false)], "the report is delivered once");
}

#[test]
fn a_reader_that_leaves_before_its_prompt_is_ready_submits_nothing() {
    let desk = desk(8);
    let (_, id) = desk.add();
    assert_eq!(desk.readers.remove(id), Some(Stage::Preparing));
    assert_eq!(desk.readers.begin_submit(id, None), PromptReady::Left);
}

#[test]
fn a_reader_that_leaves_while_its_request_is_submitted_is_abandoned_after_the_request() {
    let desk = desk(8);
    let (_, id) = desk.add();
    assert_eq!(desk.readers.begin_submit(id, None), PromptReady::Submit);
    assert_eq!(desk.readers.remove(id), Some(Stage::Submitting));
    assert_eq!(desk.readers.end_submit(id), Some(Wanted::Abandon));
}

#[test]
fn a_cancellation_waits_until_the_request_is_submitted() {
    let desk = desk(8);
    let [(_, early), (_, late), (_, running)] = [desk.add(), desk.add(), desk.add()];
    assert!(!desk.readers.cancel(early), "the prompt is not ready");
    assert_eq!(desk.readers.begin_submit(early, None), PromptReady::Cancelled);
    assert_eq!(desk.readers.begin_submit(late, None), PromptReady::Submit);
    assert!(!desk.readers.cancel(late), "the request is being submitted");
    assert_eq!(desk.readers.end_submit(late), Some(Wanted::Cancel));
    assert!(!desk.readers.cancel(late), "the engine thread is asked once");
    assert_eq!(desk.readers.remove(late), Some(Stage::Submitted));
    desk.readers.begin_submit(running, None);
    assert_eq!(desk.readers.end_submit(running), None);
    assert!(desk.readers.cancel(running), "the engine thread has the request");
}

#[test]
fn every_delivery_has_the_parser_of_its_reader() {
    let readers = Readers::new(8, Box::new(|| ()));
    let log = Arc::new(log("first"));
    let id = readers.add(Arc::clone(&log), Instant::now());
    readers.begin_submit(id, Some("parser"));
    readers.stream(id);
    log.append(7, "a", &[]);
    log.close("", Ok(finished()));
    readers.notify([id]);
    let deliveries = readers.drain(&mut Vec::new(), &mut String::new());
    let parsers =
        deliveries.iter().map(|delivery| delivery.parser.as_ref().map(|it| *it.lock().expect("not poisoned")));
    assert_eq!(parsers.collect::<Vec<_>>(), [Some("parser"), Some("parser")]);
}
