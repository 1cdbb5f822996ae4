//! Failures while a real device computes: failed steps, too little memory during a step, invalid logits, callers that leave at
//! any time. Answers of other requests are the same as without the failure.

use std::time::{Duration, Instant};

use mlx_serving::engine::{Config, Draft};
use mlx_serving::error::Code;
use mlx_serving::text::StructuredOutput;

use super::super::support::with_rows;
use super::faults::{At, Fault, How};
use super::folders::{Stored, demo};
use super::paths::{PATHS, QUESTIONS, Served, assert_same, greedy};

#[test]
fn out_of_memory_during_steps_recomputes_rows_and_loses_no_answer() {
    for path in PATHS {
        let alone = path.alone();
        let how = How::Error(Code::InsufficientMemory);
        let faults = [(3, At::Submit), (9, At::Launched), (17, At::Collect)].map(|(step, at)| Fault { step, at, how });
        let served = path.serve_failing(&with_rows(4), faults.to_vec());
        assert_same(path, &alone, &served.together(&path.short(&served)));
        assert_eq!(served.caller.engine.stats().recoveries, 3, "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn a_step_that_fails_ends_the_rows_in_it_and_later_requests_are_answered() {
    let hows = [How::Error(Code::BackendError), How::Panic];
    for (path, at) in PATHS.into_iter().flat_map(|path| [At::Submit, At::Launched, At::Collect].map(|at| (path, at))) {
        let alone = path.alone();
        let faults = hows.iter().zip([4, 20]).map(|(how, step)| Fault { step, at, how: *how }).collect();
        let served = path.serve_failing(&with_rows(2), faults);
        let mut num_failed = 0;
        for _ in 0..2 {
            for (alone, answer) in alone.iter().zip(served.together(&path.short(&served))) {
                match answer.end.as_ref().expect("ended") {
                    Ok(_) => assert_same(path, std::slice::from_ref(alone), &[answer]),
                    Err(error) => {
                        assert_eq!(error.code(), Code::BackendError, "{path:?}, {at:?}");
                        num_failed += 1;
                    }
                }
            }
        }
        assert!((2..=4).contains(&num_failed), "{path:?}, {at:?}: {num_failed} rows of two steps failed");
        assert_eq!(served.caller.engine.stats().recoveries, 2, "{path:?}, {at:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn a_parked_answer_is_recomputed_after_a_failure() {
    for path in PATHS {
        let config = Config { buffer_tokens: 4, ..with_rows(2) };
        let fault = Fault { step: 30, at: At::Collect, how: How::Error(Code::BackendError) };
        let served = path.serve_failing(&config, vec![fault]);
        let draft = served.chat(&QUESTIONS[..1], 40);
        let whole = path.alone();
        let parked = served.caller.stream(draft);
        served.caller.when(|stats| stats.parked == 1);
        let other = served.caller.ask(Draft { ignore_eos: true, ..served.chat(&QUESTIONS[1..2], 200) });
        assert!(other.end.expect("ended").is_err(), "{path:?}: the step failed");
        served.caller.engine.credit(parked, 1_000);
        assert_same(path, &whole[..1], &[served.caller.answer(parked)]);
        served.is_idle_and_empty();
    }
}

#[test]
fn invalid_logits_end_only_their_own_request() {
    for path in PATHS {
        let alone = path.alone();
        // The byte `~`, which no conversation here has.
        let nan = 98;
        let served = Served::of(&with_rows(8), path.opens(Vec::new()), demo(path.stored, Some(nan)));
        let broken = [vec![nan], vec![7, 8, nan, 9, 10], vec![nan; 40]];
        let constrained =
            Draft { structured: Some(StructuredOutput::Regex("[a-z]+".to_owned())), ..greedy(vec![7, nan], 20) };
        let broken: Vec<_> = broken.into_iter().map(|tokens| greedy(tokens, 20)).chain([constrained]).collect();
        let sound = path.short(&served);
        let num_broken = broken.len();
        let mut answers = served.together(&[broken, sound].concat());
        assert_same(path, &alone, &answers.split_off(num_broken));
        for answer in answers {
            let error = answer.end.expect("ended").expect_err("no token can be sampled");
            assert_eq!(error.code(), Code::BackendError, "{path:?}: {error}");
            assert!(error.message().contains("NaN"), "{path:?}: {error}");
            assert!(answer.whole_tokens.is_empty(), "{path:?}: {:?}", answer.whole_tokens);
        }
        assert_eq!(served.caller.engine.stats().recoveries, 0, "{path:?}");
        served.is_idle_and_empty();
    }
}

/// Pseudorandom numbers, equal in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

#[test]
fn cancelled_released_and_expired_requests_leave_nothing_behind() {
    for path in PATHS {
        let served = path.serve(&Config { buffer_tokens: 4, kv_bytes: Some(path.three_blocks()), ..with_rows(6) });
        let reference = served.chat(&QUESTIONS[..1], 40);
        let before = served.caller.ask(reference.clone());
        let mut numbers = Numbers(7);
        let mut awaited = Vec::new();
        for _ in 0..if path.stored == Stored::FourBits { 20 } else { 60 } {
            let structured = (numbers.below(3) == 0).then(|| StructuredOutput::Regex("[a-z]{3,40}".to_owned()));
            let deadline =
                (numbers.below(4) == 0).then(|| Instant::now() + Duration::from_millis(numbers.below(60) as u64));
            let prompt = vec![7 + u32::try_from(numbers.below(20)).expect("few"); 1 + numbers.below(40)];
            let draft = Draft {
                structured,
                deadline,
                num_choices: 1 + numbers.below(3),
                temperature: Some(1.0),
                ..greedy(prompt, 1 + numbers.below(60))
            };
            for reader in served.caller.engine.submit(served.caller.model, draft).expect("accepted") {
                match numbers.below(4) {
                    0 => served.caller.engine.cancel(reader),
                    1 => served.caller.engine.release(reader),
                    2 => {
                        served.caller.engine.stream(reader);
                        served.caller.drain();
                        served.caller.engine.release(reader);
                    }
                    _ => awaited.push(reader),
                }
            }
            if numbers.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(numbers.below(20) as u64));
            }
        }
        for reader in awaited {
            if let Err(error) = served.caller.answer(reader).end.expect("ended") {
                assert_eq!(error.code(), Code::Timeout, "{path:?}: {error}");
            }
        }
        served.is_idle_and_empty();
        assert_eq!(served.caller.engine.stats().recoveries, 0, "{path:?}");
        assert_eq!(served.caller.ask(reference).whole_tokens, before.whole_tokens, "{path:?}");
    }
}
