//! Calls that end an answer, and answers that end inside or after calls.

use super::{ParsedOutput, calls, output_parser, request};
use crate::request::{CallEnd, CallRules, FinishReason};

const F: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";
const G: &str = "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\": 1}}\n</tool_call>";
const OTHER_F: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 2}}\n</tool_call>";

/// Two calls in each format, and the start of the second one.
const PAIRS: [(&str, &str, &str); 8] = [
    ("hermes", "<tool_call>{\"name\": \"f\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call>", "</tool_call><"),
    ("mistral", "[TOOL_CALLS] [{\"name\": \"f\"}, {\"name\": \"g\"}]", ", {"),
    ("mistral", "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{}", "[TOOL_CALLS]g"),
    ("llama", "{\"name\": \"f\"}; {\"name\": \"g\"}", "; "),
    ("pythonic", "[f(), g()]", ", g"),
    ("lfm", "<|tool_call_start|>[f(), g()]<|tool_call_end|>", ", g"),
    ("tool_code", "```tool_code\nf()\ng()\n```", "\ng"),
    ("gemma-4", "<|tool_call>call:f{}<tool_call|><|tool_call>call:g{}<tool_call|>", "<tool_call|><"),
];

fn ended(end: CallEnd, is_exclusive: bool) -> CallRules {
    CallRules { end: Some(end), is_exclusive }
}

/// Where calls end the answer, and its output until there.
fn read(format: &str, rules: CallRules, answer: &str) -> (Option<usize>, ParsedOutput) {
    let parser = output_parser(format).with_rules(rules);
    let whole = parser.streaming(&request()).find_end(answer);
    let mut found = None;
    let mut by_character = parser.streaming(&request());
    for (at, c) in answer.char_indices() {
        let end = by_character.find_end(c.encode_utf8(&mut [0; 4]));
        found = found.or(end.map(|len| at + len));
    }
    assert_eq!(found, whole, "the end does not depend on the cuts");
    let parsed = parser.parse(&answer[..whole.unwrap_or(answer.len())], &request(), FinishReason::Stop);
    assert_eq!(parser.parse(answer, &request(), FinishReason::Stop), parsed, "nothing behind the end counts");
    (whole, parsed)
}

fn names(parsed: &ParsedOutput) -> Vec<String> {
    calls(parsed).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn answer_with_at_most_one_call_ends_with_the_last_character_of_the_call() {
    for (format, answer, rest) in PAIRS {
        let (end, parsed) = read(format, ended(CallEnd::FirstCall, false), answer);
        assert_eq!(end, answer.find(rest), "{format}: {answer}");
        assert_eq!((names(&parsed), parsed.text.as_str(), parsed.warnings.len()), (vec!["f".to_owned()], "", 0));
        let (end, parsed) = read(format, CallRules::default(), answer);
        assert_eq!((end, names(&parsed)), (None, vec!["f".to_owned(), "g".to_owned()]), "{format}");
    }
}

#[test]
fn text_and_malformed_calls_do_not_end_an_answer_with_at_most_one_call() {
    let answer = format!("So. <tool_call>{{\"name\": \"rm\"}}</tool_call> {F} {G}");
    let (end, parsed) = read("hermes", ended(CallEnd::FirstCall, false), &answer);
    assert_eq!(end, answer.find("\n</tool_call> <tool_call>\n{\"name\": \"g"));
    assert_eq!(names(&parsed), ["f"]);
    assert!(parsed.text.starts_with("So. <tool_call>{\"name\": \"rm\"}</tool_call>"), "{}", parsed.text);
}

#[test]
fn repeated_call_ends_the_answer_and_does_not_count() {
    let answer = [F, G, OTHER_F, G, F].join("\n");
    let (end, parsed) = read("hermes", ended(CallEnd::RepeatedCall, false), &answer);
    let second_g = answer.rfind("<tool_call>\n{\"name\": \"g").unwrap();
    assert_eq!(end, Some(second_g + G.len() - "\n</tool_call>".len()));
    assert_eq!(names(&parsed), ["f", "g", "f"]);
    assert_eq!(parsed.text, "");
    assert!(parsed.warnings.len() == 1 && parsed.warnings[0].contains("repeated its call of `g`"), "{parsed:?}");
}

#[test]
fn repeated_call_is_withdrawn_from_its_stream() {
    let parser = output_parser("pythonic").with_rules(ended(CallEnd::RepeatedCall, false));
    let mut streaming = parser.streaming(&request());
    let delta = streaming.push("[f(x=1), f(x=1), g()]");
    let withdrawn: Vec<_> =
        delta.last.calls.iter().map(|call| (call.index, call.is_complete, call.is_withdrawn)).collect();
    assert_eq!(withdrawn, [(0, true, false), (1, false, true)]);
}

#[test]
fn marks_inside_of_a_text_are_text_if_the_answer_is_either_calls_or_text() {
    let rules = ended(CallEnd::RepeatedCall, true);
    let text = format!(" {{\"note\": \"{F}\"}}");
    let (end, parsed) = read("hermes", rules, &text);
    assert_eq!((end, parsed.calls.len(), parsed.text.as_str()), (None, 0, text.as_str()));
    let (_, parsed) = read("hermes", rules, &format!("{F}\n{G}"));
    assert_eq!((names(&parsed), parsed.text.as_str()), (vec!["f".to_owned(), "g".to_owned()], ""));
    let (_, parsed) = read("qwen", rules, &format!("<think>hm</think>\n\n{text}"));
    assert_eq!((parsed.calls.len(), parsed.text.as_str()), (0, text.trim_start()));
}

#[test]
fn cut_answer_keeps_its_complete_calls_and_says_what_was_cut() {
    let cut = |answer: &str| output_parser("hermes").parse(answer, &request(), FinishReason::Length);
    for at in F.len()..F.len() + G.len() {
        let answer = format!("{F}{G}");
        let parsed = cut(&answer[..at]);
        let has_second = at > F.len() + G.find("}\n").unwrap();
        assert_eq!(names(&parsed).len(), 1 + usize::from(has_second), "{at}");
        assert!(parsed.warnings.len() == 1 && parsed.warnings[0].contains("`maxTokens`"), "{at}: {parsed:?}");
    }
    let half = cut(&F[..30]);
    assert_eq!((half.calls.len(), half.text.as_str()), (0, &F[..30]));
    assert_eq!(half.warnings, ["a tool call was cut off by `maxTokens` and was left in the text"]);
    assert!(cut("No call").warnings.is_empty());
}
