//! Readers that get the answer of another request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::{AnswerLog, Begun, End, Finished, Logprobs, ReaderId, Readers, Stamps};
use crate::error::{Code, Error};
use crate::request::{RequestId, Served, Summary, Usage};

use super::store::logprobs_of;
use super::{finished, log};

fn readers() -> Readers {
    Readers::new(8, Box::new(|| ()))
}

/// The number of tokens of each delivery, the whole text, and the end if there was one.
type Drained = (Vec<usize>, String, Option<(End, Arc<AnswerLog>)>);

fn drained(readers: &Readers) -> Drained {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let mut deliveries = readers.drain(&mut tokens, &mut text);
    let end = deliveries.last_mut().and_then(|last| last.end.take());
    let pieces = deliveries.iter().map(|delivery| delivery.num_tokens).filter(|&count| count > 0).collect();
    (pieces, text, end)
}

fn summary(end: Option<(End, Arc<AnswerLog>)>) -> Summary {
    end.expect("the answer has ended").0.expect("the answer is complete")
}

/// A reader that gets the answer of another request.
fn shared(readers: &Readers, first: &Arc<AnswerLog>, submitted_at: Instant, since: Instant) -> ReaderId {
    let id = readers.add(Arc::new(log("second")), submitted_at);
    readers.share(id, Arc::clone(first), Served::Cached, since, None);
    id
}

#[test]
fn a_complete_answer_is_streamed_in_pieces_with_their_own_text() {
    let readers = readers();
    let first = Arc::new(log("first"));
    (0..40).for_each(|token| first.append(token, &format!("{token} "), &[]));
    first.close("rest", Ok(finished()));
    let id = shared(&readers, &first, Instant::now(), Instant::now());
    readers.stream(id);
    let (pieces, text, end) = drained(&readers);
    assert_eq!(pieces, [16, 16, 8]);
    assert_eq!(text, first.text());
    assert!(end.is_some());
}

#[test]
fn the_summary_of_a_shared_answer_says_so_and_counts_no_work_of_the_other_request() {
    let readers = readers();
    let first = Arc::new(log("first"));
    first.append(1, "a", &[]);
    let start = Instant::now();
    let at = |ms| Some(start + Duration::from_millis(ms));
    let stamps = Stamps { started: at(1), first_token: at(10), last_token: at(50), ended: at(50) };
    first.close("", Ok(Finished { stamps, ..finished() }));
    let submitted = start + Duration::from_millis(100);
    let id = shared(&readers, &first, submitted, submitted + Duration::from_millis(2));
    readers.notify([id]);
    let summary = summary(drained(&readers).2);
    assert_eq!((summary.served, summary.id), (Served::Cached, RequestId("second".into())));
    assert_eq!(summary.shared_from, Some(RequestId("first".into())));
    assert_eq!((summary.usage.cached_input_tokens, summary.usage.cached_output_tokens), (3, 1));
    assert_eq!((summary.timings.total, summary.timings.decode), (Duration::from_millis(2), Duration::ZERO));
}

#[test]
fn the_timings_of_a_late_reader_start_at_its_own_request() {
    let readers = readers();
    let first = Arc::new(log("first"));
    first.append(1, "a", &[]);
    let start = Instant::now();
    let at = |ms| Some(start + Duration::from_millis(ms));
    let stamps = Stamps { started: at(1), first_token: at(10), last_token: at(50), ended: at(51) };
    first.close("", Ok(Finished { stamps, ..finished() }));
    let joined = start + Duration::from_millis(30);
    let id = shared(&readers, &first, joined, joined);
    readers.notify([id]);
    let timings = summary(drained(&readers).2).timings;
    let ms = |duration: Duration| duration.as_millis();
    assert_eq!((ms(timings.queue), ms(timings.ttft), ms(timings.decode), ms(timings.total)), (0, 0, 20, 21));
}

#[test]
fn a_reader_that_leaves_keeps_the_text_so_far_and_the_others_go_on() {
    let readers = readers();
    let first = Arc::new(log("first"));
    let stays = readers.add(Arc::clone(&first), Instant::now());
    let leaves = shared(&readers, &first, Instant::now(), Instant::now());
    readers.stream(leaves);
    first.append(1, "a", &[]);
    first.append(2, "b", &[]);
    readers.cut(leaves, Arc::new(first.so_far()), Ok(finished()));
    first.append(3, "c", &[]);
    readers.notify([leaves, stays]);
    let (_, text, end) = drained(&readers);
    let (end, log) = end.expect("the answer has ended");
    assert_eq!((text.as_str(), log.text().as_str(), end.is_ok()), ("ab", "ab", true));
    first.close("", Ok(finished()));
    readers.notify([stays]);
    assert_eq!(drained(&readers).2.expect("the answer has ended").1.text(), "abc");
}

#[test]
fn log_probabilities_come_with_their_tokens_in_every_delivery_and_all_at_the_end() {
    let readers = readers();
    let first = Arc::new(log("first").with_logprobs(Some(1)));
    (0..40).for_each(|token| first.append(token, "", &logprobs_of(token)));
    first.close("held back", Ok(finished()));
    let id = shared(&readers, &first, Instant::now(), Instant::now());
    readers.stream(id);
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let deliveries = readers.drain(&mut tokens, &mut text);
    let mut pieces = deliveries.iter().filter(|delivery| delivery.end.is_none()).map(|delivery| &delivery.logprobs);
    assert!(pieces.clone().all(|piece| piece.per_token == 2));
    assert_eq!(pieces.clone().map(|piece| piece.values.len()).collect::<Vec<_>>(), [32, 32, 16]);
    let all: Vec<_> = (0..40).flat_map(logprobs_of).collect();
    assert_eq!(pieces.by_ref().flat_map(|piece| piece.values.clone()).collect::<Vec<_>>(), all);
    assert_eq!(first.logprobs(), Logprobs { per_token: 2, values: all.clone() });
    assert_eq!(first.so_far().logprobs().values, all);
}

#[test]
fn tokens_are_counted_up_to_a_place_in_the_text() {
    let log = log("first");
    ["ab", "", "c", "d"].iter().zip(0..).for_each(|(text, token)| log.append(token, text, &[]));
    // The second token has no text of its own; it completes what the first one began.
    let counts: Vec<_> = (0..=5).map(|num_bytes| log.num_tokens_within(num_bytes)).collect();
    assert_eq!(counts, [0, 1, 1, 3, 4, 4]);
    assert_eq!(super::log("empty").num_tokens_within(3), 0);
}

#[test]
fn a_request_that_fails_has_a_usage_once_its_generation_has_started() {
    let readers = readers();
    let error = Error::new(Code::Timeout, "too late");
    let (first, other) = (Arc::new(log("first")), Arc::new(log("other")));
    let waits = readers.add(Arc::clone(&other), Instant::now());
    let runs = readers.add(Arc::clone(&first), Instant::now());
    let joins = shared(&readers, &first, Instant::now(), Instant::now());
    first.begin(Begun { num_input_tokens: 5, num_cached_tokens: 4 });
    first.append(1, "a", &[]);
    assert!(readers.spent(waits).is_none());
    assert_eq!(readers.spent(runs).map(|spent| spent.usage.output_tokens), Some(1));
    first.close("", Err(error.clone()));
    other.close("", Err(error));
    readers.notify([waits, runs, joins]);
    let deliveries = readers.drain(&mut Vec::new(), &mut String::new());
    let spent: Vec<_> = deliveries.iter().map(|delivery| delivery.spent).collect();
    let usage = Usage { input_tokens: 5, cached_input_tokens: 4, output_tokens: 1, ..Usage::default() };
    let joined = Usage { cached_input_tokens: 5, cached_output_tokens: 1, ..usage };
    assert_eq!(spent, [None, Some(usage), Some(joined)]);
}

#[test]
fn a_log_without_log_probabilities_has_none() {
    let first = log("first");
    first.append(1, "a", &[]);
    assert_eq!(first.logprobs(), Logprobs::default());
    assert_eq!(log("first").with_logprobs(Some(0)).logprobs(), Logprobs { per_token: 1, values: Vec::new() });
}
