//! From the params of a prompt to a [`Prompt`]: text, tokens, a template or a conversation.

use napi::bindgen_prelude::{FromNapiValue, Uint32Array, Unknown};
use napi::{JsValue, ValueType};
use serde_json::{Map, Value, json};

use crate::engine::{MAX_PROMPT_BYTES, Prompt, PromptLimits};
use crate::error::{Code, Error};
use crate::text::{Chat, Content, Message, PromptTemplate, SpecialTokens, ToolChoice};

use super::fields::{Fields, MAX_ELEMENTS, elements, is_array, kind, num_elements, num_units, string, whole, wrong};
use super::json::{self, JsonReader};
use super::names::Place;
use super::refusal::{Read, Refusal};

const CODE: Code = Code::InvalidParams;

/// The most variables of a template.
const MAX_VARIABLES: usize = 64;
/// The most messages, parts and tool calls of one chat, together.
const MAX_ITEMS: usize = 1 << 14;
/// The forms of a prompt, for error messages.
const PROMPTS: &str = "a string, { tokens } or { template, variables }";
/// Template variables that other params set.
const RESERVED: [&str; 3] = ["messages", "tools", "add_generation_prompt"];

/// Reads `prompt` or `messages`, and the params that belong to it.
pub(super) fn read(fields: &mut Fields<'_>, limits: PromptLimits) -> Read<Prompt> {
    let (prompt, messages) = (fields.value("prompt")?, fields.value("messages")?);
    let chat = ChatFields::read(fields)?;
    match (prompt, messages) {
        (Some(prompt), None) => {
            chat.refuse()?;
            read_single(prompt, limits)
        }
        (None, Some(messages)) => chat.with(messages).map(Prompt::Chat),
        (Some(_), Some(_)) => Err(one_of("both are there")),
        (None, None) => Err(one_of("neither is there")),
    }
}

/// Reads the params of `applyChatTemplate`.
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

/// The params that belong to `messages`.
struct ChatFields<'env> {
    tools: Option<Unknown<'env>>,
    choice: Option<Unknown<'env>>,
    are_parallel: Option<bool>,
    variables: Option<Unknown<'env>>,
    continues_final: Option<bool>,
    special_tokens: Option<SpecialTokens>,
}

impl<'env> ChatFields<'env> {
    fn read(fields: &mut Fields<'env>) -> Read<Self> {
        Ok(Self {
            tools: fields.value("tools")?,
            choice: fields.value("toolChoice")?,
            are_parallel: fields.switch("parallelToolCalls")?,
            variables: fields.value("templateVariables")?,
            continues_final: fields.switch("continueFinalMessage")?,
            special_tokens: read_special_tokens(fields)?,
        })
    }

    /// Refuses them: without `messages` no chat template is rendered.
    fn refuse(self) -> Read<()> {
        let given = [
            ("tools", self.tools.is_some()),
            ("toolChoice", self.choice.is_some()),
            ("parallelToolCalls", self.are_parallel.is_some()),
            ("templateVariables", self.variables.is_some()),
            ("continueFinalMessage", self.continues_final.is_some()),
            ("specialTokens", self.special_tokens.is_some()),
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
        if self.are_parallel.is_some() && tools.is_none() {
            return Err(wrong(CODE, "parallelToolCalls", "goes with `tools`").into());
        }
        let (tools, choice) = match self.choice {
            Some(choice) => read_choice(choice, tools)?,
            None => (tools, ToolChoice::Auto),
        };
        Ok(Chat {
            messages: read_messages(messages)?,
            tools,
            choice,
            is_single_call: self.are_parallel == Some(false),
            variables,
            continues_final: self.continues_final.unwrap_or(false),
            is_beginning: false,
            special_tokens: self.special_tokens.unwrap_or_default(),
        })
    }
}

fn read_single(prompt: Unknown<'_>, limits: PromptLimits) -> Read<Prompt> {
    if prompt.get_type()? == ValueType::String {
        // A text that cannot fit is not copied.
        limits.check_bytes(num_units(CODE, "prompt", &prompt, usize::MAX)?)?;
        return Ok(Prompt::Text(String::from_unknown(prompt)?));
    }
    let kind = kind(&prompt)?;
    if kind != "an object" {
        return Err(wrong(CODE, "prompt", &format!("must be {PROMPTS}, not {kind}")).into());
    }
    let mut fields = Fields::of("prompt", CODE, prompt)?;
    let (tokens, template) = (fields.value("tokens")?, fields.string("template")?);
    let variables = fields.value("variables")?;
    let special_tokens = read_special_tokens(&mut fields)?;
    fields.finish()?;
    match (tokens, template) {
        (Some(tokens), None) if variables.is_none() && special_tokens.is_none() => {
            let may_be = |length| limits.check_tokens(length, None).map_err(Refusal::from);
            Ok(Prompt::Tokens(read_tokens("prompt.tokens", tokens, may_be)?))
        }
        (None, Some(source)) => {
            let variables = variables.map(|variables| read_variables("prompt.variables", variables)).transpose()?;
            let (variables, special_tokens) = (variables.unwrap_or_default(), special_tokens.unwrap_or_default());
            Ok(Prompt::Template(PromptTemplate { source, variables, special_tokens }))
        }
        _ => Err(wrong(CODE, "prompt", &format!("must be {PROMPTS}")).into()),
    }
}

/// Reads `specialTokens`: which spellings of special tokens become those tokens.
fn read_special_tokens(fields: &mut Fields<'_>) -> Read<Option<SpecialTokens>> {
    match fields.string("specialTokens")?.as_deref() {
        None => Ok(None),
        Some("template") => Ok(Some(SpecialTokens::Template)),
        Some("all") => Ok(Some(SpecialTokens::All)),
        Some(_) => Err(fields.wrong("specialTokens", "must be 'template' or 'all'")),
    }
}

/// Reads a list of token ids; `may_be` checks its length first.
pub(super) fn read_tokens(path: &str, value: Unknown<'_>, may_be: impl FnOnce(usize) -> Read<()>) -> Read<Vec<u32>> {
    if value.is_typedarray()? {
        let not_u32 = |_| wrong(CODE, path, "must be an array of numbers or a Uint32Array");
        let tokens = Uint32Array::from_unknown(value).map_err(not_u32)?;
        may_be(tokens.len())?;
        return Ok(tokens.to_vec());
    }
    let length = num_elements(CODE, path, &value)?;
    may_be(length)?;
    let mut tokens = Vec::new();
    for (index, item) in elements(CODE, path, value, length)?.enumerate() {
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

/// Reads descriptions of functions. Other properties go to the template unchanged.
fn read_tools(value: Unknown<'_>) -> Read<Vec<Value>> {
    let mut reader = JsonReader::new(CODE);
    let mut tools = Vec::new();
    for (index, item) in elements(CODE, "tools", value, MAX_ELEMENTS)?.enumerate() {
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

/// Reads `toolChoice`: the tools that the template shows to the model, and which of them the answer calls. `'none'` shows
/// no tools.
fn read_choice(choice: Unknown<'_>, tools: Option<Vec<Value>>) -> Read<(Option<Vec<Value>>, ToolChoice)> {
    const NAME: &str = "toolChoice";
    let Some(tools) = tools else { return Err(wrong(CODE, NAME, "goes with `tools`").into()) };
    let choice = if choice.get_type()? == ValueType::String {
        match string(CODE, NAME, choice)?.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => return Ok((None, ToolChoice::Auto)),
            "required" if tools.is_empty() => return Err(wrong(CODE, NAME, "has no `tools` to choose from").into()),
            "required" => ToolChoice::Required,
            _ => {
                return Err(wrong(
                    CODE,
                    NAME,
                    "must be 'auto', 'none', 'required', { name } or { type: 'function', function: { name } }",
                )
                .into());
            }
        }
    } else {
        ToolChoice::Named(read_chosen(choice, &tools)?)
    };
    Ok((Some(tools), choice))
}

/// Reads `{ name }` or `{ type: 'function', function: { name } }`: the name of one of the tools.
fn read_chosen(choice: Unknown<'_>, tools: &[Value]) -> Read<String> {
    let mut fields = Fields::of("toolChoice", CODE, choice)?;
    if fields.string("type")?.is_some_and(|kind| kind != "function") {
        return Err(fields.wrong("type", "must be 'function'"));
    }
    if let Some(function) = fields.value("function")? {
        fields.finish()?;
        fields = Fields::of("toolChoice.function", CODE, function)?;
    }
    let name = fields.string("name")?.ok_or_else(|| fields.wrong("name", "is missing"))?;
    if !tools.iter().any(|tool| tool["function"]["name"] == *name) {
        return Err(fields.wrong("name", "is none of the `tools`"));
    }
    fields.finish()?;
    Ok(name)
}

/// How much the messages of one chat may still have. The event loop is blocked while they are read.
struct Room {
    num_items: usize,
    num_units: usize,
}

impl Room {
    /// The elements of a list of messages, parts or tool calls.
    fn elements<'env>(
        &mut self,
        path: &str,
        value: Unknown<'env>,
    ) -> Read<impl ExactSizeIterator<Item = Read<Unknown<'env>>> + use<'env>> {
        let length = num_elements(CODE, path, &value)?;
        self.num_items = self.num_items.checked_sub(length).ok_or_else(|| {
            let message =
                format!("has {length} elements; at most {MAX_ITEMS} messages, parts and calls are allowed altogether");
            wrong(CODE, path, &message).with_limit(MAX_ITEMS as f64, length as f64)
        })?;
        elements(CODE, path, value, length)
    }

    fn text(&mut self, path: &str, value: Unknown<'_>) -> Read<String> {
        let units = num_units(CODE, path, &value, usize::MAX)?;
        self.num_units = self.num_units.checked_sub(units).ok_or_else(|| {
            let message =
                format!("has {units} characters; messages may have {MAX_PROMPT_BYTES} bytes of text altogether");
            wrong(CODE, path, &message).with_limit(MAX_PROMPT_BYTES as f64, units as f64)
        })?;
        Ok(String::from_unknown(value)?)
    }

    fn field(&mut self, fields: &mut Fields<'_>, name: &'static str) -> Read<Option<String>> {
        let value = fields.value(name)?;
        value.map(|value| self.text(&fields.path(name), value)).transpose()
    }
}

fn read_messages(value: Unknown<'_>) -> Read<Vec<Message>> {
    let mut reader =
        MessageReader { room: Room { num_items: MAX_ITEMS, num_units: MAX_PROMPT_BYTES }, json: JsonReader::new(CODE) };
    let items = reader.room.elements("messages", value)?;
    if items.len() == 0 {
        return Err(wrong(CODE, "messages", "must have at least one message").into());
    }
    items.enumerate().map(|(index, item)| reader.message(&format!("messages[{index}]"), item?)).collect()
}

/// Reads the messages of one chat, which share their limits.
struct MessageReader {
    room: Room,
    json: JsonReader,
}

impl MessageReader {
    fn message(&mut self, path: &str, value: Unknown<'_>) -> Read<Message> {
        if matches!(value.get_type()?, ValueType::Undefined | ValueType::Null) {
            return Err(wrong(CODE, path, "must be an object with `role` and `content`").into());
        }
        let mut fields = Fields::of(path, CODE, value)?.at(Place::Message);
        let role = self.room.field(&mut fields, "role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
        let content = fields.value("content")?;
        let reasoning = self.room.field(&mut fields, "reasoning")?;
        let name = self.room.field(&mut fields, "name")?;
        let calls = fields.value("toolCalls")?;
        let tool_call_id = self.room.field(&mut fields, "toolCallId")?;
        let calls = calls.map(|calls| self.calls(&fields.path("toolCalls"), calls)).transpose()?;
        let content = content.map(|content| self.content(&fields.path("content"), content)).transpose()?;
        let tool_calls = calls.unwrap_or_default();
        // A message with tool calls may have no content.
        if content.is_none() && tool_calls.is_empty() {
            return Err(fields.wrong("content", "is missing"));
        }
        fields.finish()?;
        Ok(Message { role, content, reasoning, name, tool_calls, tool_call_id })
    }

    /// Reads a text, or a list of text parts.
    fn content(&mut self, path: &str, value: Unknown<'_>) -> Read<Content> {
        if !is_array(&value)? {
            return self.room.text(path, value).map(Content::Text);
        }
        let parts = self.room.elements(path, value)?.enumerate();
        parts
            .map(|(index, part)| self.part(&format!("{path}[{index}]"), part?))
            .collect::<Read<_>>()
            .map(Content::Parts)
    }

    fn part(&mut self, path: &str, value: Unknown<'_>) -> Read<String> {
        let mut fields = Fields::of(path, CODE, value)?;
        let kind = fields.string("type")?;
        if kind.as_deref() != Some("text") {
            return Err(fields.wrong("type", "must be 'text': only text parts are supported"));
        }
        let text = self.room.field(&mut fields, "text")?.ok_or_else(|| fields.wrong("text", "is missing"))?;
        fields.finish()?;
        Ok(text)
    }

    fn calls(&mut self, path: &str, value: Unknown<'_>) -> Read<Vec<Value>> {
        let calls = self.room.elements(path, value)?.enumerate();
        calls.map(|(index, call)| self.call(&format!("{path}[{index}]"), call?)).collect()
    }

    /// Reads a tool call into the form that chat templates take.
    fn call(&mut self, path: &str, value: Unknown<'_>) -> Read<Value> {
        let mut fields = Fields::of(path, CODE, value)?;
        let id = self.room.field(&mut fields, "id")?;
        if fields.string("type")?.is_some_and(|kind| kind != "function") {
            return Err(fields.wrong("type", "must be 'function'"));
        }
        let function = fields.value("function")?.ok_or_else(|| fields.wrong("function", "is missing"))?;
        let path = fields.path("function");
        fields.finish()?;
        let mut fields = Fields::of(&path, CODE, function)?;
        let name = self.room.field(&mut fields, "name")?.ok_or_else(|| fields.wrong("name", "is missing"))?;
        let arguments = fields.value("arguments")?.ok_or_else(|| fields.wrong("arguments", "is missing"))?;
        let arguments = read_arguments(&mut self.json, &fields.path("arguments"), arguments)?;
        fields.finish()?;
        let mut call = Map::new();
        call.extend(id.map(|id| ("id".to_owned(), Value::String(id))));
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), json!({ "name": name, "arguments": arguments }));
        Ok(Value::Object(call))
    }
}

/// Reads an object, or parses its JSON text. Chat templates print the object themselves.
fn read_arguments(reader: &mut JsonReader, path: &str, value: Unknown<'_>) -> Read<Value> {
    if value.get_type()? != ValueType::String {
        return reader.object(path, value);
    }
    num_units(CODE, path, &value, json::MAX_BYTES)?;
    json::parse_object(&String::from_unknown(value)?)
        .ok_or_else(|| wrong(CODE, path, "must be an object, or the JSON text of an object").into())
}
