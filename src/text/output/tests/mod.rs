//! Answers in each format, cut at each place.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod calls;
mod ends;
mod formats;
mod malformed;
mod order;
mod properties;
mod reasoning;
mod stop_sequences;
mod writer;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::request::FinishReason;

use super::{OutputFormat, OutputParser, ParsedDelta, ParsedOutput, ParsedPart, ToolCallDelta};

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
    output_parser(format).parse(answer, &request(), FinishReason::Stop)
}

/// All output of an answer that arrives in parts, cut at these places.
fn streamed(output_parser: &OutputParser, answer: &str, cuts: &[usize]) -> ParsedPart {
    let (mut parser, mut all) = (output_parser.streaming(&request()), ParsedPart::default());
    let mut from = 0;
    for to in cuts.iter().copied().chain([answer.len()]) {
        add(&mut all, parser.push(&answer[from..to]));
        from = to;
    }
    let (rest, whole) = parser.finish(FinishReason::Stop);
    add(&mut all, rest);
    assert_eq!(
        whole,
        output_parser.parse(answer, &request(), FinishReason::Stop),
        "the output does not depend on the cuts"
    );
    assert!(all.calls.iter().all(|call| call.is_complete != call.is_withdrawn), "each call has an end");
    all
}

/// Joins the parts of an answer as a client does.
fn add(all: &mut ParsedPart, delta: ParsedDelta) {
    for part in delta {
        all.text.push_str(&part.text);
        all.reasoning.push_str(&part.reasoning);
        add_calls(all, part.calls);
    }
}

fn add_calls(all: &mut ParsedPart, deltas: Vec<ToolCallDelta>) {
    for delta in deltas {
        let known = all.calls.iter_mut().find(|call| call.index == delta.index);
        let Some(call) = known else {
            assert!(delta.named.is_some(), "a call begins with its name");
            all.calls.push(delta);
            continue;
        };
        assert_eq!(delta.named, None, "a call has one name");
        assert!(!call.is_withdrawn && !call.is_complete, "a call that has ended gets no more deltas");
        call.arguments.push_str(&delta.arguments);
        call.is_withdrawn |= delta.is_withdrawn;
        call.is_complete |= delta.is_complete;
    }
}

/// Name and arguments of the calls of an answer.
fn calls(parsed: &ParsedOutput) -> Vec<(String, Value)> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    parsed.calls.iter().map(|call| (call.name.clone(), parse(&call.arguments))).collect()
}
