//! Stop sequences ignore exactly the text that readers get as reasoning.

use proptest::prelude::*;

use super::{request, template};
use crate::request::{FinishReason, ReasoningTags};
use crate::text::output::OutputFormat;
use crate::text::reasoning::ReasoningSplitter;

/// The ignored text and the searched text.
fn parts(reasoning_tags: ReasoningTags, answer: &str, cuts: &[usize]) -> (String, String) {
    let (mut reasoning_splitter, mut reasoning, mut text) =
        (ReasoningSplitter::new(reasoning_tags), String::new(), String::new());
    let mut from = 0;
    for to in cuts.iter().copied().chain([answer.len()]) {
        reasoning_splitter.push(&answer[from..to], &mut reasoning, &mut text);
        from = to;
    }
    reasoning_splitter.finish(&mut text);
    (reasoning, text)
}

fn reasoning_tags(has_begun: bool) -> ReasoningTags {
    ReasoningTags { open: "<think>", close: "</think>", has_begun }
}

#[test]
fn reasoning_includes_its_tags_and_the_space_after_them() {
    let is = |has_begun, answer, reasoning: &str, text: &str| {
        assert_eq!(parts(reasoning_tags(has_begun), answer, &[]), (reasoning.to_owned(), text.to_owned()), "{answer}");
    };
    is(false, " <think>a\n\nb</think>\n\nc </think> d", " <think>a\n\nb</think>\n\n", "c </think> d");
    is(false, "\n\na <think>b</think>", "", "\n\na <think>b</think>");
    is(false, "<thin", "", "<thin");
    is(true, "<think>a<</think>b", "<think>a<</think>", "b");
    is(true, "a</think", "a</think", "");
}

proptest! {
    #[test]
    fn readers_and_stop_sequences_agree_on_the_reasoning(
        pieces in prop::collection::vec(prop::sample::select(vec!["<think>", "</think>", "<thi", "<", "a", " ", "\n\n", "é"]), 0..12),
        has_begun in any::<bool>(), seed in any::<u64>(),
    ) {
        let answer = pieces.concat();
        let output_format = OutputFormat::of(&template("qwen"), &template("qwen"), |_| None);
        let prompt = if has_begun { "<think>\n" } else { "" };
        let output_parser = output_format.parser(Vec::new(), prompt, None).unwrap();
        let cuts: Vec<_> = answer.char_indices().map(|(at, _)| at).filter(|at| seed >> (at % 64) & 1 == 1).collect();
        let (reasoning, text) = parts(output_format.markup(Some(&output_parser)).reasoning_tags.unwrap(), &answer, &cuts);
        prop_assert_eq!(format!("{reasoning}{text}"), answer.clone());
        let parsed = output_parser.parse(&answer, &request(), FinishReason::Stop);
        prop_assert_eq!(parsed.text.trim_start(), text.trim_start());
    }
}
