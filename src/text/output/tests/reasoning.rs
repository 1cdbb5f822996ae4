//! Reasoning in tags that the model writes or that the prompt opens.

use super::{FinishReason, calls, output_parser, parse, request, streamed, template};
use crate::text::output::{OutputFormat, ParsedOutput};

fn read_behind(prompt: &str, begun: Option<&str>, answer: &str) -> ParsedOutput {
    let output_format = OutputFormat::of(&template("qwen"), &template("qwen"), |_| None);
    output_format.parser(vec!["f".to_owned()], prompt, begun).unwrap().parse(answer, &request(), FinishReason::Stop)
}

#[track_caller]
fn says(parsed: &ParsedOutput, reasoning: &str, text: &str) {
    assert_eq!((parsed.reasoning.as_str(), parsed.text.as_str()), (reasoning, text));
    assert!(parsed.warnings.is_empty());
}

#[test]
fn reasoning_is_separate_from_text_and_has_no_tags() {
    says(&parse("qwen", "<think>\nwell,\n\n1 < 2\n</think>\n\nThe answer.\n"), "well,\n\n1 < 2", "The answer.\n");
    says(&parse("qwen", " \n<think>a</think>b"), "a", "b");
    says(&parse("qwen", "<think>\n\n</think>\n\nb"), "", "b");
}

#[test]
fn reasoning_that_the_prompt_has_opened_ends_at_its_closing_tag() {
    says(&read_behind("<|im_start|>assistant\n<think>\n", None, "so\n</think>\n\nyes"), "so", "yes");
    says(&read_behind("<think>\n\n</think>\n\n", None, "yes"), "", "yes");
    says(&read_behind("what is <think>?<|im_end|>", None, "a </think> b"), "", "a </think> b");
}

#[test]
fn answer_continues_inside_reasoning_that_the_caller_began() {
    says(&read_behind("…<think>\nLet me", Some("<think>\nLet me"), " see</think>yes"), "see", "yes");
    says(&read_behind("…</think>So", Some("<think>hm</think>So"), " yes"), "", " yes");
}

#[test]
fn tags_after_the_start_of_an_answer_are_text() {
    says(&parse("qwen", "Use <think> and </think>."), "", "Use <think> and </think>.");
    says(&parse("qwen", "<think>a</think><think>b</think>"), "a", "<think>b</think>");
}

#[test]
fn reasoning_without_an_end_is_reasoning() {
    says(&parse("qwen", "<think>on and on </thin"), "on and on </thin", "");
    says(&read_behind("<think>", None, "on and on"), "on and on", "");
}

#[test]
fn the_reasoning_ends_with_its_closing_tag() {
    let reasoning = |parsed: &ParsedOutput, answer: &'static str| &answer[..parsed.reasoning_end];
    let answer = " <think>é so\n</think>\n\nyes";
    assert_eq!(reasoning(&parse("qwen", answer), answer), " <think>é so\n</think>");
    for (at, _) in answer.char_indices() {
        let mut parser = output_parser("qwen").streaming(&request());
        parser.push(&answer[..at]);
        parser.push(&answer[at..]);
        assert_eq!(reasoning(&parser.finish(FinishReason::Stop).1, answer), " <think>é so\n</think>", "cut at {at}");
    }
    let begun = "so</think>yes";
    assert_eq!(reasoning(&read_behind("<think>", None, begun), begun), "so</think>");
    for (prompt, answer, end) in [
        ("", "no tags", ""),
        ("", "<thi", ""),
        ("", "<think></think>yes", "<think></think>"),
        ("", "<think>cut </th", "<think>cut </th"),
        ("<think>", "cut", "cut"),
        ("<think>", "", ""),
    ] {
        assert_eq!(reasoning(&read_behind(prompt, None, answer), answer), end, "{prompt}{answer}");
    }
}

#[test]
fn a_call_may_follow_reasoning_that_mentions_one() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let answer = format!("<think>I could {call}</think>\n\n{call}");
    let parsed = parse("qwen", &answer);
    says(&parsed, &format!("I could {call}"), "");
    assert_eq!(calls(&parsed).len(), 1);
    for (at, _) in answer.char_indices() {
        let delta = streamed(&output_parser("qwen"), &answer, &[at]);
        assert_eq!((delta.reasoning, delta.calls.len()), (parsed.reasoning.clone(), 1), "cut at {at}");
    }
}

#[test]
fn repeated_opening_tag_is_not_part_of_the_reasoning() {
    let prompt = "<|im_start|>assistant\n<think>\n";
    says(&read_behind(prompt, None, "<think>\nHm</think>Yes"), "Hm", "Yes");
    says(&read_behind(prompt, None, "\n<think>\n<think>Hm</think>\n\nYes"), "Hm", "Yes");
    says(&parse("qwen", "<think> <think>Hm</think>Yes"), "Hm", "Yes");
    says(&read_behind(prompt, None, "<think></think>Yes"), "", "Yes");
    says(&read_behind(prompt, None, "<thin"), "<thin", "");
    says(&read_behind(prompt, None, "Hm <think> x</think>Yes"), "Hm <think> x", "Yes");
}

#[test]
fn call_in_reasoning_without_end_is_ignored_with_a_warning() {
    let call = "<tool_call>\n{\"name\": \"f\"}\n</tool_call>";
    for answer in
        [format!("<think>I call\n{call}"), format!("<think>{call} so"), "<think>I call <<tool_call>{".to_owned()]
    {
        let parsed = parse("qwen", &answer);
        assert_eq!((parsed.calls.len(), parsed.text.as_str()), (0, ""), "{answer}");
        assert_eq!(parsed.warnings, ["the reasoning has no end, and a tool call in it was not read"], "{answer}");
    }
    let closed = parse("qwen", &format!("<think>I could {call}</think>No."));
    assert_eq!((closed.text.as_str(), closed.warnings.len()), ("No.", 0));
    assert_eq!(parse("qwen", "<think>on <tool_ca").warnings.len(), 0);
}

#[test]
fn any_white_space_may_come_before_the_opening_tag_or_the_text() {
    let space = " \n\t".repeat(20_000);
    says(&parse("qwen", &format!("{space}<think>a</think>b")), "a", "b");
    let text = format!("{space}<thi");
    says(&parse("qwen", &text), "", &text);
    says(&parse("qwen", "<th <think>a</think>"), "", "<th <think>a</think>");
}
