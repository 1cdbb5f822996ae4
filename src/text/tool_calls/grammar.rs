//! The grammar of answers with enforced calls, in llguidance's dialect of Lark: the model's usual reasoning, then calls in
//! the model's format with arguments that match the schemas of the tools. Another grammar may stand in place of the calls.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::format::{CallSyntax, ToolCallFormat};
use crate::error::{Code, Error, Result};
use crate::request::{ReasoningTags, TokenId};
use crate::text::constraint::{OTHER_ANSWER, enforced_schema};

/// Keywords of a schema that apply to all of its parts.
const SHARED: [&str; 3] = ["$defs", "definitions", "x-guidance"];

/// The calls of an answer.
pub(in crate::text) struct EnforcedCalls<'a> {
    /// The tools to choose from.
    pub(in crate::text) tools: &'a [&'a Value],
    /// Exactly one call; otherwise as many as the model writes.
    pub(in crate::text) is_single: bool,
    /// The answer may also be one of the grammar [`OTHER_ANSWER`].
    pub(in crate::text) are_optional: bool,
}

/// The grammar of answers with these calls, after reasoning between these tags. `token` looks up markers that are special
/// tokens.
///
/// `InvalidParams` if the format has no grammar or cannot express a tool.
pub(in crate::text) fn grammar(
    format: Option<&ToolCallFormat>,
    reasoning: Option<ReasoningTags>,
    &EnforcedCalls { tools, is_single, are_optional }: &EnforcedCalls<'_>,
    token: impl Fn(&str) -> Option<TokenId>,
) -> Result<String> {
    let refused = |why: &str| {
        let demand = if are_optional { "must be 'none' beside `structured`" } else { "must be 'auto' or 'none'" };
        Error::invalid("toolChoice", format!("{demand}: {why}"))
    };
    let Some(format) = format else {
        return Err(refused("this model's chat template has no tool-call format that is known"));
    };
    let mark = |text: &str| token(text).map_or_else(|| quoted(text), |id| format!("<[{id}]>"));
    let mut rules = String::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let schema = &enforced(name, &tool["function"]["parameters"])?;
        let call = match format.syntax {
            CallSyntax::Json | CallSyntax::JsonList => json_call(&mut rules, index, name, schema),
            CallSyntax::JsonSequence => bare_call(name, schema)?,
            CallSyntax::NamedJson => {
                let arguments = json_arguments(&mut rules, index, schema);
                format!("{} {} {arguments}", quoted(name), mark("[ARGS]"))
            }
            CallSyntax::PythonList | CallSyntax::PythonLines => {
                python_call(&mut rules, index, name, schema).map_err(|problem| refused(&problem))?
            }
            CallSyntax::Bare(_) => return Err(refused("calls in this model's tool-call format cannot be enforced")),
        };
        let _ = writeln!(rules, "call{index}: {call}");
    }
    let names: Vec<_> = (0..tools.len()).map(|index| format!("call{index}")).collect();
    let lead = reasoning.map_or_else(String::new, |tags| lead(&mut rules, tags, &token));
    let calls = calls(format, is_single, mark);
    let other = if are_optional { format!(" | @{OTHER_ANSWER}") } else { String::new() };
    Ok(format!("start: {lead} reply\nreply: calls{other}\ncalls: {calls}\ncall: {}\n{rules}", names.join(" | ")))
}

/// The run of calls, written as the templates of the format write it.
fn calls(format: &ToolCallFormat, is_single: bool, mark: impl Fn(&str) -> String) -> String {
    let (open, close) = (mark(format.opens.first().copied().unwrap_or_default()), mark(format.close));
    let more = |separator: &str, call: &str| if is_single { String::new() } else { format!(" ({separator} {call})*") };
    match format.syntax {
        CallSyntax::Json | CallSyntax::Bare(_) => {
            let call = format!("{open} \"\\n\" call \"\\n\" {close}");
            format!("{call}{}", more("\"\\n\"", &call))
        }
        CallSyntax::JsonList => format!("{open} \" [\" call{} \"]\"", more("\", \"", "call")),
        CallSyntax::NamedJson => format!("{open} call{}", more(&open, "call")),
        // These models make only one call at a time, and their templates reject more.
        CallSyntax::JsonSequence => "call".to_owned(),
        CallSyntax::PythonList => {
            let list = format!("\"[\" call{} \"]\"", more("\", \"", "call"));
            if format.opens.is_empty() { list } else { format!("{open} {list} {close}") }
        }
        CallSyntax::PythonLines => format!("{open} \"\\n\" call{} \"\\n\" {close}", more("\"\\n\"", "call")),
    }
}

/// The reasoning before calls. It ends with the first closing tag.
fn lead(rules: &mut String, tags: ReasoningTags, token: impl Fn(&str) -> Option<TokenId>) -> String {
    let _ = match token(tags.close) {
        Some(id) => writeln!(rules, "thought: /(?s:.*)/ <[{id}]>"),
        None => writeln!(rules, "thought[suffix={}]: /(?s:.*)/", quoted(tags.close)),
    };
    if tags.has_begun {
        return r#"thought "\n\n""#.to_owned();
    }
    let open = token(tags.open).map_or_else(|| quoted(tags.open), |id| format!("<[{id}]>"));
    format!(r#"({open} thought "\n\n")?"#)
}

/// The schema of a tool's arguments, rewritten so that all of it is enforced.
fn enforced(name: &str, schema: &Value) -> Result<Value> {
    let Value::Object(schema) = schema else { return Ok(Value::Null) };
    let mut schema = schema.clone();
    schema.insert("type".to_owned(), "object".into());
    enforced_schema(&Value::Object(schema), "parameters").map_err(|problem| {
        Error::new(Code::GuidanceError, format!("calls of the tool `{name}` cannot be enforced: {problem}"))
            .with_param("tools")
    })
}

fn json_call(rules: &mut String, index: usize, name: &str, schema: &Value) -> String {
    let begin = format!("{{\"name\": {}, \"arguments\": ", quoted(name));
    let arguments = json_arguments(rules, index, schema);
    format!("{} {arguments} \"}}\"", quoted(&begin))
}

/// A call without markers, as JSON with a schema. The other answer may be a JSON object, too. The compiler can tell the two
/// apart only if both consist of the same lexer tokens, so the call is not written as plain text.
fn bare_call(name: &str, schema: &Value) -> Result<String> {
    let nothing = json!({ "additionalProperties": false });
    let schema = if schema.is_null() { &enforced(name, &nothing)? } else { schema };
    let call = json!({
        "type": "object",
        "properties": { "name": { "const": name }, "parameters": without_definitions(schema) },
        "required": ["name", "parameters"],
        "additionalProperties": false,
    });
    Ok(format!("%json {}", with_definitions(&call, schema)))
}

/// Arguments as one object. A tool without a schema has no arguments.
fn json_arguments(rules: &mut String, index: usize, schema: &Value) -> String {
    if schema.is_null() {
        return quoted("{}");
    }
    let _ = writeln!(rules, "arguments{index}: %json {schema}");
    format!("arguments{index}")
}

/// Arguments one after another, the required ones first. Their values are JSON, which the parser also accepts. An error says
/// why the format cannot express the call.
fn python_call(rules: &mut String, index: usize, name: &str, schema: &Value) -> Result<String, String> {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let is_required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|it| it == key));
    let (required, optional): (Vec<_>, Vec<_>) = properties.iter().partition(|(key, _)| is_required(key));
    let mut arguments = Vec::new();
    for (at, (key, value)) in required.iter().chain(&optional).enumerate() {
        if !is_identifier(key) {
            return Err(format!(
                "calls of this model need argument names that are Python identifiers, and `{name}` has an argument {key:?}"
            ));
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

/// Any of these arguments, in their order. Makes two rules: one after another argument, and one for the first argument.
fn optional_arguments(rules: &mut String, arguments: &[String]) -> Option<(String, String)> {
    let (first, rest) = arguments.split_first()?;
    let rest = optional_arguments(rules, rest);
    let (behind, alone) = (format!("behind_{first}"), format!("alone_{first}"));
    let (then, skip) = rest.map_or_else(Default::default, |(behind, alone)| (behind, format!(" | {alone}")));
    let _ = writeln!(rules, "{behind}: (\", \" {first})? {then}");
    let _ = writeln!(rules, "{alone}: {first} {then}{skip}");
    Some((behind, alone))
}

/// A part of a schema with the definitions that it may refer to.
fn with_definitions(part: &Value, whole: &Value) -> Value {
    let Value::Object(part) = part else { return part.clone() };
    let mut part = part.clone();
    for key in SHARED {
        part.extend(whole.get(key).map(|definitions| (key.to_owned(), definitions.clone())));
    }
    Value::Object(part)
}

fn without_definitions(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let own = schema.iter().filter(|(key, _)| !SHARED.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// Lark strings use the escapes of JSON.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}
