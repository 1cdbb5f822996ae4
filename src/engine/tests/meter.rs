//! What runners measure, with a clock that the test moves: a step takes 1 ms.

use std::time::Duration;

use crate::answers::Settings;
use crate::engine::StepKind;
use crate::metrics::Histogram;

use super::harness::{CHUNK, Harness, SLOW, STEP, Spec, spec};

/// Number of values, and their sum in milliseconds.
fn totals(histogram: &Histogram) -> (u64, f64) {
    (histogram.count(), (histogram.sum() * 1e6).round() / 1e3)
}

fn step_counts(harness: &Harness) -> [u64; 3] {
    let step = harness.sample().figures().step;
    StepKind::ALL.map(|(kind, _)| step[kind as usize].count())
}

#[test]
fn latencies_are_measured_from_the_submission() {
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(spec(4));
    harness.clock.advance(STEP * 7);
    let num_tokens = harness.answer(reader).whole.1.len() as u64;
    let figures = harness.sample().figures();
    assert_eq!(totals(&figures.queue), (1, 7.0));
    assert_eq!(totals(&figures.latency.ttft), (1, 8.0));
    assert_eq!(totals(&figures.inter_token), (num_tokens - 1, (num_tokens - 1) as f64));
    assert_eq!(totals(&figures.latency.request), (1, 7.0 + num_tokens as f64));
    assert_eq!((figures.generated_tokens, figures.prompt_tokens), (num_tokens, 1));
}

#[test]
fn a_request_that_shares_an_answer_counts_from_its_own_submission() {
    let mut harness = Harness::new(Settings::default());
    harness.submit(spec(4));
    harness.turns(3);
    let joined = harness.submit(spec(4));
    harness.answer(joined);
    let before = harness.sample().figures();
    assert_eq!(totals(&before.latency.ttft), (2, 1.0), "the answer had a token when the second request joined");
    assert_eq!(before.queue.count(), 1, "a request that joined did not wait for a row");
    harness.submit(spec(4));
    let after = harness.sample().figures();
    assert_eq!(totals(&after.latency.ttft), (3, 1.0), "a cached answer takes no time");
    assert_eq!(after.latency.request.count(), 3);
    assert_eq!(after.generated_tokens, before.generated_tokens);
}

#[test]
fn a_request_that_was_cancelled_has_no_request_time() {
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(spec(4));
    harness.turn();
    harness.cancel(reader);
    harness.run();
    let latency = harness.sample().figures().latency;
    assert_eq!((latency.ttft.count(), latency.request.count()), (1, 0));
}

#[test]
fn steps_are_measured_by_what_they_compute() {
    let mut harness = Harness::reading(CHUNK);
    let prompt_len = 2 * CHUNK;
    let first = harness.submit(Spec { prompt_len, ..spec(4) });
    harness.turns(2);
    assert_eq!(step_counts(&harness), [0, 2, 0], "two steps read the prompt");
    harness.turn();
    assert_eq!(step_counts(&harness), [1, 2, 0]);
    harness.submit(Spec { prompt_len, ..spec(5) });
    harness.turn();
    assert_eq!(step_counts(&harness), [1, 2, 1], "one row decodes beside a prompt");
    harness.answer(first);
    let figures = harness.sample().figures();
    assert_eq!(figures.prompt_tokens, 2 * prompt_len as u64);
    let steps = harness.sample().snapshot().steps;
    assert_eq!((figures.batch.count(), figures.step.map(|kind| kind.count()).iter().sum::<u64>()), (steps, steps));
    assert_eq!((figures.batch.min(), figures.batch.max()), (Some(1.0), Some(2.0)));
}

#[test]
fn throughput_counts_the_tokens_of_all_models_including_unloaded_ones() {
    let mut harness = Harness::new(Settings::OFF);
    harness.load_slow();
    let readers = [harness.submit(spec(4)), harness.submit(Spec { model: SLOW, ..spec(4) })];
    harness.run();
    let num_tokens: usize = readers.iter().map(|reader| harness.received[reader].whole.1.len()).sum();
    let rate = |harness: &Harness, seconds| {
        let sample = harness.sample();
        // As a whole number of tokens, so that values can be compared.
        (sample.tokens_per_second(&sample.figures(), seconds) * seconds as f64).round().to_string()
    };
    assert_eq!(rate(&harness, 5), "0", "the second is not complete");
    harness.clock.advance(Duration::from_secs(1));
    assert_eq!(rate(&harness, 5), num_tokens.to_string());
    let unloaded = harness.unload();
    harness.turn();
    unloaded.try_recv().expect("nothing runs").expect("unloaded");
    assert_eq!([5, 60].map(|seconds| rate(&harness, seconds)), [num_tokens.to_string(), num_tokens.to_string()]);
    harness.clock.advance(Duration::from_secs(5));
    assert_eq!([5, 60].map(|seconds| rate(&harness, seconds)), ["0".to_owned(), num_tokens.to_string()]);
}
