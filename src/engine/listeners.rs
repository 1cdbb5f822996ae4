//! Parsing answers for readers that want more than text: tool calls and reasoning. The log has the text as it was generated,
//! and each reader parses it for itself: computed, joined and cached answers are parsed alike. The parser belongs to the
//! reader's record in [`Readers`]. A drain parses after the lock of the readers is released, so that the engine thread does
//! not wait for it.

use std::sync::Arc;

use crate::answers::{self, AnswerLog, End};
use crate::lock::lock;
use crate::request::FinishReason;
use crate::text::{Said, Speech, Splitter, Spoken};

/// All readers of an engine.
pub(super) type Readers = answers::Readers<AnswerParser>;

type Delivery = answers::Delivery<AnswerParser>;

/// A delivery, parsed: its text is the text that the reader gets.
#[derive(Debug)]
pub struct Heard {
    /// The reader, the size of the delivery, and the end.
    pub delivery: Delivery,
    /// What is new besides text.
    pub said: Said,
    /// The whole answer, if it has ended well and its reader has a parser.
    pub spoken: Option<Spoken>,
}

/// Parses one answer for one reader.
#[derive(Debug)]
pub struct AnswerParser {
    speech: Speech,
    request: Arc<str>,
    splitter: Splitter,
}

impl AnswerParser {
    pub(super) fn new(speech: Speech, request: Arc<str>) -> Self {
        let splitter = speech.splitter(&request);
        Self { speech, request, splitter }
    }

    /// Parses the end of the answer, and adds the text that was held back.
    fn end(&mut self, end: &mut End, log: &AnswerLog, said: &mut Said) -> Option<Spoken> {
        let summary = end.as_mut().ok()?;
        self.splitter.finish(said);
        let spoken = self.speech.read(&log.text(), &self.request);
        if summary.finish_reason == FinishReason::Stop && !spoken.calls.is_empty() {
            summary.finish_reason = FinishReason::ToolCalls;
        }
        Some(spoken)
    }
}

/// Parses the deliveries of a drain. `raw` is their text as generated; the text for the readers is appended to `text`.
pub(super) fn parse(deliveries: Vec<Delivery>, raw: &str, text: &mut String) -> Vec<Heard> {
    let mut rest = raw;
    let parse = |mut delivery: Delivery| {
        let (piece, behind) = rest.split_at(delivery.num_bytes);
        rest = behind;
        let (mut said, mut spoken) = (Said::default(), None);
        if let Some(parser) = delivery.parser.clone() {
            let mut parser = lock(&parser);
            parser.splitter.push(piece, &mut said);
            spoken = delivery.end.as_mut().and_then(|(end, log)| parser.end(end, log, &mut said));
            delivery.num_bytes = said.text.len();
            text.push_str(&std::mem::take(&mut said.text));
        } else {
            text.push_str(piece);
        }
        Heard { delivery, said, spoken }
    };
    deliveries.into_iter().map(parse).collect()
}
