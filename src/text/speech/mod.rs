//! What an answer says besides text: calls of functions and reasoning. Models write both into their text, each in its own
//! way; which one is told from the chat template. Answers are kept as they were generated: reading is each reader's own.

mod call;
mod envelope;
mod format;
mod grammar;
mod literal;
mod quoted;
mod splitter;
mod thinking;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use super::stream::Mark;
use crate::error::Result;
use crate::request::{Markup, Thought};
use format::{Format, Tags};

pub(super) use format::CALL_ENDS;
pub use splitter::{CallDelta, Said, Splitter};
pub(super) use thinking::Thinking;

/// As many as there are in an id that Mistral's templates take; other templates take any.
const ID_CHARS: usize = 9;

/// How a model speaks, as far as its chat template shows.
#[derive(Debug, Default)]
pub(super) struct Manner {
    format: Option<&'static Format>,
    tags: Option<&'static Tags>,
    /// Marks of calls, and of reasoning, that are special tokens.
    call_marks: Vec<Mark>,
    reasoning_marks: Vec<Mark>,
}

impl Manner {
    /// What the templates of a model were made for; `with_tools` is the one for chats with tools. `special` finds the marks
    /// that are special tokens.
    pub(super) fn of(default: &str, with_tools: &str, special: impl Fn(&'static str) -> Option<Mark>) -> Self {
        let format = Format::of(with_tools);
        let tags = Tags::of(with_tools).or_else(|| Tags::of(default));
        let call_marks = format.into_iter().flat_map(Format::marks).filter_map(&special).collect();
        let reasoning_marks = tags.into_iter().flat_map(Tags::marks).filter_map(&special).collect();
        Self { format, tags, call_marks, reasoning_marks }
    }

    /// What of its markup an answer must hold for it to be read so.
    pub(super) fn markup(&self, speech: Option<&Speech>) -> Markup {
        Markup {
            calls: speech.is_some_and(|speech| speech.format.is_some()) && !self.call_marks.is_empty(),
            reasoning: speech.is_some_and(|speech| speech.tags.is_some()) && !self.reasoning_marks.is_empty(),
            thought: speech.and_then(Speech::thought),
        }
    }

    /// The special tokens that have a text in an answer with this markup.
    pub(super) fn marks(&self, markup: Markup) -> Vec<Mark> {
        let calls = if markup.calls { self.call_marks.as_slice() } else { &[] };
        let reasoning = if markup.reasoning { self.reasoning_marks.as_slice() } else { &[] };
        [calls, reasoning].concat()
    }

    /// The grammar of answers that call one of these tools, once or as often as the model likes.
    pub(super) fn grammar(&self, speech: Option<&Speech>, tools: &[&Value], is_single: bool) -> Result<String> {
        let marks = self.call_marks.iter().chain(&self.reasoning_marks);
        let token = |text: &str| marks.clone().find(|mark| mark.text == text).map(|mark| mark.token);
        grammar::grammar(speech, tools, is_single, token)
    }

    /// How the answer to a prompt is read, if there is anything to look for in it. `begun` is the part of the answer that
    /// the caller wrote.
    pub(super) fn speech(&self, tools: Vec<String>, prompt: &str, begun: Option<&str>) -> Option<Speech> {
        let format = self.format.filter(|_| !tools.is_empty());
        let is_open = |tags: &Tags| {
            let is_last = |text: &str| text.rfind(tags.open) > text.rfind(tags.close);
            prompt.trim_end().ends_with(tags.open) || begun.is_some_and(is_last)
        };
        let is_reasoning = self.tags.is_some_and(is_open);
        let speech = Speech { format, tags: self.tags, tools: tools.into(), is_reasoning };
        (format.is_some() || self.tags.is_some()).then_some(speech)
    }
}

/// How one answer is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    format: Option<&'static Format>,
    tags: Option<&'static Tags>,
    /// The names that a call may have.
    tools: Arc<[String]>,
    /// The prompt has opened the reasoning.
    is_reasoning: bool,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Outside of everything else.
    pub text: String,
    /// Inside the model's tags.
    pub reasoning: String,
    /// Complete calls.
    pub calls: Vec<Call>,
    /// What was wrong with others.
    pub warnings: Vec<String>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Names it to the message with its result.
    pub id: String,
    /// One of the tools.
    pub name: String,
    /// The JSON text of an object.
    pub arguments: String,
}

/// The name of a call: the same for the same call of the same request, another one for any other.
fn call_id(request: &str, index: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = blake3::hash(format!("{index} {request}").as_bytes());
    let bytes = hash.as_bytes().iter().take(ID_CHARS);
    bytes.map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()])).collect()
}

impl Speech {
    /// Where the reasoning is that its reader gets apart.
    fn thought(&self) -> Option<Thought> {
        self.tags.map(|tags| Thought { open: tags.open, close: tags.close, has_begun: self.is_reasoning })
    }

    /// Begins to read an answer that comes in pieces; `request` is who asked for it.
    pub fn splitter(&self, request: &Arc<str>) -> Splitter {
        Splitter::new(self, request)
    }

    /// Reads a whole answer: what its pieces say together.
    pub fn read(&self, answer: &str, request: &Arc<str>) -> Spoken {
        let (mut splitter, mut said) = (self.splitter(request), Said::default());
        splitter.push(answer, &mut said);
        splitter.finish(&mut said);
        let Said { text, reasoning, calls } = said;
        let whole = |call: CallDelta| {
            let CallDelta { index: _, named, arguments, is_withdrawn } = call;
            named.filter(|_| !is_withdrawn).map(|(id, name)| Call { id, name, arguments })
        };
        let calls = calls.into_iter().filter_map(whole).collect();
        Spoken { text, reasoning, calls, warnings: splitter.into_warnings() }
    }
}
