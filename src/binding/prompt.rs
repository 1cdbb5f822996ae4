//! From the params that make a prompt to a [`Prompt`]: texts, tokens, templates and conversations.

use napi::bindgen_prelude::{FromNapiValue, Uint32Array, Unknown};
use napi::{JsValue, ValueType};
use serde_json::{Map, Value, json};

use crate::engine::Prompt;
use crate::error::{Code, Error};
use crate::text::{Chat, Content, Message, PromptTemplate, ToolChoice};

use super::fields::{Fields, Read, Refusal, elements, is_array, string, whole, wrong};
use super::json::{self, JsonReader};

const CODE: Code = Code::InvalidParams;

/// Templates know a few; more are a mistake.
const MAX_VARIABLES: usize = 64;
/// What params of their own say.
const RESERVED: [&str; 3] = ["messages", "tools", "add_generation_prompt"];

/// Reads the one of `prompt` and `messages` that is there, and what belongs to it.
pub(super) fn read(fields: &mut Fields<'_>) -> Read<Prompt> {
    let (prompt, messages) = (fields.value("prompt")?, fields.value("messages")?);
    let chat = ChatFields::read(fields)?;
    match (prompt, messages) {
        (Some(prompt), None) => {
            chat.refuse()?;
            read_single(prompt)
        }
        (None, Some(messages)) => chat.with(messages).map(Prompt::Chat),
        (Some(_), Some(_)) => Err(one_of("both are there")),
        (None, None) => Err(one_of("neither is there")),
    }
}

/// Reads the params of a conversation that is rendered and not answered.
pub(super) fn read_chat(params: Unknown<'_>) -> Read<Chat> {
    let mut fields = Fields::of("", CODE, params)?;
    let messages = fields.value("messages")?;
    let chat = ChatFields::read(&mut fields)?;
    fields.finish()?;
    chat.with(messages.ok_or_else(|| wrong(CODE, "messages", "is missing"))?)
}

fn one_of(found: &str) -> Refusal {
    Error::new(CODE, format!("exactly one of `prompt` and `messages` is needed, but {found}"))
        .with_param("prompt")
        .into()
}

/// What belongs to `messages`.
struct ChatFields<'env> {
    tools: Option<Unknown<'env>>,
    choice: Option<Unknown<'env>>,
    variables: Option<Unknown<'env>>,
    continues_final: Option<bool>,
}

impl<'env> ChatFields<'env> {
    fn read(fields: &mut Fields<'env>) -> Read<Self> {
        Ok(Self {
            tools: fields.value("tools")?,
            choice: fields.value("toolChoice")?,
            variables: fields.value("templateVariables")?,
            continues_final: fields.switch("continueFinalMessage")?,
        })
    }

    /// Without a chat template there is no place for them.
    fn refuse(self) -> Read<()> {
        let given = [
            ("tools", self.tools.is_some()),
            ("toolChoice", self.choice.is_some()),
            ("templateVariables", self.variables.is_some()),
            ("continueFinalMessage", self.continues_final.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(wrong(CODE, name, "goes with `messages`, not with `prompt`").into()),
            None => Ok(()),
        }
    }

    fn with(self, messages: Unknown<'_>) -> Read<Chat> {
        let variables = self.variables.map(|variables| read_variables("templateVariables", variables)).transpose()?;
        let variables = variables.unwrap_or_default();
        if let Some(name) = variables.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(wrong(CODE, &format!("templateVariables.{name}"), "has a param of its own").into());
        }
        let tools = self.tools.map(read_tools).transpose()?;
        let (tools, choice) = match self.choice {
            Some(choice) => read_choice(choice, tools)?,
            None => (tools, ToolChoice::Auto),
        };
        Ok(Chat {
            messages: read_messages(messages)?,
            tools,
            choice,
            variables,
            continues_final: self.continues_final.unwrap_or(false),
        })
    }
}

fn read_single(prompt: Unknown<'_>) -> Read<Prompt> {
    if prompt.get_type()? == ValueType::String {
        return Ok(Prompt::Text(String::from_unknown(prompt)?));
    }
    let mut fields = Fields::of("prompt", CODE, prompt)?;
    let (tokens, template) = (fields.value("tokens")?, fields.string("template")?);
    let variables = fields.value("variables")?;
    fields.finish()?;
    match (tokens, template) {
        (Some(tokens), None) if variables.is_none() => Ok(Prompt::Tokens(read_tokens("prompt.tokens", tokens)?)),
        (None, Some(source)) => {
            let variables = variables.map(|variables| read_variables("prompt.variables", variables)).transpose()?;
            Ok(Prompt::Template(PromptTemplate { source, variables: variables.unwrap_or_default() }))
        }
        _ => Err(wrong(CODE, "prompt", "must be a string, { tokens } or { template, variables }").into()),
    }
}

/// Reads a list of token ids.
pub(super) fn read_tokens(path: &str, value: Unknown<'_>) -> Read<Vec<u32>> {
    if value.is_typedarray()? {
        let not_u32 = |_| wrong(CODE, path, "must be an array of numbers or a Uint32Array");
        return Ok(Uint32Array::from_unknown(value).map_err(not_u32)?.to_vec());
    }
    let mut tokens = Vec::new();
    for (index, item) in elements(CODE, path, value)?.enumerate() {
        let item = item?;
        let number = if item.get_type()? == ValueType::Number { f64::from_unknown(item)? } else { f64::NAN };
        let token = whole(number).and_then(|number| u32::try_from(number).ok());
        let not_an_id = || wrong(CODE, &format!("{path}[{index}]"), "must be a token id: a whole number from 0");
        tokens.push(token.ok_or_else(not_an_id)?);
    }
    Ok(tokens)
}

fn read_variables(path: &str, value: Unknown<'_>) -> Read<Map<String, Value>> {
    let mut reader = JsonReader::new(CODE);
    let Value::Object(variables) = reader.object(path, value)? else { return Ok(Map::new()) };
    match variables.len() {
        0..=MAX_VARIABLES => Ok(variables),
        more => {
            let message = format!("has {more} variables; at most {MAX_VARIABLES} are allowed");
            Err(wrong(CODE, path, &message).with_limit(MAX_VARIABLES as f64, more as f64).into())
        }
    }
}

/// Descriptions of functions. Whatever else they say goes to the template as it is.
fn read_tools(value: Unknown<'_>) -> Read<Vec<Value>> {
    let mut reader = JsonReader::new(CODE);
    let mut tools = Vec::new();
    for (index, item) in elements(CODE, "tools", value)?.enumerate() {
        let path = format!("tools[{index}]");
        let tool = reader.object(&path, item?)?;
        if tool["type"] != "function" {
            return Err(wrong(CODE, &format!("{path}.type"), "must be 'function'").into());
        }
        if !tool["function"]["name"].is_string() {
            return Err(wrong(CODE, &format!("{path}.function.name"), "must be a string").into());
        }
        tools.push(tool);
    }
    Ok(tools)
}

/// The tools that the model is shown, and which of them it calls. What it is not shown it cannot call.
fn read_choice(choice: Unknown<'_>, tools: Option<Vec<Value>>) -> Read<(Option<Vec<Value>>, ToolChoice)> {
    const NAME: &str = "toolChoice";
    let Some(tools) = tools else { return Err(wrong(CODE, NAME, "goes with `tools`").into()) };
    let choice = if choice.get_type()? == ValueType::String {
        match String::from_unknown(choice)?.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => return Ok((None, ToolChoice::Auto)),
            "required" if tools.is_empty() => return Err(wrong(CODE, NAME, "has no `tools` to choose from").into()),
            "required" => ToolChoice::Required,
            _ => return Err(wrong(CODE, NAME, "must be 'auto', 'none', 'required' or { name }").into()),
        }
    } else {
        let mut fields = Fields::of(NAME, CODE, choice)?;
        let name = fields.string("name")?.ok_or_else(|| fields.wrong("name", "is missing"))?;
        if !tools.iter().any(|tool| tool["function"]["name"] == *name) {
            return Err(fields.wrong("name", "is none of the `tools`"));
        }
        fields.finish()?;
        ToolChoice::Named(name)
    };
    Ok((Some(tools), choice))
}

fn read_messages(value: Unknown<'_>) -> Read<Vec<Message>> {
    let items = elements(CODE, "messages", value)?;
    if items.len() == 0 {
        return Err(wrong(CODE, "messages", "must have at least one message").into());
    }
    let mut reader = JsonReader::new(CODE);
    items.enumerate().map(|(index, item)| read_message(&mut reader, &format!("messages[{index}]"), item?)).collect()
}

fn read_message(reader: &mut JsonReader, path: &str, value: Unknown<'_>) -> Read<Message> {
    if matches!(value.get_type()?, ValueType::Undefined | ValueType::Null) {
        return Err(wrong(CODE, path, "must be an object with `role` and `content`").into());
    }
    let mut fields = Fields::of(path, CODE, value)?;
    let role = fields.string("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
    let content = fields.value("content")?;
    let reasoning = fields.string("reasoning")?;
    let name = fields.string("name")?;
    let calls = fields.value("toolCalls")?;
    let tool_call_id = fields.string("toolCallId")?;
    let calls = calls.map(|calls| read_calls(reader, &fields.path("toolCalls"), calls)).transpose()?;
    let content = content.map(|content| read_content(&fields.path("content"), content)).transpose()?;
    let tool_calls = calls.unwrap_or_default();
    // Who calls a function need not say anything.
    if content.is_none() && tool_calls.is_empty() {
        return Err(fields.wrong("content", "is missing"));
    }
    fields.finish()?;
    Ok(Message { role, content, reasoning, name, tool_calls, tool_call_id })
}

/// A text, or parts of a text.
fn read_content(path: &str, value: Unknown<'_>) -> Read<Content> {
    if !is_array(&value)? {
        return string(CODE, path, value).map(Content::Text);
    }
    let parts = elements(CODE, path, value)?.enumerate();
    parts.map(|(index, part)| read_part(&format!("{path}[{index}]"), part?)).collect::<Read<_>>().map(Content::Parts)
}

fn read_part(path: &str, value: Unknown<'_>) -> Read<String> {
    let mut fields = Fields::of(path, CODE, value)?;
    let kind = fields.string("type")?;
    if kind.as_deref() != Some("text") {
        return Err(fields.wrong("type", "must be 'text': only text parts are supported"));
    }
    let text = fields.string("text")?.ok_or_else(|| fields.wrong("text", "is missing"))?;
    fields.finish()?;
    Ok(text)
}

fn read_calls(reader: &mut JsonReader, path: &str, value: Unknown<'_>) -> Read<Vec<Value>> {
    let calls = elements(CODE, path, value)?.enumerate();
    calls.map(|(index, call)| read_call(reader, &format!("{path}[{index}]"), call?)).collect()
}

/// A call of a function, as templates know it.
fn read_call(reader: &mut JsonReader, path: &str, value: Unknown<'_>) -> Read<Value> {
    let mut fields = Fields::of(path, CODE, value)?;
    let id = fields.string("id")?;
    if fields.string("type")?.is_some_and(|kind| kind != "function") {
        return Err(fields.wrong("type", "must be 'function'"));
    }
    let function = fields.value("function")?.ok_or_else(|| fields.wrong("function", "is missing"))?;
    let path = fields.path("function");
    fields.finish()?;
    let mut fields = Fields::of(&path, CODE, function)?;
    let name = fields.string("name")?.ok_or_else(|| fields.wrong("name", "is missing"))?;
    let arguments = fields.value("arguments")?.ok_or_else(|| fields.wrong("arguments", "is missing"))?;
    let arguments = read_arguments(reader, &fields.path("arguments"), arguments)?;
    fields.finish()?;
    let mut call = Map::new();
    call.extend(id.map(|id| ("id".to_owned(), Value::String(id))));
    call.insert("type".to_owned(), "function".into());
    call.insert("function".to_owned(), json!({ "name": name, "arguments": arguments }));
    Ok(Value::Object(call))
}

/// An object, or the JSON text of one: templates print it themselves.
fn read_arguments(reader: &mut JsonReader, path: &str, value: Unknown<'_>) -> Read<Value> {
    if value.get_type()? != ValueType::String {
        return reader.object(path, value);
    }
    json::parse_object(&String::from_unknown(value)?)
        .ok_or_else(|| wrong(CODE, path, "must be an object, or the JSON text of an object").into())
}
