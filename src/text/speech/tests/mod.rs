//! Answers in every format, cut in every way.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should end there")]

mod calls;
mod formats;
mod malformed;
mod properties;
mod reasoning;
mod thinking;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Manner, Said, Speech, Spoken};

/// A text that stands in templates of a format, by the name that tests give it.
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

fn speech(format: &str) -> Speech {
    let template = template(format);
    let tools = ["f", "g", "get_weather"].map(str::to_owned).to_vec();
    Manner::of(&template, &template, |_| None).speech(tools, "", None).unwrap()
}

fn request() -> Arc<str> {
    Arc::from("request-1")
}

fn read(format: &str, answer: &str) -> Spoken {
    speech(format).read(answer, &request())
}

/// What a stream of the answer says in all, cut at these places.
fn streamed(speech: &Speech, answer: &str, cuts: &[usize]) -> Said {
    let (mut splitter, mut all) = (speech.splitter(&request()), Said::default());
    let mut from = 0;
    for to in cuts.iter().copied().chain([answer.len()]) {
        let mut said = Said::default();
        splitter.push(&answer[from..to], &mut said);
        add(&mut all, said);
        from = to;
    }
    let mut said = Said::default();
    splitter.finish(&mut said);
    add(&mut all, said);
    all
}

/// What the one who reads chunks puts together.
fn add(all: &mut Said, said: Said) {
    all.text.push_str(&said.text);
    all.reasoning.push_str(&said.reasoning);
    for delta in said.calls {
        let known = all.calls.iter_mut().find(|call| call.index == delta.index);
        let Some(call) = known else {
            assert!(delta.named.is_some(), "a call begins with its name");
            all.calls.push(delta);
            continue;
        };
        assert_eq!(delta.named, None, "a call has one name");
        assert!(!call.is_withdrawn, "nothing is said of what was withdrawn");
        call.arguments.push_str(&delta.arguments);
        call.is_withdrawn |= delta.is_withdrawn;
    }
}

/// Name and arguments of the calls of an answer.
fn calls(spoken: &Spoken) -> Vec<(String, Value)> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    spoken.calls.iter().map(|call| (call.name.clone(), parse(&call.arguments))).collect()
}
