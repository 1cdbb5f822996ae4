//! Requests that begin with KV of other requests have the same answers as without: turns of a chat, conversations with one
//! history that arrive together or one after another, while memory is short, and on models with a window.

use mlx_serving::config::Cache;
use mlx_serving::engine::{Config, Draft};
use mlx_serving::request::Sharing;
use mlx_serving::scheduler;

use super::super::support::{Answer, with_rows};
use super::paths::{PATHS, Path, QUESTIONS, Served, assert_same};

/// Requests share KV, but no answers.
fn sharing(num_rows: usize) -> Config {
    Config { answers: Cache::OFF, ..with_rows(num_rows) }
}

fn shared(drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.into_iter().map(|draft| Draft { sharing: Sharing::Auto, ..draft }).collect()
}

fn num_cached(answers: &[Answer]) -> Vec<usize> {
    let usage = |answer: &Answer| answer.end.clone().expect("ended").expect("well").usage;
    answers.iter().map(|answer| usage(answer).cached_input_tokens).collect()
}

/// The prompt tokens of answers that were computed for them.
fn num_computed(answers: &[Answer]) -> u64 {
    let usage = |answer: &Answer| answer.end.clone().expect("ended").expect("well").usage;
    answers.iter().map(|answer| (usage(answer).input_tokens - usage(answer).cached_input_tokens) as u64).sum()
}

#[test]
fn conversations_with_one_history_read_it_once_one_after_another() {
    for path in PATHS {
        let served = path.serve(&sharing(1));
        let answers: Vec<_> = shared(path.long(&served)).into_iter().map(|draft| served.caller.ask(draft)).collect();
        assert_same(path, &path.alone_long(), &answers);
        let cached = num_cached(&answers);
        assert!(cached[0] == 0 && cached[1..].iter().all(|cached| *cached >= 225), "{path:?}: {cached:?}");
        assert_eq!(num_computed(&answers), served.caller.engine.stats().prompt_tokens, "{path:?}: usage is true");
        served.is_idle_and_empty();
    }
}

#[test]
fn conversations_with_one_history_read_it_once_together() {
    for path in PATHS {
        let config = sharing(8);
        let chunked = Config { scheduler: scheduler::Config { prefill_chunk: 50, ..config.scheduler }, ..config };
        for config in [config, chunked] {
            let served = path.serve(&config);
            let answers = served.together(&shared(path.long(&served)));
            assert_same(path, &path.alone_long(), &answers);
            let num_read = served.caller.engine.stats().prompt_tokens;
            assert_eq!(num_computed(&answers), num_read, "{path:?}: usage is true");
            assert!(num_read < 225 + 4 * 25, "{path:?}: {num_read} prompt tokens were read");
            served.is_idle_and_empty();
        }
    }
}

/// The prompt of each turn begins with the prompt and the answer of the turn before.
fn chat(path: Path, config: &Config) -> (Vec<Answer>, u64) {
    let served = path.serve(config);
    let mut turns: Vec<String> = Vec::new();
    let mut answers = Vec::new();
    for question in &QUESTIONS[..4] {
        turns.push((*question).to_owned());
        let texts: Vec<_> = turns.iter().map(String::as_str).collect();
        let draft = Draft { sharing: Sharing::Auto, ..served.chat(&texts, 40) };
        let answer = served.caller.ask(draft);
        turns.push(answer.whole.clone());
        answers.push(answer);
    }
    let num_read = served.caller.engine.stats().prompt_tokens;
    served.is_idle_and_empty();
    (answers, num_read)
}

#[test]
fn turns_of_a_chat_read_only_what_is_new() {
    for path in PATHS {
        let mut config = sharing(1);
        config.scheduler.prefix.min_tokens = 8;
        let (answers, num_read) = chat(path, &config);
        config.scheduler.prefix.enabled = false;
        let (expected, num_read_without) = chat(path, &config);
        assert_same(path, &expected, &answers);
        let cached = num_cached(&answers);
        assert!(cached.windows(2).all(|two| two[0] < two[1]), "{path:?}: {cached:?}");
        assert_eq!(num_read + cached.iter().sum::<usize>() as u64, num_read_without, "{path:?}");
        assert!(num_read < num_read_without / 2, "{path:?}: {num_read} of {num_read_without}");
    }
}

#[test]
fn prefixes_are_reused_while_memory_is_short() {
    for path in PATHS {
        let served = path.serve(&Config { kv_bytes: Some(path.three_blocks()), ..sharing(4) });
        let together = served.together(&shared(path.long(&served)));
        assert_same(path, &path.alone_long(), &together);
        let one_by_one: Vec<_> = shared(path.long(&served)).into_iter().map(|it| served.caller.ask(it)).collect();
        assert_same(path, &path.alone_long(), &one_by_one);
        assert!(num_cached(&one_by_one).iter().any(|cached| *cached > 0), "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn a_cancelled_request_leaves_what_it_computed() {
    for path in PATHS {
        let served: Served = path.serve(&sharing(2));
        let drafts = shared(path.long(&served));
        let reader = served.caller.stream(Draft { ignore_eos: true, ..drafts[0].clone() });
        served.caller.tokens(reader, 3);
        served.caller.engine.cancel(reader);
        served.caller.answer(reader);
        let answer = served.caller.ask(drafts[1].clone());
        assert_same(path, &path.alone_long()[1..2], std::slice::from_ref(&answer));
        assert!(num_cached(&[answer])[0] >= 225, "{path:?}");
        served.is_idle_and_empty();
    }
}
