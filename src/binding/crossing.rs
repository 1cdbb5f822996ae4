//! What crosses to JavaScript: plain objects for what happens once a request, packed arrays for what happens every step.
//! The shapes are those of `lib/native.ts`.

use std::error::Error as _;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Float32ArraySlice, JsObjectValue, Object, Uint32ArraySlice};
use napi_derive::napi;

use crate::answers::{AnswerLog, Delivery, Logprobs, ReaderId};
use crate::engine::ModelInfo;
use crate::error::Error;
use crate::request::{Progress, RequestId, Summary};

/// Causes deeper than this are left out.
const MAX_CAUSES: usize = 8;

/// An error as data.
#[napi(object)]
pub struct NativeError {
    /// The stable code.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// The option or field at fault.
    pub param: Option<String>,
    /// The limit that was broken.
    pub limit: Option<f64>,
    /// What was asked for.
    pub requested: Option<f64>,
    /// When trying again has a chance.
    pub retry_after_ms: Option<f64>,
    /// Messages of the errors underneath, outermost first.
    pub causes: Option<Vec<String>>,
}

impl From<&Error> for NativeError {
    fn from(error: &Error) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes: Vec<_> = causes.take(MAX_CAUSES).map(ToString::to_string).collect();
        Self {
            code: error.code().as_str().to_owned(),
            message: error.message().to_owned(),
            param: error.param().map(str::to_owned),
            limit: error.limit(),
            requested: error.requested(),
            retry_after_ms: error.retry_after().map(ms),
            causes: (!causes.is_empty()).then_some(causes),
        }
    }
}

/// Bits and group size of quantized weights.
#[napi(object)]
pub struct NativeQuantization {
    /// Bits of a weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: u32,
}

/// A loaded model.
#[napi(object)]
pub struct NativeModelInfo {
    /// Addresses the model.
    pub key: u32,
    /// Name of its folder.
    pub id: String,
    /// Its folder.
    pub path: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// Positions of a sequence.
    pub context_length: f64,
    /// Number of token ids.
    pub vocab_size: f64,
    /// Bytes of its weights.
    pub bytes: f64,
    /// Where the weights are quantized.
    pub quantization: Option<NativeQuantization>,
}

impl From<ModelInfo> for NativeModelInfo {
    fn from(info: ModelInfo) -> Self {
        let id = info.path.file_name().map_or_else(|| info.path.to_string_lossy(), |name| name.to_string_lossy());
        Self {
            key: info.key.0,
            id: id.into_owned(),
            path: info.path.to_string_lossy().into_owned(),
            family: info.family,
            context_length: info.limits.context_length as f64,
            vocab_size: info.limits.vocab_size as f64,
            bytes: info.limits.weight_bytes as f64,
            quantization: info.quantization.map(|(bits, group_size)| NativeQuantization { bits, group_size }),
        }
    }
}

/// Spans (reader, tokens, UTF-16 units) and ends of what a drain delivered.
pub(super) fn pack<'env>(
    env: &'env Env,
    deliveries: &[Delivery],
    text: &str,
) -> napi::Result<(Vec<u32>, Vec<Object<'env>>)> {
    let mut spans = Vec::with_capacity(deliveries.len() * 3);
    let mut ended = Vec::new();
    let mut offset = 0;
    for delivery in deliveries {
        let piece = &text[offset..offset + delivery.num_bytes];
        offset += delivery.num_bytes;
        if is_span(delivery) {
            spans.extend([delivery.reader.0, to_u32(delivery.num_tokens), to_u32(num_utf16(piece))]);
        }
        if let Some((end, log)) = &delivery.end {
            ended.push(pack_end(env, delivery.reader.0, end.as_ref(), log)?);
        }
    }
    Ok((spans, ended))
}

/// Quadruples of reader, tokens of its prompt that were read, all of them, and those that were there; nothing where there
/// is nothing to tell.
pub(super) fn pack_progress(deliveries: &[Delivery]) -> Option<Vec<u32>> {
    let told = deliveries.iter().filter_map(|delivery| Some((delivery.reader, delivery.progress?)));
    let quadruple = |(reader, Progress { processed, total, cached }): (ReaderId, Progress)| {
        [reader.0, to_u32(processed), to_u32(total), to_u32(cached)]
    };
    let all: Vec<u32> = told.flat_map(quadruple).collect();
    (!all.is_empty()).then_some(all)
}

/// The log-probabilities of the spans of a drain, in their order; nothing where nobody asked.
pub(super) fn pack_spans_logprobs<'env>(env: &'env Env, deliveries: &[Delivery]) -> napi::Result<Option<Object<'env>>> {
    if deliveries.iter().all(|delivery| delivery.logprobs.per_token == 0) {
        return Ok(None);
    }
    let spans = deliveries.iter().filter(|delivery| is_span(delivery));
    pack_logprobs(env, spans.map(|delivery| &delivery.logprobs)).map(Some)
}

fn pack_logprobs<'env, 'a>(env: &'env Env, spans: impl Iterator<Item = &'a Logprobs>) -> napi::Result<Object<'env>> {
    let (mut per_token, mut tokens, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for span in spans {
        per_token.push(to_u32(span.per_token));
        tokens.extend(span.values.iter().map(|it| it.token));
        values.extend(span.values.iter().map(|it| it.logprob));
    }
    let mut object = Object::new(env)?;
    object.set_named_property("perToken", Uint32ArraySlice::copy_from(env, per_token)?)?;
    object.set_named_property("tokens", Uint32ArraySlice::copy_from(env, tokens)?)?;
    object.set_named_property("values", Float32ArraySlice::copy_from(env, values)?)?;
    Ok(object)
}

/// Whether something came; else the delivery is an end alone.
fn is_span(delivery: &Delivery) -> bool {
    delivery.num_tokens > 0 || delivery.num_bytes > 0
}

fn pack_end<'env>(
    env: &'env Env,
    reader: u32,
    end: Result<&Summary, &Error>,
    log: &AnswerLog,
) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set_named_property("reader", reader)?;
    match end {
        Ok(summary) => object.set_named_property("result", pack_result(env, summary, log)?)?,
        Err(error) => object.set_named_property("error", NativeError::from(error))?,
    }
    Ok(object)
}

fn pack_result<'env>(env: &'env Env, summary: &Summary, log: &AnswerLog) -> napi::Result<Object<'env>> {
    let mut result = Object::new(env)?;
    result.set_named_property("text", log.text())?;
    result.set_named_property("tokens", Uint32ArraySlice::copy_from(env, log.tokens())?)?;
    let logprobs = log.logprobs();
    if logprobs.per_token > 0 {
        result.set_named_property("logprobs", pack_logprobs(env, std::iter::once(&logprobs))?)?;
    }
    result.set_named_property("finishReason", summary.finish_reason.as_str())?;
    result.set_named_property("served", summary.served.as_str())?;
    result.set_named_property("id", &*summary.id.0)?;
    if let Some(RequestId(origin)) = &summary.shared_from {
        result.set_named_property("sharedFrom", &**origin)?;
    }
    let numbers = [
        ("inputTokens", summary.usage.input_tokens as f64),
        ("cachedInputTokens", summary.usage.cached_input_tokens as f64),
        ("outputTokens", summary.usage.output_tokens as f64),
        ("cachedOutputTokens", summary.usage.cached_output_tokens as f64),
        ("queueMs", ms(summary.timings.queue)),
        ("prefillMs", ms(summary.timings.prefill)),
        ("ttftMs", ms(summary.timings.ttft)),
        ("decodeMs", ms(summary.timings.decode)),
        ("totalMs", ms(summary.timings.total)),
        ("seed", summary.seed as f64),
    ];
    for (name, number) in numbers {
        result.set_named_property(name, number)?;
    }
    Ok(result)
}

/// JavaScript counts text in UTF-16 units; most text is ASCII, where they are bytes.
fn num_utf16(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// A drain is bounded by credit, far below 2³².
fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
