//! What stop sequences pass over is what readers get as reasoning.

use proptest::prelude::*;

use super::{request, template};
use crate::request::Thought;
use crate::text::speech::{Manner, Thinking};

/// What is passed over, and what is looked at.
fn parts(thought: Thought, answer: &str, cuts: &[usize]) -> (String, String) {
    let (mut thinking, mut reasoning, mut text) = (Thinking::new(thought), String::new(), String::new());
    let mut from = 0;
    for to in cuts.iter().copied().chain([answer.len()]) {
        thinking.push(&answer[from..to], &mut reasoning, &mut text);
        from = to;
    }
    thinking.finish(&mut text);
    (reasoning, text)
}

fn thought(has_begun: bool) -> Thought {
    Thought { open: "<think>", close: "</think>", has_begun }
}

#[test]
fn reasoning_and_its_tags_and_the_space_behind_them_are_passed_over() {
    let is = |has_begun, answer, reasoning: &str, text: &str| {
        assert_eq!(parts(thought(has_begun), answer, &[]), (reasoning.to_owned(), text.to_owned()), "{answer}");
    };
    is(false, " <think>a\n\nb</think>\n\nc </think> d", " <think>a\n\nb</think>\n\n", "c </think> d");
    is(false, "\n\na <think>b</think>", "", "\n\na <think>b</think>");
    is(false, "<thin", "", "<thin");
    is(true, "<think>a<</think>b", "<think>a<</think>", "b");
    is(true, "a</think", "a</think", "");
}

proptest! {
    #[test]
    fn the_same_is_reasoning_to_readers_and_to_stop_sequences(
        pieces in prop::collection::vec(prop::sample::select(vec!["<think>", "</think>", "<thi", "<", "a", " ", "\n\n", "é"]), 0..12),
        has_begun in any::<bool>(), seed in any::<u64>(),
    ) {
        let answer = pieces.concat();
        let manner = Manner::of(&template("qwen"), &template("qwen"), |_| None);
        let prompt = if has_begun { "<think>\n" } else { "" };
        let speech = manner.speech(Vec::new(), prompt, None).unwrap();
        let cuts: Vec<_> = answer.char_indices().map(|(at, _)| at).filter(|at| seed >> (at % 64) & 1 == 1).collect();
        let (reasoning, text) = parts(manner.markup(Some(&speech)).thought.unwrap(), &answer, &cuts);
        prop_assert_eq!(format!("{reasoning}{text}"), answer.clone());
        let spoken = speech.read(&answer, &request());
        prop_assert_eq!(spoken.text.trim_start(), text.trim_start());
    }
}
