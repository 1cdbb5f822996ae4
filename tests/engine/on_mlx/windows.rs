//! Models with a sliding window, beyond its border: rows that are preempted and recomputed, prompts whose chunks cross the
//! border beside other rows, and choices of one prompt.

use mlx_serving::config::{Cache, Precision};
use mlx_serving::engine::{Config, Draft};
use mlx_serving::error::Code;
use mlx_serving::executor::Backend;
use mlx_serving::executor::mlx::MlxBackend;
use mlx_serving::request::{Priority, Sharing, TokenLogprob};
use mlx_serving::scheduler;

use super::super::support::{Answer, with_rows};
use super::faults::{At, Failing, Fault, How};
use super::folders::family;
use super::paths::{Served, first_block, greedy, without_memory};
use super::seeded::{Case, case};

/// Windows of 24 positions: in all layers, and in all but every third. Each in float32, float16 and 4 bits.
const NAMES: [&str; 6] =
    ["mistral-f32", "mistral-f16", "mistral-q4", "gemma3_text-f32", "gemma3_text-f16", "gemma3_text-q4"];

fn serve(case: &Case, config: &Config, faults: Vec<Fault>) -> Served {
    let open = move || {
        let inner = MlxBackend::new()?.precision(Precision::Model, None);
        Ok(Box::new(Failing { inner, faults }) as Box<dyn Backend>)
    };
    Served::of(config, Box::new(open), family(case))
}

fn draft(prompt: &[u32], num_tokens: usize) -> Draft {
    Draft { ignore_eos: true, ..greedy(prompt.to_vec(), num_tokens) }
}

/// The recorded prompts of a case with mlx-lm's answers whose tokens lead clearly.
fn drafts(case: &Case) -> Vec<Draft> {
    case.prompts.iter().map(|it| draft(&it.prompt, it.tokens.len())).collect()
}

fn assert_recorded(case: &Case, answers: &[Answer]) {
    for (expected, answer) in case.prompts.iter().zip(answers) {
        assert!(answer.end.as_ref().expect("ended").is_ok(), "{}: {:?}", case.name, answer.end);
        assert_eq!(answer.whole_tokens, expected.tokens, "{}, prompt of {}", case.name, expected.prompt.len());
    }
}

#[test]
fn chunks_cross_the_border_of_a_window_beside_others() {
    for (case, chunk) in NAMES.map(case).iter().flat_map(|case| [5, 20, 24, 25, 512].map(|chunk| (case, chunk))) {
        let config = with_rows(8);
        let chunked = Config { scheduler: scheduler::Config { prefill_chunk: chunk, ..config.scheduler }, ..config };
        let served = serve(case, &chunked, Vec::new());
        assert_recorded(case, &served.together(&drafts(case)));
        served.is_idle_and_empty();
    }
}

#[test]
fn choices_of_a_prompt_that_has_left_a_window_are_what_each_is_alone() {
    for case in NAMES.map(case) {
        let served = serve(&case, &with_rows(4), Vec::new());
        for (expected, draft) in case.prompts.iter().zip(drafts(&case)) {
            for answer in served.choices(Draft { num_choices: 3, ..draft }) {
                assert_eq!(answer.whole_tokens, expected.tokens, "{}, prompt of {}", case.name, expected.prompt.len());
            }
        }
        served.is_idle_and_empty();
    }
}

/// What left the window is computed again; what is complete is reused.
#[test]
fn prompts_that_begin_like_others_have_the_recorded_answers() {
    for case in NAMES.map(case) {
        for num_first in [20, 24, 30] {
            let mut config = Config { answers: Cache::OFF, ..with_rows(4) };
            config.scheduler.prefix.min_tokens = 2;
            let served = serve(&case, &config, Vec::new());
            let shared = |draft| Draft { sharing: Sharing::Auto, ..draft };
            for expected in case.prompts.iter().filter(|expected| expected.prompt.len() > num_first) {
                for max_tokens in [1, 9] {
                    served.caller.ask(shared(draft(&expected.prompt[..num_first], max_tokens)));
                }
            }
            let drafts: Vec<_> = drafts(&case).into_iter().map(shared).collect();
            let one_by_one: Vec<_> = drafts.iter().map(|draft| served.caller.ask(draft.clone())).collect();
            assert_recorded(&case, &one_by_one);
            assert_recorded(&case, &served.together(&drafts));
            assert!(served.caller.engine.stats().prefix.num_hits > 0, "{}, first {num_first}", case.name);
            served.is_idle_and_empty();
        }
    }
}

#[test]
fn rows_past_a_window_are_recomputed_after_running_out_of_memory() {
    for case in NAMES.map(case) {
        let how = How::Error(Code::InsufficientMemory);
        let faults = [(6, At::Launched), (30, At::Collect)].map(|(step, at)| Fault { step, at, how });
        let served = serve(&case, &with_rows(4), faults.to_vec());
        assert_recorded(&case, &served.together(&drafts(&case)));
        assert_eq!(served.caller.engine.stats().recoveries, 2, "{}", case.name);
        served.is_idle_and_empty();
    }
}

/// The first request does not fit into memory beside an urgent one, so its row is preempted each time, beyond the window.
#[test]
fn rows_past_a_window_are_preempted_by_urgent_ones_and_recomputed() {
    for case in NAMES.map(case) {
        let block = first_block(&serve(&case, &without_memory(), Vec::new()));
        let served = serve(&case, &Config { kv_bytes: Some(block * 3 / 2), ..with_rows(4) }, Vec::new());
        let mut drafts = drafts(&case);
        // Longer than the recorded answer, so that it is running when the urgent requests come, but within a KV block.
        let first = drafts.pop().expect("prompts");
        let num_recorded = first.max_tokens.expect("a number");
        let first = served.caller.stream(Draft { max_tokens: Some(160), ..first });
        let mut answers = Vec::new();
        for (at, draft) in drafts.into_iter().enumerate() {
            served.caller.tokens(first, 10 * (at + 1));
            answers.push(served.caller.ask(Draft { priority: Priority::Urgent, ..draft }));
        }
        let mut first = served.caller.answer(first);
        first.whole_tokens.truncate(num_recorded);
        answers.push(first);
        assert_recorded(&case, &answers);
        assert!(served.preemptions() > 0, "{}", case.name);
        served.is_idle_and_empty();
    }
}

/// The layers without a window grow past the first block of KV.
#[test]
fn rows_past_a_window_are_preempted_if_memory_is_small_and_recomputed() {
    let case = case("gemma3_text-f32");
    let prompt = |at: u32| (0..230 + at * 5).map(|position| (position * 37 + at * 11) % 60).collect();
    let drafts: Vec<_> = (0..5).map(prompt).map(|prompt: Vec<u32>| draft(&prompt, 80)).collect();
    let undisturbed = serve(&case, &with_rows(1), Vec::new());
    let block = first_block(&serve(&case, &without_memory(), Vec::new()));
    let served = serve(&case, &Config { kv_bytes: Some(33 * block / 10), ..with_rows(4) }, Vec::new());
    let mut num_compared = 0;
    for (draft, answer) in drafts.iter().zip(served.together(&drafts)) {
        let expected = undisturbed.caller.ask(draft.clone());
        // A token that leads by little may change with rounding, and then all later tokens change.
        let leads = |likeliest: &&[TokenLogprob]| likeliest[1].logprob - likeliest[2].logprob > 1e-3;
        let num_clear = expected.logprobs.chunks(3).take_while(leads).count();
        assert_eq!(answer.whole_tokens[..num_clear], expected.whole_tokens[..num_clear]);
        num_compared += num_clear;
    }
    assert!(num_compared > 100, "only {num_compared} tokens lead");
    assert!(served.preemptions() > 0);
    served.is_idle_and_empty();
}
