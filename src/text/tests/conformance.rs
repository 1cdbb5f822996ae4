//! Chat templates like published ones, and single expressions, compared with the output of `transformers`. See
//! tools/conformance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Code, Result};
use crate::text::date;
use crate::text::template::{Owner, Template};
use crate::text::{Chat, Content, Message};

const RECORD: &str = include_str!("../../../tools/conformance/chat/rendered.json");

fn record() -> Value {
    serde_json::from_str(RECORD).unwrap()
}

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/conformance/chat/templates")
}

/// The time at which `transformers` rendered the expected output.
fn then() -> u64 {
    1_741_363_509
}

fn compiled(source: &str) -> Result<Template> {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
    let tokens = tokens.map(|(name, token)| (name.to_owned(), token.to_owned()));
    Template::compile(source, Owner::Model, &tokens, then)
}

fn chat(recorded: &Value) -> Chat {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    Chat {
        messages: recorded["messages"].as_array().unwrap().iter().map(message).collect(),
        tools: recorded["tools"].as_array().cloned(),
        variables: fields(&recorded["variables"]),
        continues_final: recorded["continue"] == true,
        ..Chat::default()
    }
}

fn message(recorded: &Value) -> Message {
    let text = |key: &str| recorded[key].as_str().map(str::to_owned);
    let part = |part: &Value| part["text"].as_str().unwrap().to_owned();
    let content = match &recorded["content"] {
        Value::Array(parts) => Some(Content::Parts(parts.iter().map(part).collect())),
        content => content.as_str().map(|text| Content::Text(text.to_owned())),
    };
    Message {
        role: text("role").unwrap(),
        content,
        reasoning: text("reasoning_content"),
        name: text("name"),
        tool_calls: recorded["tool_calls"].as_array().cloned().unwrap_or_default(),
        tool_call_id: text("tool_call_id"),
    }
}

/// How a rendering differs from the expected output, if it does.
fn difference(expected: &Value, rendered: &Result<String>) -> Option<String> {
    let is_same = match rendered {
        Ok(text) => expected["text"] == *text,
        Err(error) => match expected["refused"].as_str() {
            Some(message) => error.code() == Code::InvalidParams && error.message().ends_with(&format!(": {message}")),
            None => expected["fails"] == true,
        },
    };
    (!is_same).then(|| format!("  expected {expected}\n  rendered {rendered:?}"))
}

#[test]
fn chat_templates_render_as_in_transformers() {
    let record = record();
    let conversations: BTreeMap<&String, Chat> =
        record["conversations"].as_object().unwrap().iter().map(|(name, recorded)| (name, chat(recorded))).collect();
    let mut differences = Vec::new();
    for (name, renderings) in record["templates"].as_object().unwrap() {
        let source = std::fs::read_to_string(templates().join(format!("{name}.jinja"))).unwrap();
        let template = compiled(&source).unwrap();
        for (conversation, expected) in renderings.as_object().unwrap() {
            let mut chat = conversations[conversation].clone();
            remove_unread_variables(&mut chat, &source);
            let different = difference(expected, &template.render_chat(&chat).map(|rendered| rendered.text));
            differences.extend(different.map(|different| format!("{name}, {conversation}:\n{different}")));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// Removes variables that the template does not read: `transformers` ignores them, and this crate rejects them.
fn remove_unread_variables(chat: &mut Chat, source: &str) {
    chat.variables =
        std::mem::take(&mut chat.variables).into_iter().filter(|(name, _)| source.contains(name)).collect();
    chat.tools = chat.tools.take().filter(|_| source.contains("tools"));
}

/// Features of Jinja2 and Python that no published template uses: an error names them.
const MISSING: [&str; 1] = ["{{ s.encode() }}"];

/// Differences that do no harm to a prompt.
const OTHERWISE: [&str; 7] = [
    "{{ '{:>{}}'.format(1, 5) }}",
    "{% if 1 if true else 2 %}y{% endif %}",
    "{% break %}",
    "{{ 5.real }}",
    "{{ {}.items() }}",
    "{{ {'b': 1, 'A': none}.items() }}",
    "{{ {'b': 1, 'A': none} | pprint }}",
];

#[test]
fn expressions_and_statements_render_as_in_transformers() {
    let record = record();
    let all: Map<String, Value> = record["variables"].as_object().unwrap().clone();
    let mut differences = Vec::new();
    for (source, expected) in record["sources"].as_object().unwrap() {
        let mut chat = chat(&record["conversations"]["question"]);
        chat.variables = all.clone().into_iter().filter(|(name, _)| contains_word(source, name)).collect();
        let rendered = compiled(source).and_then(|template| template.render_chat(&chat)).map(|rendered| rendered.text);
        if MISSING.contains(&source.as_str()) {
            assert!(rendered.is_err(), "{source} is there: {rendered:?}");
            continue;
        }
        let difference = difference(expected, &rendered);
        if difference.is_none() == OTHERWISE.contains(&source.as_str()) {
            differences.push(format!("{source}:\n{}", difference.unwrap_or_default()));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

fn contains_word(source: &str, word: &str) -> bool {
    source.split(|c: char| c != '_' && !c.is_alphanumeric()).any(|found| found == word)
}

#[test]
fn dates_are_written_as_python_writes_them() {
    let record = record();
    assert_eq!(record["now"], then());
    for (format, expected) in record["dates"].as_object().unwrap() {
        assert_eq!(date::at(then(), format), *expected, "{format}");
    }
}
