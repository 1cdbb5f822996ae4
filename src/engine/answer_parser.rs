//! Parsing answers for readers that want more than text: tool calls, reasoning, warnings, and the texts of the tokens that
//! have log-probabilities. The log has the text as it was generated, and each reader parses it for itself: computed, joined
//! and cached answers are parsed alike. The parser belongs to the reader's record in [`Readers`]. A drain parses after the
//! lock of the readers is released, so that the engine thread does not wait for it.

use std::sync::Arc;

use crate::answers::{self, AnswerLog, Logprobs, Spent};
use crate::lock::lock;
use crate::request::{FinishReason, Summary, TokenId, Usage};
use crate::text::{ModelText, OutputParser, ParsedDelta, ParsedOutput, ParsedPart, StreamingParser};

/// All readers of an engine.
pub(super) type Readers = answers::Readers<AnswerParser>;

type Delivery = answers::Delivery<AnswerParser>;

/// The warning about an empty answer to a plain text.
const NO_TEMPLATE: &str = "the model ended its answer at once: it is a chat model, and the plain text of `prompt` has no \
                           turn to answer; pass `messages` instead, which its chat template turns into a prompt";

/// A delivery, parsed: its text is the text that the reader gets.
#[derive(Debug)]
pub struct ParsedDelivery {
    /// The reader, the size of the delivery, and the end.
    pub delivery: Delivery,
    /// New reasoning and tool calls.
    pub part: ParsedPart,
    /// The whole output, if the answer has ended well and is more than its text.
    pub parsed: Option<ParsedOutput>,
    /// Spells the tokens of log-probabilities, if the request has any.
    pub text: Option<Arc<ModelText>>,
}

/// How an answer is read.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// It may have reasoning or tool calls.
    Output(OutputParser),
    /// It continues a plain text, although the model has a chat template. These tokens end a turn.
    WithoutTemplate(Arc<[TokenId]>),
}

/// Parses one answer for one reader.
#[derive(Debug)]
pub struct AnswerParser {
    output: Option<OutputReader>,
    /// The text of the model, if the request has log-probabilities.
    text: Option<Arc<ModelText>>,
}

/// Parses the output of one answer.
#[derive(Debug)]
struct OutputReader {
    reading: Reading,
    request: Arc<str>,
    /// Has read all text that was delivered to the reader, if there was any.
    streaming: Option<StreamingParser>,
}

impl AnswerParser {
    /// The parser of an answer; `None` if its reader wants nothing but text.
    pub(super) fn new(reading: Option<Reading>, text: Option<Arc<ModelText>>, request: &Arc<str>) -> Option<Self> {
        let output = reading.map(|reading| OutputReader { reading, request: Arc::clone(request), streaming: None });
        (output.is_some() || text.is_some()).then_some(Self { output, text })
    }
}

impl OutputReader {
    fn push(&mut self, part: &str) -> ParsedDelta {
        match &self.reading {
            Reading::Output(parser) if !part.is_empty() => {
                self.streaming.get_or_insert_with(|| parser.streaming(&self.request)).push(part)
            }
            _ => {
                let last = ParsedPart { text: part.to_owned(), ..ParsedPart::default() };
                ParsedDelta { last, ..ParsedDelta::default() }
            }
        }
    }

    /// The end of a delivery, if it has one. Returns the output of an answer that did not fail, if it is more than its text.
    fn end(&mut self, delivery: &mut Delivery, delta: &mut ParsedDelta) -> Option<ParsedOutput> {
        match delivery.end.as_mut()? {
            (Ok(summary), log) => self.finish(summary, log, delta),
            (Err(_), log) => {
                if let Some(usage) = &mut delivery.spent {
                    usage.reasoning_tokens = self.num_reasoning_tokens(log);
                }
                None
            }
        }
    }

    /// The output of an answer that did not fail; `None` if it is only text. A reader that streams has read the whole answer
    /// by now; its held text goes to `delta`. The answer of another reader is parsed here for the first time.
    fn finish(&mut self, summary: &mut Summary, log: &AnswerLog, delta: &mut ParsedDelta) -> Option<ParsedOutput> {
        let reason = summary.finish_reason;
        let parsed = match (&self.reading, &mut self.streaming) {
            (Reading::WithoutTemplate(end_tokens), _) => return ended_at_once(end_tokens, reason, log),
            (Reading::Output(_), Some(streaming)) => {
                let (rest, parsed) = streaming.finish(reason);
                delta.append(rest);
                parsed
            }
            (Reading::Output(parser), None) => parser.parse(&log.text(), &self.request, reason),
        };
        if reason == FinishReason::Stop && !parsed.calls.is_empty() {
            summary.finish_reason = FinishReason::ToolCalls;
        }
        summary.usage.reasoning_tokens = log.num_tokens_within(parsed.reasoning_end);
        Some(parsed)
    }

    /// The tokens of reasoning in an answer that failed.
    fn num_reasoning_tokens(&self, log: &AnswerLog) -> usize {
        let Reading::Output(parser) = &self.reading else { return 0 };
        let parsed = parser.parse(&log.text(), &self.request, FinishReason::Cancelled);
        log.num_tokens_within(parsed.reasoning_end)
    }
}

/// What a request has used so far.
pub(super) fn usage_of(spent: Spent<AnswerParser>) -> Usage {
    let Spent { usage, log, parser } = spent;
    let count = |parser: &AnswerParser| Some(parser.output.as_ref()?.num_reasoning_tokens(&log));
    let reasoning_tokens = parser.and_then(|parser| count(&lock(&parser))).unwrap_or(0);
    Usage { reasoning_tokens, ..usage }
}

/// The output with a warning if the answer has nothing to see and ended with one of these tokens.
fn ended_at_once(end_tokens: &[TokenId], reason: FinishReason, log: &AnswerLog) -> Option<ParsedOutput> {
    if reason != FinishReason::Stop {
        return None;
    }
    let text = log.text();
    let has_ended = || log.tokens().last().is_some_and(|token| end_tokens.contains(token));
    let is_empty = text.trim().is_empty() && has_ended();
    is_empty.then(|| ParsedOutput { text, warnings: vec![NO_TEMPLATE.to_owned()], ..ParsedOutput::default() })
}

/// Parses the deliveries of a drain. `raw` is their text as generated; the text for the readers is appended to `text`.
pub(super) fn parse(deliveries: Vec<Delivery>, raw: &str, text: &mut String) -> Vec<ParsedDelivery> {
    let mut out = Output { all: Vec::with_capacity(deliveries.len()), text };
    let mut rest = raw;
    for delivery in deliveries {
        let (part, after) = rest.split_at(delivery.num_bytes);
        rest = after;
        match delivery.parser.clone() {
            Some(parser) => out.parse(&mut lock(&parser), delivery, part),
            None => out.plain(delivery, part, None),
        }
    }
    out.all
}

/// The parsed deliveries of a drain, and their text.
struct Output<'a> {
    all: Vec<ParsedDelivery>,
    text: &'a mut String,
}

impl Output<'_> {
    fn plain(&mut self, delivery: Delivery, raw: &str, text: Option<Arc<ModelText>>) {
        self.text.push_str(raw);
        self.all.push(ParsedDelivery { delivery, part: ParsedPart::default(), parsed: None, text });
    }

    /// A delivery becomes several where that keeps the order of text and tool calls. The last one has its tokens and the end.
    fn parse(&mut self, AnswerParser { output, text }: &mut AnswerParser, mut delivery: Delivery, raw: &str) {
        let Some(output) = output else { return self.plain(delivery, raw, text.clone()) };
        let mut delta = output.push(raw);
        let parsed = output.end(&mut delivery, &mut delta);
        for part in delta.before {
            let logprobs = Logprobs { per_token: delivery.logprobs.per_token, values: Vec::new() };
            let before = Delivery { logprobs, ..Delivery::of(delivery.reader, None) };
            self.add(ParsedDelivery { delivery: before, part, parsed: None, text: text.clone() });
        }
        self.add(ParsedDelivery { delivery, part: delta.last, parsed, text: text.clone() });
    }

    fn add(&mut self, mut parsed: ParsedDelivery) {
        parsed.delivery.num_bytes = parsed.part.text.len();
        self.text.push_str(&std::mem::take(&mut parsed.part.text));
        self.all.push(parsed);
    }
}
