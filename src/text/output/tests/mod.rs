//! Answers in each format, cut at each place.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod calls;
mod formats;
mod malformed;
mod properties;
mod reasoning;
mod stop_sequences;
mod writer;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{OutputFormat, OutputParser, ParsedDelta, ParsedOutput};

/// A template of a format. Tests name formats by model family.
fn template(format: &str) -> String {
    let file = match format {
        "hermes" => "qwen-2.5",
        "qwen" => "qwen-3",
        "mistral" => "mistral-tools",
        "llama" => "llama-3.1-tools",
        "pythonic" => {
            return "put it in the format of [func_name1(params_name1=params_value1), func_name2(params)]".into();
        }
        "lfm" => return "<|tool_list_start|>{{ tools }}<|tool_list_end|>".into(),
        "tool_code" => return "answer with\n```tool_code\nf(x=1)\n```".into(),
        "function-gemma" => return "<start_function_call>call:{{ name }}".into(),
        "gemma-4" => return "{{ '<|tool_call>call:' + name + '<tool_call|>' }}".into(),
        other => other,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tools/conformance/chat/templates/{file}.jinja"));
    std::fs::read_to_string(path).unwrap()
}

fn output_parser(format: &str) -> OutputParser {
    let template = template(format);
    let tools = ["f", "g", "get_weather"].map(str::to_owned).to_vec();
    OutputFormat::of(&template, &template, |_| None).parser(tools, "", None).unwrap()
}

fn request() -> Arc<str> {
    Arc::from("request-1")
}

fn parse(format: &str, answer: &str) -> ParsedOutput {
    output_parser(format).parse(answer, &request())
}

/// All deltas of an answer that arrives in parts, cut at these places.
fn streamed(output_parser: &OutputParser, answer: &str, cuts: &[usize]) -> ParsedDelta {
    let (mut parser, mut all) = (output_parser.streaming(&request()), ParsedDelta::default());
    let mut from = 0;
    for to in cuts.iter().copied().chain([answer.len()]) {
        add(&mut all, parser.push(&answer[from..to]));
        from = to;
    }
    let (rest, whole) = parser.finish();
    add(&mut all, rest);
    assert_eq!(whole, output_parser.parse(answer, &request()), "the output does not depend on the cuts");
    all
}

/// Joins deltas as a client does.
fn add(all: &mut ParsedDelta, delta: ParsedDelta) {
    all.text.push_str(&delta.text);
    all.reasoning.push_str(&delta.reasoning);
    for delta in delta.calls {
        let known = all.calls.iter_mut().find(|call| call.index == delta.index);
        let Some(call) = known else {
            assert!(delta.named.is_some(), "a call begins with its name");
            all.calls.push(delta);
            continue;
        };
        assert_eq!(delta.named, None, "a call has one name");
        assert!(!call.is_withdrawn, "a withdrawn call gets no more deltas");
        call.arguments.push_str(&delta.arguments);
        call.is_withdrawn |= delta.is_withdrawn;
    }
}

/// Name and arguments of the calls of an answer.
fn calls(parsed: &ParsedOutput) -> Vec<(String, Value)> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    parsed.calls.iter().map(|call| (call.name.clone(), parse(&call.arguments))).collect()
}
