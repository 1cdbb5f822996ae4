//! Parsing answers for readers that want more than text: tool calls and reasoning. The log has the text as it was generated,
//! and each reader parses it for itself: computed, joined and cached answers are parsed alike. The parser belongs to the
//! reader's record in [`Readers`]. A drain parses after the lock of the readers is released, so that the engine thread does
//! not wait for it.

use std::sync::Arc;

use crate::answers::{self, AnswerLog, End};
use crate::lock::lock;
use crate::request::FinishReason;
use crate::text::{OutputParser, ParsedDelta, ParsedOutput, StreamingParser};

/// All readers of an engine.
pub(super) type Readers = answers::Readers<AnswerParser>;

type Delivery = answers::Delivery<AnswerParser>;

/// A delivery, parsed: its text is the text that the reader gets.
#[derive(Debug)]
pub struct ParsedDelivery {
    /// The reader, the size of the delivery, and the end.
    pub delivery: Delivery,
    /// New reasoning and tool calls.
    pub delta: ParsedDelta,
    /// The whole output, if the answer has ended well and its reader has a parser.
    pub parsed: Option<ParsedOutput>,
}

/// Parses one answer for one reader.
#[derive(Debug)]
pub struct AnswerParser {
    parser: OutputParser,
    request: Arc<str>,
    /// Has read all text that was delivered to the reader.
    streaming: StreamingParser,
    is_streaming: bool,
}

impl AnswerParser {
    pub(super) fn new(parser: OutputParser, request: Arc<str>) -> Self {
        let streaming = parser.streaming(&request);
        Self { parser, request, streaming, is_streaming: false }
    }

    fn push(&mut self, part: &str) -> ParsedDelta {
        self.is_streaming |= !part.is_empty();
        self.streaming.push(part)
    }

    /// The output of an answer that did not fail. A reader that streams has read the whole answer by now; its held text goes
    /// to `delta`. The answer of another reader is parsed here for the first time.
    fn finish(&mut self, end: &mut End, log: &AnswerLog, delta: &mut ParsedDelta) -> Option<ParsedOutput> {
        let summary = end.as_mut().ok()?;
        let parsed = if self.is_streaming {
            let (rest, parsed) = self.streaming.finish();
            delta.append(&rest);
            parsed
        } else {
            self.parser.parse(&log.text(), &self.request)
        };
        if summary.finish_reason == FinishReason::Stop && !parsed.calls.is_empty() {
            summary.finish_reason = FinishReason::ToolCalls;
        }
        Some(parsed)
    }
}

/// Parses the deliveries of a drain. `raw` is their text as generated; the text for the readers is appended to `text`.
pub(super) fn parse(deliveries: Vec<Delivery>, raw: &str, text: &mut String) -> Vec<ParsedDelivery> {
    let mut rest = raw;
    let parse = |mut delivery: Delivery| {
        let (part, after) = rest.split_at(delivery.num_bytes);
        rest = after;
        let (mut delta, mut parsed) = (ParsedDelta::default(), None);
        if let Some(parser) = delivery.parser.clone() {
            let mut parser = lock(&parser);
            delta = parser.push(part);
            parsed = delivery.end.as_mut().and_then(|(end, log)| parser.finish(end, log, &mut delta));
            delivery.num_bytes = delta.text.len();
            text.push_str(&std::mem::take(&mut delta.text));
        } else {
            text.push_str(part);
        }
        ParsedDelivery { delivery, delta, parsed }
    };
    deliveries.into_iter().map(parse).collect()
}
