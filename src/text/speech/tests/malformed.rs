//! What is no call stays in the text, and is said to.

use super::{Spoken, calls, read, speech, streamed};

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

/// Where the last character of the call itself is: what follows only closes it.
fn end_of_call(answer: &str) -> usize {
    let closers = ["</tool_call>", "<|tool_call_end|>", "```", "<end_function_call>", "<tool_call|>"];
    let body = closers.iter().find_map(|close| answer.strip_suffix(close)).unwrap_or(answer).trim_end();
    let body = body.strip_suffix(']').unwrap_or(body);
    body.strip_suffix("))").map_or(body.len(), |print| print.len() + 1)
}

#[track_caller]
fn is_text(spoken: &Spoken, answer: &str) {
    assert_eq!(spoken.text, answer);
    assert_eq!((spoken.calls.len(), spoken.warnings.len()), (0, 1), "{answer}: {:?}", spoken.warnings);
    assert!(spoken.warnings[0].contains("malformed"), "{}", spoken.warnings[0]);
}

#[test]
fn a_call_that_is_cut_anywhere_is_text() {
    for (format, whole) in WHOLE {
        let mark = if format == "mistral" { 12 } else { whole.find(['{', '[', '\n', 'c']).unwrap() };
        for (at, _) in whole.char_indices() {
            let answer = &whole[..at];
            let spoken = read(format, answer);
            if at >= end_of_call(whole) {
                assert_eq!((spoken.calls.len(), spoken.text.as_str()), (1, ""), "{format}: {answer}");
                assert!(spoken.warnings.is_empty(), "{format}: {answer}");
            } else {
                assert_eq!((spoken.calls.len(), spoken.text.as_str()), (0, answer), "{format}");
                // The beginning of a mark is no call yet.
                let is_marked =
                    at >= mark && speech(format).format.unwrap().opens.iter().any(|open| answer.contains(open));
                assert_eq!(spoken.warnings.len(), usize::from(is_marked), "{format}: {answer}");
            }
        }
    }
}

#[test]
fn a_character_that_does_not_belong_there_is_never_lost() {
    for (format, whole) in WHOLE {
        for (at, _) in whole.char_indices() {
            let answer = format!("{}\u{1}{}", &whole[..at], &whole[at..]);
            let spoken = read(format, &answer);
            match spoken.calls.as_slice() {
                [] => assert_eq!(spoken.text, answer, "{format}"),
                [call] if call.arguments.contains("u0001") => assert_eq!(spoken.text, "", "{format}: {answer}"),
                [call] => {
                    assert_eq!(call.arguments, r#"{"x":[1,"é\n"]}"#, "{format}: {answer}");
                    assert!(spoken.text.contains('\u{1}'), "{format}: {answer}");
                    assert!(at == 0 || at >= end_of_call(whole), "{format}: {answer}");
                }
                more => panic!("{format}: {answer}: {more:?}"),
            }
        }
    }
}

#[test]
fn a_call_that_begins_well_and_ends_badly_is_withdrawn_from_its_stream() {
    let answer = "I will. <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1, oops}}</tool_call> Or not.";
    let said = streamed(&speech("hermes"), answer, &[40, 60]);
    assert_eq!(said.text, answer);
    assert!(said.calls[0].is_withdrawn);
    assert_eq!(said.calls[0].arguments, "{\"x\":1");
    is_text(&read("hermes", answer), answer);
}

#[test]
fn a_call_behind_one_that_was_withdrawn_is_another_one() {
    let good = "<tool_call>{\"name\": \"g\"}</tool_call>";
    let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": [1]}}</tool_call>{good}");
    let said = streamed(&speech("hermes"), &answer, &[]);
    let indices: Vec<_> = said.calls.iter().map(|call| (call.index, call.is_withdrawn)).collect();
    assert_eq!(indices, [(0, true), (1, false)]);
    let spoken = read("hermes", &answer);
    assert_eq!(spoken.calls[0].id, said.calls[1].named.as_ref().unwrap().0);
    assert_eq!(spoken.text, "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>");
}

#[test]
fn a_call_of_something_that_is_no_tool_is_text() {
    let answers = [
        ("hermes", "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>"),
        ("mistral", "[TOOL_CALLS][{\"name\": \"rm\", \"arguments\": {}}]"),
        ("lfm", "<|tool_call_start|>[rm()]<|tool_call_end|>"),
        ("tool_code", "```tool_code\nrm()\n```"),
        ("gemma-4", "<|tool_call>call:rm{}<tool_call|>"),
    ];
    for (format, answer) in answers {
        let spoken = read(format, answer);
        is_text(&spoken, answer);
        assert!(spoken.warnings[0].contains("`rm` is not one of the tools"), "{}", spoken.warnings[0]);
    }
}

#[test]
fn what_merely_looks_like_a_call_without_a_mark_is_text_and_no_reason_to_warn() {
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
        let spoken = read(format, answer);
        assert_eq!((spoken.text.as_str(), spoken.calls.len(), spoken.warnings.len()), (answer, 0, 0), "{format}");
    }
}

#[test]
fn calls_without_a_mark_stand_at_the_beginning() {
    let answer = "See: {\"name\": \"f\", \"parameters\": {}}";
    assert_eq!(read("llama", answer).text, answer);
    assert_eq!(read("pythonic", "Or [f()]").text, "Or [f()]");
}

#[test]
fn what_stands_behind_a_call_where_it_should_be_closed_is_text_beside_it() {
    let spoken = read("hermes", "<tool_call>{\"name\": \"f\"}}</tool_call>");
    assert_eq!((spoken.calls.len(), spoken.text.as_str(), spoken.warnings.len()), (1, "}</tool_call>", 1));
    let spoken = read("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, {\"name\": 1}]");
    assert_eq!((spoken.calls.len(), spoken.text.as_str(), spoken.warnings.len()), (1, ", {\"name\": 1}]", 1));
}

#[test]
fn an_answer_that_ends_inside_a_mark_behind_a_call_keeps_what_there_is_of_it() {
    let spoken = read("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, [TOOL_CA");
    assert_eq!((spoken.calls.len(), spoken.text.as_str(), spoken.warnings.len()), (1, ", [TOOL_CA", 1));
    let spoken = read("mistral", "[TOOL_CALLS][{\"name\": \"f\"}, [TOOL_CALLS]{\"na");
    assert_eq!((spoken.calls.len(), spoken.text.as_str(), spoken.warnings.len()), (1, ", [TOOL_CALLS]{\"na", 2));
    let inside = ", {\"name\": \"g\", \"arguments\": {\"x\": \"[TOOL_CA";
    let spoken = read("mistral", &format!("[TOOL_CALLS][{{\"name\": \"f\"}}{inside}"));
    assert_eq!((spoken.calls.len(), spoken.text.as_str(), spoken.warnings.len()), (1, inside, 1));
    let spoken = read("hermes", "<tool_call>{\"name\": \"f\"}\n<tool_ca");
    assert_eq!((spoken.calls.len(), spoken.text.as_str()), (1, "<tool_ca"));
}

#[test]
fn values_that_are_none_are_refused() {
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
        is_text(&read("hermes", &answer), &answer);
    }
    let deep = format!(
        "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {}1{}}}}}</tool_call>",
        "[".repeat(48),
        "]".repeat(48)
    );
    is_text(&read("hermes", &deep), &deep);
    let less = format!(
        "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {}1{}}}}}</tool_call>",
        "[".repeat(47),
        "]".repeat(47)
    );
    assert_eq!(calls(&read("hermes", &less)).len(), 1);
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
        is_text(&read("hermes", &answer), &answer);
    }
}

#[test]
fn warnings_have_an_end() {
    let answer = "<tool_call>x".repeat(100);
    let spoken = read("hermes", &answer);
    assert_eq!((spoken.text, spoken.warnings.len()), (answer, 16));
}
