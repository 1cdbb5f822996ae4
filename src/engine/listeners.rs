//! Readers who look for more than text in their answers: calls of functions, and reasoning. An answer is kept as it was
//! generated, so whoever computes it, joins it or has it from the cache reads the same, each on its own way to JavaScript.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::answers::{AnswerLog, Delivery, End, ReaderId};
use crate::lock::lock;
use crate::request::FinishReason;
use crate::text::{Said, Speech, Splitter, Spoken};

/// A piece of what a drain delivers; its text is what the reader shall see.
#[derive(Debug)]
pub struct Heard {
    /// Whose, how much, and the end.
    pub delivery: Delivery,
    /// What is new besides text.
    pub said: Said,
    /// The whole answer, where it has ended well and its reader looks for more than text.
    pub spoken: Option<Spoken>,
}

/// The readers who look for more than text, until they have been told their end.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<HashMap<ReaderId, Listener>>);

#[derive(Debug)]
struct Listener {
    speech: Speech,
    request: Arc<str>,
    splitter: Splitter,
}

impl Listeners {
    /// Reads the answer to a request for this reader, before anything of it is delivered.
    pub(super) fn add(&self, reader: ReaderId, speech: Speech, request: Arc<str>) {
        let splitter = speech.splitter(&request);
        lock(&self.0).insert(reader, Listener { speech, request, splitter });
    }

    /// Forgets a reader.
    pub(super) fn remove(&self, reader: ReaderId) {
        lock(&self.0).remove(&reader);
    }

    /// Reads what was delivered: appends to `text` what each reader shall see of `raw`.
    pub(super) fn hear(&self, deliveries: Vec<Delivery>, raw: &str, text: &mut String) -> Vec<Heard> {
        let mut listeners = lock(&self.0);
        let mut rest = raw;
        let mut heard = Vec::with_capacity(deliveries.len());
        for mut delivery in deliveries {
            let (piece, behind) = rest.split_at(delivery.num_bytes);
            rest = behind;
            let (mut said, mut spoken) = (Said::default(), None);
            if let Some(listener) = listeners.get_mut(&delivery.reader) {
                listener.splitter.push(piece, &mut said);
                spoken = delivery.end.as_mut().and_then(|(end, log)| listener.end(end, log, &mut said));
                delivery.num_bytes = said.text.len();
                text.push_str(&std::mem::take(&mut said.text));
            } else {
                text.push_str(piece);
            }
            if delivery.end.is_some() {
                listeners.remove(&delivery.reader);
            }
            heard.push(Heard { delivery, said, spoken });
        }
        heard
    }
}

impl Listener {
    /// Reads the whole answer, and delivers what was held back of its pieces.
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
