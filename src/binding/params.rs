//! From the params and options of `generate` to a [`Draft`]. Types and ranges are checked here; what depends on the model
//! is checked on the text thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use napi::bindgen_prelude::{FromNapiValue, Uint32Array, Unknown};
use napi::{JsValue, ValueType};

use crate::engine::{Draft, Prompt, single};
use crate::error::{Code, Error};
use crate::request::{Priority, Sharing};
use crate::text::{Message, validate_stop_sequences};

use super::fields::{Fields, MAX_SAFE_INTEGER, Read, elements, entries, is_array, string, whole, wrong};

const CODE: Code = Code::InvalidParams;

/// A logit changed by so much decides by itself.
const MAX_BIAS: f64 = 100.0;
/// Far more than anybody needs; each costs a little in every step.
const MAX_BIASES: usize = 4096;

/// The longest tenant, salt or id.
const MAX_NAME_BYTES: usize = 256;

/// Reads the two objects a caller gave.
pub(super) fn read(params: Unknown<'_>, options: Unknown<'_>) -> Read<Draft> {
    let Options { deadline, priority, tenant, id } = read_options(options)?;
    let mut fields = Fields::of("", CODE, params)?;
    let prompt = read_prompt(&mut fields)?;
    let max_tokens = fields.integer("maxTokens", 1..=MAX_SAFE_INTEGER)?;
    let temperature = fields.number("temperature", 0.0..=2.0)?;
    let top_p = fields.number("topP", 0.0..=1.0)?;
    let top_k = fields.integer("topK", 0..=u64::from(u32::MAX))?;
    let min_p = fields.number("minP", 0.0..=1.0)?;
    let repetition_penalty = fields.number("repetitionPenalty", 0.01..=10.0)?;
    let repetition_context = fields.integer("repetitionContextTokens", 1..=u64::from(u32::MAX))?;
    let presence_penalty = fields.number("presencePenalty", -2.0..=2.0)?;
    let frequency_penalty = fields.number("frequencyPenalty", -2.0..=2.0)?;
    let logit_bias = fields.value("logitBias")?.map_or(Ok(Vec::new()), read_logit_bias)?;
    let stop_tokens = fields.value("stopTokenIds")?.map_or(Ok(Vec::new()), |ids| read_tokens("stopTokenIds", ids))?;
    let ignore_eos = fields.switch("ignoreEos")?.unwrap_or(false);
    let min_tokens = fields.integer("minTokens", 0..=MAX_SAFE_INTEGER)?.unwrap_or(0);
    let seed = fields.integer("seed", 0..=MAX_SAFE_INTEGER)?;
    let stop_sequences = fields.strings("stopSequences")?.unwrap_or_default();
    let sharing = read_sharing(&mut fields)?;
    let cache_salt = read_name(&mut fields, "cacheSalt")?.map(Arc::from);
    fields.finish()?;
    validate_stop_sequences(&stop_sequences)?;
    if top_p == Some(0.0) {
        return Err(wrong(CODE, "topP", "must be greater than 0").with_limit(0.0, 0.0).into());
    }
    Ok(Draft {
        prompt,
        max_tokens: max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
        temperature: temperature.map(single),
        top_p: top_p.map(single),
        top_k: top_k.map(small),
        min_p: min_p.map(single),
        repetition_penalty: repetition_penalty.map(single),
        repetition_context: repetition_context.map(small),
        presence_penalty: presence_penalty.map(single),
        frequency_penalty: frequency_penalty.map(single),
        logit_bias,
        stop_tokens,
        ignore_eos,
        min_tokens: usize::try_from(min_tokens).unwrap_or(usize::MAX),
        seed,
        stop_sequences,
        deadline,
        priority,
        tenant,
        sharing,
        cache_salt,
        id,
    })
}

/// Token ids as keys, what is added to their logits as values.
fn read_logit_bias(value: Unknown<'_>) -> Read<Vec<(u32, f32)>> {
    let mut biases = Vec::new();
    for (key, value) in entries("logitBias", CODE, value)? {
        let path = format!("logitBias.{key}");
        // A canonical number only, so that no token can be named twice.
        let token = key.parse::<u32>().ok().filter(|token| token.to_string() == key);
        let token = token.ok_or_else(|| wrong(CODE, &path, "must be named by a token id: a whole number from 0"))?;
        let Some(value) = value else { continue };
        let bias = if value.get_type()? == ValueType::Number { f64::from_unknown(value)? } else { f64::NAN };
        if !(-MAX_BIAS..=MAX_BIAS).contains(&bias) {
            return Err(wrong(CODE, &path, "must be a number from -100 to 100").into());
        }
        biases.push((token, single(bias)));
    }
    match biases.len() {
        0..=MAX_BIASES => Ok(biases),
        more => Err(wrong(CODE, "logitBias", "must name at most 4096 tokens")
            .with_limit(MAX_BIASES as f64, more as f64)
            .into()),
    }
}

/// A number whose range was checked to fit.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How a generation is run.
struct Options {
    deadline: Option<Instant>,
    priority: Priority,
    tenant: Option<Arc<str>>,
    id: Option<String>,
}

fn read_options(options: Unknown<'_>) -> Read<Options> {
    let mut fields = Fields::of("options", CODE, options)?;
    let timeout = fields.number("timeoutMs", 0.0..=MAX_SAFE_INTEGER as f64)?;
    let priority = match fields.string("priority")?.as_deref() {
        None | Some("default") => Priority::Default,
        Some("urgent") => Priority::Urgent,
        Some("background") => Priority::Background,
        Some(_) => return Err(fields.wrong("priority", "must be 'urgent', 'default' or 'background'")),
    };
    let tenant = read_name(&mut fields, "tenant")?.map(Arc::from);
    let id = read_name(&mut fields, "id")?;
    fields.finish()?;
    // A deadline too far away to be represented never comes.
    let deadline = timeout.and_then(|ms| Instant::now().checked_add(Duration::from_secs_f64(ms / 1e3)));
    Ok(Options { deadline, priority, tenant, id })
}

fn read_sharing(fields: &mut Fields<'_>) -> Read<Sharing> {
    match fields.string("cache")?.as_deref() {
        None | Some("auto") => Ok(Sharing::Auto),
        Some("off") => Ok(Sharing::Off),
        Some("force") => Ok(Sharing::Force),
        Some(_) => Err(fields.wrong("cache", "must be 'auto', 'off' or 'force'")),
    }
}

/// A short text that tells things apart. An empty one is what a caller has who forgot to fill it in, and text that is not
/// Unicode becomes the same replacement characters whatever it was: either would bring together what is to be apart.
fn read_name(fields: &mut Fields<'_>, name: &'static str) -> Read<Option<String>> {
    let Some(text) = fields.string(name)? else { return Ok(None) };
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(fields.wrong(name, &format!("must be from 1 to {MAX_NAME_BYTES} bytes long, not {}", text.len())));
    }
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(fields.wrong(name, "must be well-formed Unicode, without replacement characters"));
    }
    Ok(Some(text))
}

fn read_prompt(fields: &mut Fields<'_>) -> Read<Prompt> {
    match (fields.value("prompt")?, fields.value("messages")?) {
        (Some(prompt), None) => read_single_prompt(prompt),
        (None, Some(messages)) => Ok(Prompt::Messages(read_messages("messages", messages)?)),
        (Some(_), Some(_)) => Err(one_of("both are there")),
        (None, None) => Err(one_of("neither is there")),
    }
}

fn one_of(found: &str) -> super::fields::Refusal {
    Error::new(CODE, format!("exactly one of `prompt` and `messages` is needed, but {found}"))
        .with_param("prompt")
        .into()
}

fn read_single_prompt(prompt: Unknown<'_>) -> Read<Prompt> {
    if prompt.get_type()? == ValueType::String {
        return Ok(Prompt::Text(String::from_unknown(prompt)?));
    }
    let mut fields = Fields::of("prompt", CODE, prompt)?;
    let tokens = fields.value("tokens")?;
    fields.finish()?;
    match tokens {
        Some(tokens) => Ok(Prompt::Tokens(read_tokens("prompt.tokens", tokens)?)),
        None => Err(wrong(CODE, "prompt", "must be a string or { tokens }").into()),
    }
}

fn read_tokens(path: &str, value: Unknown<'_>) -> Read<Vec<u32>> {
    if value.is_typedarray()? {
        let not_u32 = |_| wrong(CODE, path, "must be an array of numbers or a Uint32Array");
        return Ok(Uint32Array::from_unknown(value).map_err(not_u32)?.to_vec());
    }
    let mut tokens = Vec::new();
    for (index, item) in elements(CODE, path, value)?.into_iter().enumerate() {
        let number = if item.get_type()? == ValueType::Number { f64::from_unknown(item)? } else { f64::NAN };
        let token = whole(number).and_then(|number| u32::try_from(number).ok());
        let not_an_id = || wrong(CODE, &format!("{path}[{index}]"), "must be a token id: a whole number from 0");
        tokens.push(token.ok_or_else(not_an_id)?);
    }
    Ok(tokens)
}

/// Reads a conversation.
pub(super) fn read_messages(path: &str, value: Unknown<'_>) -> Read<Vec<Message>> {
    let items = elements(CODE, path, value)?;
    if items.is_empty() {
        return Err(wrong(CODE, path, "must have at least one message").into());
    }
    let read = |(index, item)| read_message(&format!("{path}[{index}]"), item);
    items.into_iter().enumerate().map(read).collect()
}

fn read_message(path: &str, value: Unknown<'_>) -> Read<Message> {
    if matches!(value.get_type()?, ValueType::Undefined | ValueType::Null) {
        return Err(wrong(CODE, path, "must be an object with `role` and `content`").into());
    }
    let mut fields = Fields::of(path, CODE, value)?;
    let role = fields.string("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
    let content = fields.value("content")?.ok_or_else(|| fields.wrong("content", "is missing"))?;
    let content = read_content(&fields.path("content"), content)?;
    let name = fields.string("name")?;
    fields.finish()?;
    Ok(Message { role, content, name })
}

/// A text, or parts of a text that are joined.
fn read_content(path: &str, value: Unknown<'_>) -> Read<String> {
    if !is_array(&value)? {
        return string(CODE, path, value);
    }
    let parts = elements(CODE, path, value)?.into_iter().enumerate();
    parts.map(|(index, part)| read_part(&format!("{path}[{index}]"), part)).collect()
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
