//! Answers that must call a function, as a grammar in llguidance's dialect of Lark: calls as the format writes them, with
//! arguments that keep to the schemas of the tools, behind the reasoning that the model is used to.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::super::guide::enforced_schema;
use super::Speech;
use super::format::{Format, Shape, Tags};
use crate::error::{Code, Error, Result};
use crate::request::TokenId;

/// What a schema has for all of its parts.
const SHARED: [&str; 3] = ["$defs", "definitions", "x-guidance"];

/// The grammar of answers that call one of `tools`: exactly once, or as often as the model likes. `token` finds the marks
/// that are special tokens.
///
/// `InvalidParams` where there is no grammar for the format, or a tool does not fit it.
pub(super) fn grammar(
    speech: Option<&Speech>,
    tools: &[&Value],
    is_single: bool,
    token: impl Fn(&str) -> Option<TokenId>,
) -> Result<String> {
    let Some((speech, format)) = speech.and_then(|speech| Some((speech, speech.format?))) else {
        return Err(refused("needs a chat template whose format of calls is known, and this model's is not"));
    };
    let mark = |text: &str| token(text).map_or_else(|| quoted(text), |id| format!("<[{id}]>"));
    let mut rules = String::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let schema = &enforced(name, &tool["function"]["parameters"])?;
        let call = match format.shape {
            Shape::Json | Shape::JsonList => json_call(&mut rules, index, name, "arguments", schema),
            Shape::JsonSequence => json_call(&mut rules, index, name, "parameters", schema),
            Shape::NamedJson => {
                let arguments = json_arguments(&mut rules, index, schema);
                format!("{} {} {arguments}", quoted(name), mark("[ARGS]"))
            }
            Shape::PythonList | Shape::PythonLines => python_call(&mut rules, index, name, schema)?,
            Shape::Bare(_) => return Err(refused("must be 'auto' or 'none' for this model's format of calls")),
        };
        let _ = writeln!(rules, "call{index}: {call}");
    }
    let names: Vec<_> = (0..tools.len()).map(|index| format!("call{index}")).collect();
    let lead = speech.tags.map_or_else(String::new, |tags| lead(&mut rules, speech, tags, &token));
    let calls = calls(format, is_single, mark);
    Ok(format!("start: {lead} calls\ncalls: {calls}\ncall: {}\n{rules}", names.join(" | ")))
}

/// A run of calls, as the templates of the format print them.
fn calls(format: &Format, is_single: bool, mark: impl Fn(&str) -> String) -> String {
    let (open, close) = (mark(format.opens.first().copied().unwrap_or_default()), mark(format.close));
    let more = |separator: &str, call: &str| if is_single { String::new() } else { format!(" ({separator} {call})*") };
    match format.shape {
        Shape::Json | Shape::Bare(_) => {
            let call = format!("{open} \"\\n\" call \"\\n\" {close}");
            format!("{call}{}", more("\"\\n\"", &call))
        }
        Shape::JsonList => format!("{open} \" [\" call{} \"]\"", more("\", \"", "call")),
        Shape::NamedJson => format!("{open} call{}", more(&open, "call")),
        // These models were not made for several calls at once, and their templates refuse them.
        Shape::JsonSequence => "call".to_owned(),
        Shape::PythonList => {
            let list = format!("\"[\" call{} \"]\"", more("\", \"", "call"));
            if format.opens.is_empty() { list } else { format!("{open} {list} {close}") }
        }
        Shape::PythonLines => format!("{open} \"\\n\" call{} \"\\n\" {close}", more("\"\\n\"", "call")),
    }
}

/// What may stand before calls. Reasoning goes on to the first of its closing tags.
fn lead(rules: &mut String, speech: &Speech, tags: &Tags, token: impl Fn(&str) -> Option<TokenId>) -> String {
    let _ = match token(tags.close) {
        Some(id) => writeln!(rules, "thought: /(?s:.*)/ <[{id}]>"),
        None => writeln!(rules, "thought[suffix={}]: /(?s:.*)/", quoted(tags.close)),
    };
    if speech.is_reasoning {
        return r#"thought "\n\n""#.to_owned();
    }
    let open = token(tags.open).map_or_else(|| quoted(tags.open), |id| format!("<[{id}]>"));
    format!(r#"({open} thought "\n\n")?"#)
}

/// A schema with nothing in it that would not be enforced.
fn enforced(name: &str, schema: &Value) -> Result<Value> {
    let Value::Object(schema) = schema else { return Ok(Value::Null) };
    let mut schema = schema.clone();
    schema.insert("type".to_owned(), "object".into());
    enforced_schema(&Value::Object(schema), "parameters").map_err(|problem| {
        Error::new(Code::GuidanceError, format!("the tool `{name}` cannot be called for sure: {problem}"))
            .with_param("tools")
    })
}

fn json_call(rules: &mut String, index: usize, name: &str, field: &str, schema: &Value) -> String {
    let begin = format!("{{\"name\": {}, \"{field}\": ", quoted(name));
    let arguments = json_arguments(rules, index, schema);
    format!("{} {arguments} \"}}\"", quoted(&begin))
}

/// Arguments as one object. A tool that says nothing of them has none.
fn json_arguments(rules: &mut String, index: usize, schema: &Value) -> String {
    if schema.is_null() {
        return quoted("{}");
    }
    let _ = writeln!(rules, "arguments{index}: %json {schema}");
    format!("arguments{index}")
}

/// Arguments one after another, those that must be there first; their values as JSON, which is read as well.
fn python_call(rules: &mut String, index: usize, name: &str, schema: &Value) -> Result<String> {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let is_required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|it| it == key));
    let (required, optional): (Vec<_>, Vec<_>) = properties.iter().partition(|(key, _)| is_required(key));
    let mut arguments = Vec::new();
    for (at, (key, value)) in required.iter().chain(&optional).enumerate() {
        if !is_identifier(key) {
            let message = format!("needs arguments that Python could name, and `{name}` has one named {key:?}");
            return Err(refused(&message));
        }
        let _ = writeln!(rules, "argument{index}_{at}: {} value{index}_{at}", quoted(&format!("{key}=")));
        let _ = writeln!(rules, "value{index}_{at}: %json {}", with_definitions(value, schema));
        arguments.push(format!("argument{index}_{at}"));
    }
    let (first, rest) = arguments.split_at(required.len());
    let optional = optional_arguments(rules, rest);
    let list = match (first.join(" \", \" "), optional) {
        (required, None) => required,
        (required, Some((_, alone))) if required.is_empty() => format!("{alone}?"),
        (required, Some((behind, _))) => format!("{required} {behind}"),
    };
    Ok(format!("{} {list} \")\"", quoted(&format!("{name}("))))
}

/// Any of these arguments in their order. Two rules: behind another argument, and with at least one and none before.
fn optional_arguments(rules: &mut String, arguments: &[String]) -> Option<(String, String)> {
    let (first, rest) = arguments.split_first()?;
    let rest = optional_arguments(rules, rest);
    let (behind, alone) = (format!("behind_{first}"), format!("alone_{first}"));
    let (then, skip) = rest.map_or_else(Default::default, |(behind, alone)| (behind, format!(" | {alone}")));
    let _ = writeln!(rules, "{behind}: (\", \" {first})? {then}");
    let _ = writeln!(rules, "{alone}: {first} {then}{skip}");
    Some((behind, alone))
}

/// A part of a schema by itself, with what it may refer to.
fn with_definitions(part: &Value, whole: &Value) -> Value {
    let Value::Object(part) = part else { return part.clone() };
    let mut part = part.clone();
    for key in SHARED {
        part.extend(whole.get(key).map(|definitions| (key.to_owned(), definitions.clone())));
    }
    Value::Object(part)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// Lark writes texts as JSON does.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn refused(why: &str) -> Error {
    Error::invalid("toolChoice", why)
}
