//! Reads the params and options of `generate` into a [`Draft`]. Types and ranges are checked here; checks that depend on the
//! model run on a text thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, Unknown};

use crate::engine::{Candidates, Draft, Prompt, PromptLimits, single};
use crate::error::Code;
use crate::numbers::MAX_SAFE_INTEGER;
use crate::request::{MAX_LOGPROBS, PinId, Priority, Sharing};
use crate::text::validate_stop_sequences;

use super::fields::{Fields, entries, wrong};
use super::names::Place;
use super::prompt;
use super::refusal::Read;
use super::structured;

const CODE: Code = Code::InvalidParams;

/// The largest bias of a logit: 100 almost forces a token, -100 almost forbids it.
const MAX_BIAS: f64 = 100.0;
/// The most tokens with a bias. Each has a cost in every step.
const MAX_BIASES: usize = 4096;
/// The most stop tokens of a request.
const MAX_STOP_TOKENS: usize = 4096;

/// The most answers to one request: each is a row, and the largest batch has 64 rows.
const MAX_CHOICES: u64 = 128;

/// The most bytes of a tenant, salt or id.
const MAX_NAME_BYTES: usize = 256;

/// Reads the two arguments of `generate`; `limits` are the model's limits of prompts, `scripted` the scripted answers that
/// the request may get.
pub(super) fn read(
    params: Unknown<'_>,
    options: Unknown<'_>,
    limits: PromptLimits,
    scripted: Option<Candidates>,
) -> Read<Draft> {
    let Options { deadline, priority, tenant, id, wants_progress } = read_options(options, &["signal", "onAbort"])?;
    let draft = read_params(params, limits)?;
    Ok(Draft { deadline, priority, tenant, id, wants_progress, scripted, ..draft })
}

/// Reads the two arguments of `cachePrompt`.
pub(super) fn read_pinned(params: Unknown<'_>, options: Unknown<'_>, limits: PromptLimits, pin: PinId) -> Read<Draft> {
    let Options { deadline, priority, tenant, id, wants_progress } = read_options(options, &["signal"])?;
    let mut fields = Fields::of("", CODE, params)?.at(Place::Params);
    let mut prompt = prompt::read(&mut fields, limits)?;
    let cache_salt = read_name(&mut fields, "cacheSalt")?.map(Arc::from);
    fields.finish()?;
    if let Prompt::Chat(chat) = &mut prompt {
        chat.is_beginning = true;
    }
    let temperature = Some(0.0);
    let (max_tokens, ignore_eos, pin) = (Some(1), true, Some(pin));
    let draft = Draft { max_tokens, temperature, ignore_eos, cache_salt, pin, ..Draft::of(prompt) };
    Ok(Draft { deadline, priority, tenant, id, wants_progress, ..draft })
}

/// Reads the first argument of `generate`.
pub(super) fn read_params(params: Unknown<'_>, limits: PromptLimits) -> Read<Draft> {
    let mut fields = Fields::of("", CODE, params)?.at(Place::Params);
    let prompt = prompt::read(&mut fields, limits)?;
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
    let logprobs = fields.integer("logprobs", 0..=u64::from(MAX_LOGPROBS))?;
    let stop_tokens = fields.value("stopTokenIds")?.map_or(Ok(Vec::new()), read_stop_tokens)?;
    let ignore_eos = fields.switch("ignoreEos")?.unwrap_or(false);
    let min_tokens = fields.integer("minTokens", 0..=MAX_SAFE_INTEGER)?.unwrap_or(0);
    let seed = fields.integer("seed", 0..=MAX_SAFE_INTEGER)?;
    let num_choices = fields.integer("n", 1..=MAX_CHOICES)?.unwrap_or(1);
    let stop_sequences = fields.strings("stopSequences")?.unwrap_or_default();
    let include_stop = fields.switch("includeStop")?.unwrap_or(false);
    let structured = fields.value("structured")?.map(structured::read).transpose()?;
    let sharing = read_sharing(&mut fields)?;
    let cache_salt = read_name(&mut fields, "cacheSalt")?.map(Arc::from);
    fields.finish()?;
    validate_stop_sequences(&stop_sequences)?;
    if structured.is_some() && !stop_sequences.is_empty() {
        return Err(wrong(CODE, "stopSequences", "cannot end an answer that must be what `structured` says").into());
    }
    if top_p == Some(0.0) {
        return Err(wrong(CODE, "topP", "must be greater than 0").with_limit(0.0, 0.0).into());
    }
    Ok(Draft {
        max_tokens: max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
        temperature: temperature.map(single),
        // A value too small for single precision must not become 0.
        top_p: top_p.map(|value| single(value).max(f32::MIN_POSITIVE)),
        top_k: top_k.map(small),
        min_p: min_p.map(single),
        repetition_penalty: repetition_penalty.map(single),
        repetition_context: repetition_context.map(small),
        presence_penalty: presence_penalty.map(single),
        frequency_penalty: frequency_penalty.map(single),
        logit_bias,
        logprobs: logprobs.map(|count| u8::try_from(count).unwrap_or(MAX_LOGPROBS)),
        stop_tokens,
        ignore_eos,
        min_tokens: usize::try_from(min_tokens).unwrap_or(usize::MAX),
        seed,
        num_choices: usize::try_from(num_choices).unwrap_or(1),
        stop_sequences,
        include_stop,
        structured,
        sharing,
        cache_salt,
        ..Draft::of(prompt)
    })
}

/// Reads an object with token ids as keys and biases as values.
fn read_logit_bias(value: Unknown<'_>) -> Read<Vec<(u32, f32)>> {
    let mut biases = Vec::new();
    for (key, value) in entries("logitBias", CODE, value, MAX_BIASES)? {
        let path = format!("logitBias.{key}");
        // Only the canonical notation of a number, so that no token appears twice.
        let token = key.parse::<u32>().ok().filter(|token| token.to_string() == key);
        let token = token.ok_or_else(|| wrong(CODE, &path, "must be named by a token id: a whole number from 0"))?;
        let Some(value) = value else { continue };
        let bias = if value.get_type()? == ValueType::Number { f64::from_unknown(value)? } else { f64::NAN };
        if !(-MAX_BIAS..=MAX_BIAS).contains(&bias) {
            return Err(wrong(CODE, &path, "must be a number from -100 to 100").into());
        }
        biases.push((token, single(bias)));
    }
    Ok(biases)
}

fn read_stop_tokens(value: Unknown<'_>) -> Read<Vec<u32>> {
    prompt::read_tokens("stopTokenIds", value, |length| match length {
        0..=MAX_STOP_TOKENS => Ok(()),
        more => Err(wrong(CODE, "stopTokenIds", &format!("has {more} tokens; at most {MAX_STOP_TOKENS} are allowed"))
            .with_limit(MAX_STOP_TOKENS as f64, more as f64)
            .into()),
    })
}

/// Narrows a number whose range was checked.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The second argument of `generate`.
struct Options {
    deadline: Option<Instant>,
    priority: Priority,
    tenant: Option<Arc<str>>,
    id: Option<String>,
    wants_progress: bool,
}

/// `of_lib`: the options that lib/ has taken out.
fn read_options(options: Unknown<'_>, of_lib: &[&'static str]) -> Read<Options> {
    let mut fields = Fields::of("options", CODE, options)?.at(Place::Options).also(of_lib);
    let timeout = fields.number("timeoutMs", 0.0..=MAX_SAFE_INTEGER as f64)?;
    let priority = match fields.string("priority")?.as_deref() {
        None | Some("default") => Priority::Default,
        Some("urgent") => Priority::Urgent,
        Some("background") => Priority::Background,
        Some(_) => return Err(fields.wrong("priority", "must be 'urgent', 'default' or 'background'")),
    };
    let tenant = read_name(&mut fields, "tenant")?.map(Arc::from);
    let id = read_name(&mut fields, "id")?;
    // lib/ calls the function; the engine only needs to know that there is one.
    let wants_progress = fields.function("onProgress")?.is_some();
    fields.finish()?;
    // A deadline that `Instant` cannot represent never passes.
    let deadline = timeout.and_then(|ms| Instant::now().checked_add(Duration::from_secs_f64(ms / 1e3)));
    Ok(Options { deadline, priority, tenant, id, wants_progress })
}

fn read_sharing(fields: &mut Fields<'_>) -> Read<Sharing> {
    match fields.string("cache")?.as_deref() {
        None | Some("auto") => Ok(Sharing::Auto),
        Some("off") => Ok(Sharing::Off),
        Some("force") => Ok(Sharing::Force),
        Some(_) => Err(fields.wrong("cache", "must be 'auto', 'off' or 'force'")),
    }
}

/// Reads a tenant, salt or id. An empty text (often a variable that was not filled in) and malformed Unicode (which becomes
/// replacement characters) are refused: both would give different callers the same name.
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
