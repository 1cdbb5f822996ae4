//! Malformed calls stay in the text, with a warning.

use super::{ParsedOutput, calls, output_parser, parse, streamed};

const WHOLE: [(&str, &str); 8] = [
    ("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, \"é\\n\"]}}\n</tool_call>"),
    ("mistral", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": [1, \"é\\n\"]}}]"),
    ("mistral", "[TOOL_CALLS]f[ARGS]{\"x\": [1, \"é\\n\"]}"),
    ("llama", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\": [1, \"é\\n\"]}}"),
    ("lfm", "<|tool_call_start|>[f(x=[1, \"é\\n\"])]<|tool_call_end|>"),
    ("tool_code", "```tool_code\nprint(f(x=[1, 'é\\n']))\n```"),
    ("function-gemma", "<start_function_call>call:f{x:[1,<escape>é\n<escape>]}<end_function_call>"),
    ("gemma-4", "<|tool_call>call:f{x:[1,<|\"|>é\n<|\"|>]}<tool_call|>"),
];

/// The position of the last character of the call. Later characters only close it.
fn end_of_call(answer: &str) -> usize {
    let closers = ["</tool_call>", "<|tool_call_end|>", "```", "<end_function_call>", "<tool_call|>"];
    let body = closers.iter().find_map(|close| answer.strip_suffix(close)).unwrap_or(answer).trim_end();
    let body = body.strip_suffix(']').unwrap_or(body);
    body.strip_suffix("))").map_or(body.len(), |print| print.len() + 1)
}

#[track_caller]
fn is_text(parsed: &ParsedOutput, answer: &str) {
    assert_eq!(parsed.text, answer);
    assert_eq!((parsed.calls.len(), parsed.warnings.len()), (0, 1), "{answer}: {:?}", parsed.warnings);
    assert!(parsed.warnings[0].contains("malformed"), "{}", parsed.warnings[0]);
}

#[test]
fn incomplete_call_is_text() {
    for (format, whole) in WHOLE {
        let mark = if format == "mistral" { 12 } else { whole.find(['{', '[', '\n', 'c']).unwrap() };
        for (at, _) in whole.char_indices() {
            let answer = &whole[..at];
            let parsed = parse(format, answer);
            if at >= end_of_call(whole) {
                assert_eq!((parsed.calls.len(), parsed.text.as_str()), (1, ""), "{format}: {answer}");
                assert!(parsed.warnings.is_empty(), "{format}: {answer}");
            } else {
                assert_eq!((parsed.calls.len(), parsed.text.as_str()), (0, answer), "{format}");
                // The start of a marker is not yet a call.
                let is_marked = at >= mark
                    && output_parser(format).tool_calls.unwrap().opens.iter().any(|open| answer.contains(open));
                assert_eq!(parsed.warnings.len(), usize::from(is_marked), "{format}: {answer}");
            }
        }
    }
}

#[test]
fn invalid_character_is_never_lost() {
    for (format, whole) in WHOLE {
        for (at, _) in whole.char_indices() {
            let answer = format!("{}\u{1}{}", &whole[..at], &whole[at..]);
            let parsed = parse(format, &answer);
            match parsed.calls.as_slice() {
                [] => assert_eq!(parsed.text, answer, "{format}"),
                [call] if call.arguments.contains("u0001") => assert_eq!(parsed.text, "", "{format}: {answer}"),
                [call] => {
                    assert_eq!(call.arguments, r#"{"x":[1,"é\n"]}"#, "{format}: {answer}");
                    assert!(parsed.text.contains('\u{1}'), "{format}: {answer}");
                    assert!(at == 0 || at >= end_of_call(whole), "{format}: {answer}");
                }
                more => panic!("{format}: {answer}: {more:?}"),
            }
        }
    }
}

#[test]
fn call_that_turns_out_malformed_is_withdrawn_from_its_stream() {
    let answer = "I will. <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1, oops}}</tool_call> Or not.";
    let delta = streamed(&output_parser("hermes"), answer, &[40, 60]);
    assert_eq!(delta.text, answer);
    assert!(delta.calls[0].is_withdrawn);
    assert_eq!(delta.calls[0].arguments, "{\"x\":1");
    is_text(&parse("hermes", answer), answer);
}

#[test]
fn call_after_a_withdrawn_call_has_a_new_index() {
    let good = "<tool_call>{\"name\": \"g\"}</tool_call>";
    let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": [1]}}</tool_call>{good}");
    let delta = streamed(&output_parser("hermes"), &answer, &[]);
    let indices: Vec<_> = delta.calls.iter().map(|call| (call.index, call.is_withdrawn)).collect();
    assert_eq!(indices, [(0, true), (1, false)]);
    let parsed = parse("hermes", &answer);
    assert_eq!(parsed.calls[0].id, delta.calls[1].named.as_ref().unwrap().0);
    assert_eq!(parsed.text, "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>");
}

#[test]
fn call_of_an_unknown_tool_is_text() {
    let answers = [
        ("hermes", "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>"),
        ("mistral", "[TOOL_CALLS][{\"name\": \"rm\", \"arguments\": {}}]"),
        ("lfm", "<|tool_call_start|>[rm()]<|tool_call_end|>"),
        ("tool_code", "```tool_code\nrm()\n```"),
        ("gemma-4", "<|tool_call>call:rm{}<tool_call|>"),
    ];
    for (format, answer) in answers {
        let parsed = parse(format, answer);
        is_text(&parsed, answer);
        assert!(parsed.warnings[0].contains("`rm` is not one of the tools"), "{}", parsed.warnings[0]);
    }
}

#[test]
fn text_that_resembles_a_call_without_a_marker_causes_no_warning() {
    let answers = [
        ("llama", "{\"city\": \"Paris\", \"name\": \"f\"}"),
        ("llama", "{\"name\": \"Paris\", \"parameters\": {}}"),
        ("llama", "{ not JSON }"),
        ("llama", "{\"name\": \"f"),
        ("pythonic", "[1, 2, 3]"),
        ("pythonic", "[note] this"),
        ("pythonic", "[rm(x=1)]"),
        ("lfm", "[f(x=1)]"),
    ];
    for (format, answer) in answers {
        let parsed = parse(format, answer);
        assert_eq!((parsed.text.as_str(), parsed.calls.len(), parsed.warnings.len()), (answer, 0, 0), "{format}");
    }
}

#[test]
fn calls_without_a_marker_are_only_read_at_the_start() {
    let answer = "See: {\"name\": \"f\", \"parameters\": {}}";
    assert_eq!(parse("llama", answer).text, answer);
    assert_eq!(parse("pythonic", "Or [f()]").text, "Or [f()]");
}

#[test]
fn text_after_an_unclosed_call_is_text() {
    let parsed = parse("hermes", "<tool_call>{\"name\": \"f\"}}</tool_call>");
    assert_eq!((parsed.calls.len(), parsed.text.as_str(), parsed.warnings.len()), (1, "}</tool_call>", 1));
    let parsed = parse("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, {\"name\": 1}]");
    assert_eq!((parsed.calls.len(), parsed.text.as_str(), parsed.warnings.len()), (1, ", {\"name\": 1}]", 1));
}

#[test]
fn partial_marker_at_the_end_of_an_answer_is_text() {
    let parsed = parse("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, [TOOL_CA");
    assert_eq!((parsed.calls.len(), parsed.text.as_str(), parsed.warnings.len()), (1, ", [TOOL_CA", 1));
    let parsed = parse("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, [TOOL_CALLS]{\"na");
    assert_eq!((parsed.calls.len(), parsed.text.as_str(), parsed.warnings.len()), (1, ", [TOOL_CALLS]{\"na", 2));
    let inside = ", {\"name\": \"g\", \"arguments\": {\"x\": \"[TOOL_CA";
    let parsed = parse("mistral", &format!("[TOOL_CALLS][{{\"name\": \"f\"}}{inside}"));
    assert_eq!((parsed.calls.len(), parsed.text.as_str(), parsed.warnings.len()), (1, inside, 1));
    let parsed = parse("hermes", "<tool_call>{\"name\": \"f\"}\n<tool_ca");
    assert_eq!((parsed.calls.len(), parsed.text.as_str()), (1, "<tool_ca"));
}

#[test]
fn invalid_values_are_refused() {
    let values = [
        "01",
        "1.",
        "+1",
        ".5",
        "1e999",
        "--1",
        "True",
        "nul",
        "[1,]",
        "{\"a\":1,}",
        "[,1]",
        "[1 2]",
        "{\"a\" 1}",
        "{1: 2}",
        "{a: 1}",
        "'a'",
        "\"\\x41\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\u12g4\"",
        "(1)",
    ];
    for value in values {
        let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {value}}}}}</tool_call>");
        is_text(&parse("hermes", &answer), &answer);
    }
    let deep = format!(
        "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {}1{}}}}}</tool_call>",
        "[".repeat(48),
        "]".repeat(48)
    );
    is_text(&parse("hermes", &deep), &deep);
    let less = format!(
        "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {}1{}}}}}</tool_call>",
        "[".repeat(47),
        "]".repeat(47)
    );
    assert_eq!(calls(&parse("hermes", &less)).len(), 1);
}

#[test]
fn fields_of_a_call_that_contradict_each_other_are_refused() {
    for call in [
        "{}",
        "{\"name\": 1}",
        "{\"name\": \"f\", \"name\": \"g\"}",
        "{\"arguments\": {}}",
        "{\"name\": \"f\", \"arguments\": 1}",
        "{\"name\": \"f\", \"arguments\": not}",
        "{\"name\": \"f\", \"arguments\": [null]}",
        "{\"name\": \"f\", \"arguments\": \"x\"}",
        "{\"name\": \"f\", \"arguments\": \"[1]\"}",
        "{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1\"}",
        "{\"name\": \"f\", \"arguments\": \"{} {}\"}",
        "{\"name\": \"f\", \"arguments\": null, \"parameters\": {}}",
        "{\"name\": \"f\", \"arguments\": \"{}\", \"arguments\": null}",
        "{\"name\": \"f\", \"arguments\": {}, \"parameters\": {}}",
    ] {
        let answer = format!("<tool_call>{call}</tool_call>");
        is_text(&parse("hermes", &answer), &answer);
    }
}

#[test]
fn number_of_warnings_is_limited() {
    let answer = "<tool_call>x".repeat(100);
    let parsed = parse("hermes", &answer);
    assert_eq!((parsed.text, parsed.warnings.len()), (answer, 16));
}
