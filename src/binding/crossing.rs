//! Values for JavaScript: plain objects for data of a whole request, packed arrays for data of every step.
//! `lib/native.ts` declares their types.

use std::error::Error as _;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{JsObjectValue, Object, Uint32ArraySlice};
use napi_derive::napi;

use crate::answers::{AnswerLog, Delivery, ReaderId};
use crate::engine::ParsedDelivery;
use crate::error::{Code, Error};
use crate::request::{Progress, RequestId, Summary, Usage};
use crate::text::{ParsedOutput, ParsedPart, ToolCall, ToolCallDelta};

use super::counts::{num_utf16, to_u32};
use super::logprobs::{self, LogprobsPiece};

/// The most causes of an error; deeper ones are left out.
const MAX_CAUSES: usize = 8;

/// An error as data.
#[napi(object)]
pub struct NativeError {
    /// The stable error code.
    pub code: String,
    /// The message, without the code.
    pub message: String,
    /// The wrong option or field.
    pub param: Option<String>,
    /// The limit that was broken.
    pub limit: Option<f64>,
    /// The requested value.
    pub requested: Option<f64>,
    /// Milliseconds after which a retry can succeed.
    pub retry_after_ms: Option<f64>,
    /// Messages of its causes, outermost first.
    pub causes: Option<Vec<String>>,
    /// What the request had used.
    pub usage: Option<NativeUsage>,
}

/// Token counts of a request.
#[napi(object)]
#[allow(clippy::struct_field_names, reason = "JavaScript has the same names")]
pub struct NativeUsage {
    /// Tokens of the prompt.
    pub input_tokens: f64,
    /// Tokens of the prompt that were not computed for the request.
    pub cached_input_tokens: f64,
    /// Tokens of the answer.
    pub output_tokens: f64,
    /// Tokens of the answer that were generated for another request.
    pub cached_output_tokens: f64,
    /// Tokens of reasoning.
    pub reasoning_tokens: f64,
}

impl From<Usage> for NativeUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens as f64,
            cached_input_tokens: usage.cached_input_tokens as f64,
            output_tokens: usage.output_tokens as f64,
            cached_output_tokens: usage.cached_output_tokens as f64,
            reasoning_tokens: usage.reasoning_tokens as f64,
        }
    }
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
            usage: None,
        }
    }
}

/// The deliveries of a drain.
pub(super) struct Packed<'env> {
    /// Triples: reader, number of tokens, number of UTF-16 code units.
    pub(super) spans: Vec<u32>,
    /// Reasoning and tool calls, for the spans that have any.
    pub(super) deltas: Vec<NativeParsedDelta>,
    pub(super) ended: Vec<Object<'env>>,
}

/// The reasoning and tool calls of a span.
#[napi(object)]
pub struct NativeParsedDelta {
    /// Index of the span.
    pub span: u32,
    /// New reasoning.
    pub reasoning: String,
    /// Parts of tool calls.
    pub calls: Vec<NativeCallDelta>,
}

/// A part of a tool call.
#[napi(object)]
pub struct NativeCallDelta {
    /// Index among the calls of the answer.
    pub index: u32,
    /// Set in the first part.
    pub id: Option<String>,
    /// Set in the first part.
    pub name: Option<String>,
    /// A part of a JSON object.
    pub arguments: String,
    /// The call does not count: discard its earlier parts.
    pub is_withdrawn: bool,
    /// The call is complete.
    pub is_complete: bool,
}

/// A complete tool call.
#[napi(object)]
pub struct NativeCall {
    /// The message with its result refers to this id.
    pub id: String,
    /// The name of a tool.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
    /// UTF-16 code units of the answer's text before it.
    pub text_before: u32,
}

impl NativeParsedDelta {
    fn new(span: usize, ParsedPart { text: _, reasoning, calls }: &ParsedPart) -> Self {
        let calls = calls.iter().cloned().map(NativeCallDelta::from).collect();
        Self { span: to_u32(span), reasoning: reasoning.clone(), calls }
    }
}

impl From<ToolCallDelta> for NativeCallDelta {
    fn from(ToolCallDelta { index, named, arguments, is_withdrawn, is_complete }: ToolCallDelta) -> Self {
        let (id, name) = named.unzip();
        Self { index: to_u32(index), id, name, arguments, is_withdrawn, is_complete }
    }
}

impl NativeCall {
    /// A call of an answer with this text.
    fn new(ToolCall { id, name, arguments, text_before }: &ToolCall, text: &str) -> Self {
        let text_before = to_u32(num_utf16(&text[..*text_before]));
        Self { id: id.clone(), name: name.clone(), arguments: arguments.clone(), text_before }
    }
}

/// Packs the deliveries of a drain; `text` is the text of all of them.
pub(super) fn pack<'env>(env: &'env Env, deliveries: &[ParsedDelivery], text: &str) -> napi::Result<Packed<'env>> {
    let mut packed = Packed { spans: Vec::with_capacity(deliveries.len() * 3), deltas: Vec::new(), ended: Vec::new() };
    let mut offset = 0;
    for parsed_delivery in deliveries {
        let ParsedDelivery { delivery, part, .. } = parsed_delivery;
        let piece = &text[offset..offset + delivery.num_bytes];
        offset += delivery.num_bytes;
        if !part.is_plain() {
            packed.deltas.push(NativeParsedDelta::new(packed.spans.len() / 3, part));
        }
        if is_span(parsed_delivery) {
            packed.spans.extend([delivery.reader.0, to_u32(delivery.num_tokens), to_u32(num_utf16(piece))]);
        }
        if delivery.end.is_some() {
            packed.ended.push(pack_end(env, parsed_delivery, &packed.spans)?);
        }
    }
    Ok(packed)
}

/// Packs the end of an answer. `spans` has the spans so far.
fn pack_end<'env>(env: &'env Env, delivery: &ParsedDelivery, spans: &[u32]) -> napi::Result<Object<'env>> {
    let ParsedDelivery { delivery: Delivery { reader, end, spent, .. }, .. } = delivery;
    let mut object = Object::new(env)?;
    object.set_named_property("reader", reader.0)?;
    // The deliveries of a reader follow each other, so the last span is the reader's last one, or the reader has none.
    if let [.., last, _, _] = spans
        && *last == reader.0
    {
        object.set_named_property("span", to_u32(spans.len() / 3 - 1))?;
    }
    match end {
        Some((Ok(summary), log)) => match pack_result(env, summary, log, delivery) {
            Ok(result) => object.set_named_property("result", result)?,
            // A text can exceed the longest string of JavaScript. The other answers are still delivered.
            Err(error) => object.set_named_property("error", NativeError::from(&cannot_cross(&error)))?,
        },
        Some((Err(error), _)) => {
            let usage = spent.map(NativeUsage::from);
            object.set_named_property("error", NativeError { usage, ..NativeError::from(error) })?;
        }
        None => {}
    }
    Ok(object)
}

/// Prompt progress as quadruples: reader, tokens that were read, tokens of the prompt, tokens from the cache. `None`
/// without any progress.
pub(super) fn pack_progress(deliveries: &[ParsedDelivery]) -> Option<Vec<u32>> {
    let reports =
        deliveries.iter().filter_map(|ParsedDelivery { delivery, .. }| Some((delivery.reader, delivery.progress?)));
    let quadruple = |(reader, Progress { processed, total, cached }): (ReaderId, Progress)| {
        [reader.0, to_u32(processed), to_u32(total), to_u32(cached)]
    };
    let all: Vec<u32> = reports.flat_map(quadruple).collect();
    (!all.is_empty()).then_some(all)
}

/// The log-probabilities of all spans of a drain, in their order; `None` if no request asked for any.
pub(super) fn pack_spans_logprobs<'env>(
    env: &'env Env,
    deliveries: &[ParsedDelivery],
) -> napi::Result<Option<Object<'env>>> {
    if deliveries.iter().all(|parsed| parsed.delivery.logprobs.per_token == 0) {
        return Ok(None);
    }
    let spans = deliveries.iter().filter(|parsed| is_span(parsed));
    logprobs::pack(env, spans.map(LogprobsPiece::from)).map(Some)
}

/// Whether the delivery has content; otherwise it is only an end.
fn is_span(ParsedDelivery { delivery, part, .. }: &ParsedDelivery) -> bool {
    delivery.num_tokens > 0 || delivery.num_bytes > 0 || !part.is_plain()
}

fn pack_result<'env>(
    env: &'env Env,
    summary: &Summary,
    log: &AnswerLog,
    ParsedDelivery { parsed, text, .. }: &ParsedDelivery,
) -> napi::Result<Object<'env>> {
    let mut result = Object::new(env)?;
    match parsed {
        Some(parsed) => pack_parsed(&mut result, parsed)?,
        None => result.set_named_property("text", log.text())?,
    }
    result.set_named_property("tokens", Uint32ArraySlice::copy_from(env, log.tokens())?)?;
    let logprobs = log.logprobs();
    if logprobs.per_token > 0 {
        let piece = LogprobsPiece { logprobs: &logprobs, text: text.as_deref() };
        result.set_named_property("logprobs", logprobs::pack(env, [piece])?)?;
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
        ("reasoningTokens", summary.usage.reasoning_tokens as f64),
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

fn cannot_cross(error: &napi::Error) -> Error {
    Error::new(Code::BackendError, format!("the answer cannot be handed to JavaScript: {}", error.reason))
}

/// Empty fields are absent.
fn pack_parsed(
    result: &mut Object<'_>,
    ParsedOutput { text, reasoning, calls, warnings, .. }: &ParsedOutput,
) -> napi::Result<()> {
    result.set_named_property("text", text.as_str())?;
    if !reasoning.is_empty() {
        result.set_named_property("reasoning", reasoning.as_str())?;
    }
    if !calls.is_empty() {
        let calls: Vec<_> = calls.iter().map(|call| NativeCall::new(call, text)).collect();
        result.set_named_property("calls", calls)?;
    }
    if !warnings.is_empty() {
        result.set_named_property("warnings", warnings.clone())?;
    }
    Ok(())
}

pub(super) fn ms(duration: Duration) -> f64 {
    // Divided once: whole milliseconds stay whole.
    duration.as_nanos() as f64 / 1e6
}
