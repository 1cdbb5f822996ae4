//! The text of one answer as its tokens arrive: detokenizer and stop sequences in a row. On the path of every token of
//! every row, hence no allocation per push once its buffers have grown.

use std::sync::Arc;

use super::assemble::Assembler;
use super::model::ModelText;
use super::pieces::{Piece, Pieces};
use super::speech::Thinking;
use super::stops::StopMatcher;
use crate::request::{Thought, TokenId};

/// Whether an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// More tokens may follow.
    Open,
    /// A stop sequence is complete; nothing more will be delivered.
    Stopped,
}

/// A special token that is text to those who look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) token: TokenId,
    pub(super) text: &'static str,
}

impl Mark {
    /// `None` where the token has a text for everybody.
    pub(super) fn special(text: &'static str, token: TokenId, pieces: &Pieces) -> Option<Self> {
        (pieces.get(token, false) == Piece::Nothing).then_some(Self { token, text })
    }
}

/// Turns the tokens of one answer into text that may be delivered at once.
///
/// The pieces together are what decoding all tokens gives, up to the first stop sequence behind the reasoning, or to its
/// end where it is included. A piece ends at a character border, and nothing is delivered of a stop sequence that is left
/// out. A model whose vocabulary has byte tokens (`<0x0A>`) says what a run of them means only when the run is over: such a
/// run is delivered with the token after it.
#[derive(Debug)]
pub struct TextStream {
    text: Arc<ModelText>,
    marks: Vec<Mark>,
    assembler: Assembler,
    /// While the answer may be reasoning, which stop sequences pass over.
    thinking: Option<Thinking>,
    stops: StopMatcher,
    state: StreamState,
    /// Reused between pushes; text on its way from the assembler to the matcher.
    settled: String,
}

impl TextStream {
    pub(super) fn new(text: Arc<ModelText>, stop_sequences: &[String], marks: Vec<Mark>) -> Self {
        Self {
            assembler: Assembler::new(text.pieces()),
            thinking: None,
            stops: StopMatcher::new(stop_sequences),
            state: StreamState::Open,
            settled: String::new(),
            marks,
            text,
        }
    }

    /// Whether the stop sequence that ends the text is part of it; it is left out where nothing is said.
    #[must_use]
    pub fn include_stop(mut self, is_included: bool) -> Self {
        self.stops.is_included = is_included;
        self
    }

    /// Makes the answer the continuation of these tokens: prompt and answer together read as one text. A tokenizer may
    /// write the beginning of a text in another way, such as without its first space.
    #[must_use]
    pub fn following(mut self, prompt: &[TokenId]) -> Self {
        self.assembler = Assembler::following(self.text.pieces(), prompt);
        self
    }

    /// Stop sequences are not looked for in this reasoning.
    pub(super) fn pass_over(mut self, thought: Option<Thought>) -> Self {
        self.thinking = thought.filter(|_| !self.stops.is_empty()).map(Thinking::new);
        self
    }

    /// Takes one generated token and appends to `out` what may be delivered. After a stop, tokens are ignored.
    pub fn push(&mut self, token: TokenId, out: &mut String) -> StreamState {
        if self.state == StreamState::Stopped {
            return self.state;
        }
        if self.stops.is_empty() {
            self.assemble(token, out);
            return self.state;
        }
        let mut settled = std::mem::take(&mut self.settled);
        settled.clear();
        self.assemble(token, &mut settled);
        self.settled = settled;
        self.deliver(out)
    }

    fn assemble(&mut self, token: TokenId, out: &mut String) {
        let pieces = self.text.pieces();
        match self.marks.iter().find(|mark| mark.token == token) {
            Some(mark) => self.assembler.push_text(pieces, mark.text, out),
            None => self.assembler.push(pieces, token, out),
        }
    }

    /// The answer is over: appends what was held back. An incomplete character becomes U+FFFD as a full decode would
    /// have it. `Stopped` where what was held back completes a stop sequence, or one was complete already.
    pub fn finish(&mut self, out: &mut String) -> StreamState {
        if self.state == StreamState::Open {
            self.settled.clear();
            self.assembler.finish(self.text.pieces(), &mut self.settled);
            if self.deliver(out) == StreamState::Open {
                self.settled.clear();
                if let Some(mut thinking) = self.thinking.take() {
                    thinking.finish(&mut self.settled);
                }
                if self.deliver(out) == StreamState::Open {
                    self.stops.finish(out);
                }
            }
        }
        self.state
    }

    fn deliver(&mut self, out: &mut String) -> StreamState {
        if let Some(thinking) = &mut self.thinking {
            let mut text = String::new();
            thinking.push(&self.settled, out, &mut text);
            self.settled = text;
            if thinking.is_over() {
                self.thinking = None;
            }
        }
        if self.stops.push(&self.settled, out) {
            self.state = StreamState::Stopped;
        }
        self.state
    }
}
