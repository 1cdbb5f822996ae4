//! Requests that share the device have the same answers as alone: together, joining late, with prompts in chunks, as choices
//! of one request, and after preemption.

use mlx_serving::engine::{Config, Draft};
use mlx_serving::request::FinishReason;
use mlx_serving::scheduler;
use mlx_serving::text::StructuredOutput;
use serde_json::json;

use super::super::support::{Answer, with_rows};
use super::paths::{PATHS, QUESTIONS, Served, assert_same};

#[test]
fn requests_that_run_together_have_the_answers_that_they_have_alone() {
    for path in PATHS {
        let alone = path.alone();
        let served = path.serve(&with_rows(4));
        assert_same(path, &alone, &served.together(&path.short(&served)));
        assert!(served.caller.engine.stats().rows > served.caller.engine.stats().steps, "{path:?}: rows share steps");
        served.is_idle_and_empty();
    }
}

#[test]
fn requests_that_join_late_and_rows_that_leave_early_change_no_answer() {
    for path in PATHS {
        let alone = path.alone();
        let served = path.serve(&with_rows(8));
        let join = |draft: Draft| {
            let reader = served.caller.stream(draft.clone());
            let brief = served.caller.submit(Draft { max_tokens: Some(2), ..draft });
            served.caller.tokens(reader, 3);
            (reader, brief)
        };
        let readers: Vec<_> = path.short(&served).into_iter().map(join).collect();
        let answer = |(reader, brief)| (served.caller.answer(reader), served.caller.answer(brief));
        let (joined, brief): (Vec<_>, Vec<_>) = readers.into_iter().map(answer).unzip();
        assert_same(path, &alone, &joined);
        for (brief, alone) in brief.iter().zip(alone.iter()) {
            assert_eq!(brief.whole_tokens, alone.whole_tokens[..2], "{path:?}");
        }
        served.is_idle_and_empty();
    }
}

#[test]
fn prompts_are_read_in_chunks_beside_a_row_that_decodes() {
    for path in PATHS {
        let alone = path.alone_long();
        let config = with_rows(8);
        let chunked = Config { scheduler: scheduler::Config { prefill_chunk: 24, ..config.scheduler }, ..config };
        let served = path.serve(&chunked);
        let decoding = served.caller.stream(Draft { ignore_eos: true, ..served.chat(&QUESTIONS[..1], 100) });
        served.caller.tokens(decoding, 1);
        let before = served.caller.engine.stats().steps;
        assert_same(path, &alone, &served.together(&path.long(&served)));
        assert!(served.caller.engine.stats().steps - before > 18, "{path:?}: two prompts of 237 tokens are 19 chunks");
        assert_eq!(served.caller.answer(decoding).whole_tokens.len(), 100, "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn choices_copy_the_kv_of_their_prompt_and_each_is_what_it_is_alone() {
    for path in PATHS {
        let alone = path.alone_long();
        let served = path.serve(&with_rows(4));
        for (draft, alone) in path.long(&served).into_iter().zip(alone.iter()) {
            let before = served.caller.engine.stats().prompt_tokens;
            let choices = served.choices(Draft { num_choices: 3, ..draft });
            assert_same(path, &vec![alone.clone(); 3], &choices);
            let num_read = served.caller.engine.stats().prompt_tokens - before;
            let usage = alone.end.clone().expect("ended").expect("well").usage;
            assert_eq!(num_read, usage.input_tokens as u64 + 2, "{path:?}: one reads it, two read its last token");
        }
        served.is_idle_and_empty();
    }
}

#[test]
fn a_seed_gives_the_same_answer_again_and_another_one_gives_another() {
    for path in PATHS {
        let served = path.serve(&with_rows(1));
        let hot = |seed| {
            let draft = served.chat(&QUESTIONS[..1], 30);
            Draft { temperature: Some(5.0), seed: Some(seed), ignore_eos: true, ..draft }
        };
        let [first, again, other] = [1, 1, 2].map(|seed| served.caller.ask(hot(seed)).whole_tokens);
        assert_eq!(first, again, "{path:?}");
        assert_ne!(first, other, "{path:?}");
    }
}

#[test]
fn preempted_answers_continue_after_recomputation() {
    for path in PATHS {
        let alone = path.alone_long();
        let served = path.serve(&Config { kv_bytes: Some(path.three_blocks()), ..with_rows(4) });
        assert_same(path, &alone, &served.together(&path.long(&served)));
        assert!(served.preemptions() > 0, "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn log_probabilities_are_ranked_and_hardly_move_when_rows_share_steps() {
    const TOP: usize = 5;
    for path in PATHS {
        let ask = |served: &Served| -> Vec<_> {
            path.short(served).into_iter().map(|draft| Draft { logprobs: Some(5), ..draft }).collect()
        };
        let reference = path.serve(&with_rows(1));
        let alone: Vec<_> = ask(&reference).into_iter().map(|draft| reference.caller.ask(draft)).collect();
        let served = path.serve(&with_rows(4));
        let together = served.together(&ask(&served));
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(together.logprobs.len(), (1 + TOP) * together.whole_tokens.len(), "{path:?}");
            let places = alone.logprobs.chunks(1 + TOP).zip(together.logprobs.chunks(1 + TOP));
            for ((alone, found), token) in places.zip(&together.whole_tokens) {
                assert_eq!((found[0].token, found[1]), (*token, found[0]), "{path:?}: greedy takes the likeliest");
                assert!(found[1..].is_sorted_by(|a, b| a.logprob >= b.logprob), "{path:?}: {found:?}");
                assert!(found[1..].iter().map(|it| it.logprob.exp()).sum::<f32>() < 1.001, "{path:?}: {found:?}");
                let moved = (alone[0].logprob - found[0].logprob).abs();
                assert!(moved < 0.05, "{path:?}: {found:?}, alone {alone:?}");
            }
        }
    }
}

#[test]
fn constrained_answers_are_valid_in_batches_and_after_preemption() {
    let number = json!({"type": "integer", "minimum": 10, "maximum": 99});
    let schema = json!({"type": "array", "items": number, "minItems": 12, "maxItems": 12});
    for path in PATHS {
        let served = path.serve(&Config { kv_bytes: Some(path.three_blocks()), ..with_rows(4) });
        let hot = |(seed, draft)| Draft {
            structured: Some(StructuredOutput::Schema(schema.clone())),
            temperature: Some(1.2),
            seed: Some(seed),
            max_tokens: Some(200),
            ..draft
        };
        let drafts: Vec<_> = (0..).zip(path.long(&served)).map(hot).collect();
        for answer in served.together(&drafts) {
            assert_eq!(finish_reason(&answer), FinishReason::Stop, "{path:?}: {}", answer.whole);
            let numbers: Vec<u8> = serde_json::from_str(&answer.whole).expect("a list of small numbers");
            assert!(numbers.len() == 12 && numbers.iter().all(|number| (10..100).contains(number)), "{numbers:?}");
        }
        assert!(served.preemptions() > 0, "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn constrained_and_unconstrained_rows_of_a_batch_do_not_affect_each_other() {
    for path in PATHS {
        let alone = path.alone();
        let served = path.serve(&with_rows(6));
        let texts = ["red", "green", "not at all"].map(str::to_owned);
        let constrained = |(seed, draft): (u64, &Draft)| Draft {
            structured: Some(StructuredOutput::Choices(texts.to_vec())),
            temperature: Some(2.0),
            seed: Some(seed),
            ..draft.clone()
        };
        let free = path.short(&served);
        let constrained: Vec<_> = (0..).zip(&free).map(constrained).collect();
        let readers: Vec<_> =
            [free, constrained].concat().into_iter().map(|draft| served.caller.submit(draft)).collect();
        let mut answers: Vec<_> = readers.into_iter().map(|reader| served.caller.answer(reader)).collect();
        for answer in answers.split_off(alone.len()) {
            assert!(texts.contains(&answer.whole), "{path:?}: {}", answer.whole);
            assert_eq!(finish_reason(&answer), FinishReason::Stop, "{path:?}");
        }
        assert_same(path, &alone, &answers);
    }
}

#[test]
fn a_reader_that_is_behind_is_parked_and_gets_the_whole_answer_in_the_end() {
    for path in PATHS {
        let served = path.serve(&Config { buffer_tokens: 4, ..with_rows(1) });
        let draft = Draft { ignore_eos: true, ..served.chat(&QUESTIONS[1..2], 100) };
        let whole = served.caller.ask(draft.clone());
        let slow = served.caller.stream(draft);
        served.caller.when(|stats| stats.parked == 1);
        // The engine has one row, which the parked request has left.
        let other = served.caller.ask(served.chat(&QUESTIONS[..1], 40));
        assert!(other.end.expect("ended").is_ok(), "{path:?}");
        served.caller.engine.credit(slow, 1_000);
        assert_eq!(served.caller.answer(slow).whole_tokens, whole.whole_tokens, "{path:?}");
        served.is_idle_and_empty();
    }
}

fn finish_reason(answer: &Answer) -> FinishReason {
    answer.end.clone().expect("ended").expect("well").finish_reason
}
