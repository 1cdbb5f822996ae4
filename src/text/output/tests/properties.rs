//! Properties of every answer.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{FinishReason, ParsedOutput, calls, output_parser, parse, request, streamed};

const FORMATS: [&str; 8] = ["qwen", "mistral", "llama", "pythonic", "lfm", "tool_code", "function-gemma", "gemma-4"];

/// Parts of answers, valid and invalid.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = vec![
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "<|python_tag|>",
        "```tool_code\n",
        "```",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<start_function_call>",
        "<end_function_call>",
        "<escape>",
        "<|tool_call>",
        "<tool_call|>",
        "<|\"|>",
        "call:",
        "f",
        "g",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "x=",
        "x:",
        "\"x\":",
        "1",
        ",",
        ";",
        " ",
        "\n",
        "'",
        "\"",
        "\\",
        "é",
        "😀",
        "<",
        "{\"name\": \"f\", \"arguments\": {",
        "{\"name\": \"f\"}",
        "f(x=1)",
        "call:f{x:1}",
        "True",
        "null",
        "word",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

/// The text without white space, which may belong to markers.
fn dense(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_depends_on_how_an_answer_was_cut(format in prop::sample::select(FORMATS.to_vec()), answer in pieces(), seed in any::<u64>()) {
        let (output_parser, whole) = (output_parser(format), streamed(&output_parser(format), &answer, &[]));
        let all: Vec<_> = answer.char_indices().map(|(at, _)| at).collect();
        let some: Vec<_> = all.iter().copied().filter(|at| seed >> (at % 64) & 1 == 1).collect();
        prop_assert_eq!(&streamed(&output_parser, &answer, &all), &whole);
        prop_assert_eq!(&streamed(&output_parser, &answer, &some), &whole);
    }

    #[test]
    fn what_is_neither_call_nor_reasoning_is_text(format in prop::sample::select(FORMATS.to_vec()), answer in pieces()) {
        let parsed = parse(format, &answer);
        if parsed.calls.is_empty() && !answer.trim_start().starts_with("<think>") {
            prop_assert_eq!(&parsed.text, &answer);
        }
        // No call or tag becomes text, and no text is lost: the remaining characters appear in the answer in the same
        // order.
        let mut rest = dense(&answer);
        for c in dense(&parsed.text).chars() {
            let at = rest.find(c);
            prop_assert!(at.is_some(), "{:?} is not in the answer", c);
            rest.drain(..at.unwrap() + c.len_utf8());
        }
    }

    #[test]
    fn what_is_no_markup_is_somewhere(format in prop::sample::select(FORMATS.to_vec()), answer in pieces()) {
        // An unknown field of a call may contain anything, and disappears with the call.
        let answer = answer.replace("\"x\":", "x");
        let ParsedOutput { text, reasoning, calls, .. } = parse(format, &answer);
        let num_in = |text: &str| text.matches('😀').count();
        let arguments: usize = calls.iter().map(|call| num_in(&call.arguments)).sum();
        prop_assert_eq!(num_in(&text) + num_in(&reasoning) + arguments, num_in(&answer), "{:?} {:?}", text, calls);
    }

    #[test]
    fn arguments_are_an_object_and_calls_are_of_tools(format in prop::sample::select(FORMATS.to_vec()), answer in pieces()) {
        for call in output_parser(format).parse(&answer, &request(), FinishReason::Stop).calls {
            prop_assert!(serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok(), "{}", call.arguments);
            prop_assert!(["f", "g"].contains(&call.name.as_str()));
        }
    }

    #[test]
    fn any_text_at_all_comes_back(format in prop::sample::select(FORMATS.to_vec()), answer in "\\PC{0,40}") {
        let parsed = parse(format, &answer);
        if parsed.calls.is_empty() {
            prop_assert_eq!(parsed.text, answer);
        }
    }

    #[test]
    fn arguments_are_what_the_model_wrote(x in values()) {
        let arguments = json!({ "x": x });
        let answer = format!("<tool_call>{}</tool_call>", json!({"name": "f", "arguments": arguments}));
        prop_assert_eq!(calls(&parse("hermes", &answer)), [("f".to_owned(), arguments)]);
    }
}
