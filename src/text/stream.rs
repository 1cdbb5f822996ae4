//! The text of one answer while its tokens arrive: detokenizer, stop sequences, then calls that end it. Runs for every token of
//! every row, so a push does not allocate once its buffers have grown.

use std::sync::Arc;

use super::detokenizer::Detokenizer;
use super::output::StreamingParser;
use super::reasoning::ReasoningSplitter;
use super::stops::StopMatcher;
use super::token_table::{SpecialToken, TokenTable};
use crate::request::{ReasoningTags, TokenId};

/// Whether an answer continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// More tokens may follow.
    Open,
    /// A stop sequence is complete, or a tool call that ends the answer: no more text follows.
    Stopped,
}

/// Turns the tokens of one answer into text that can be delivered at once.
///
/// The parts together equal the decoded text of all tokens, up to the first stop sequence after the reasoning, or to
/// the end of that sequence if it is included. Each part ends at a character border. No part of an excluded stop sequence
/// is delivered. The text of a run of byte tokens (`<0x0A>`) is known only after the run, so it is delivered with the
/// next token.
#[derive(Debug)]
pub struct TextStream {
    token_table: Arc<TokenTable>,
    /// Special tokens that are text in this answer.
    special_tokens: Vec<SpecialToken>,
    detokenizer: Detokenizer,
    /// Set while the answer may be reasoning, which stop sequences ignore.
    reasoning_splitter: Option<ReasoningSplitter>,
    stops: StopMatcher,
    /// Set if tool calls may end the answer: it reads the text that is delivered.
    calls: Option<StreamingParser>,
    state: StreamState,
    /// Text between detokenizer and stop matcher; a buffer that is reused.
    settled: String,
}

impl TextStream {
    pub(super) fn new(
        token_table: Arc<TokenTable>,
        stop_sequences: &[String],
        special_tokens: Vec<SpecialToken>,
    ) -> Self {
        Self {
            detokenizer: Detokenizer::new(&token_table),
            reasoning_splitter: None,
            stops: StopMatcher::new(stop_sequences),
            calls: None,
            state: StreamState::Open,
            settled: String::new(),
            special_tokens,
            token_table,
        }
    }

    /// Whether the stop sequence that ends the text is part of it. The default is no.
    #[must_use]
    pub fn include_stop(mut self, is_included: bool) -> Self {
        self.stops.is_included = is_included;
        self
    }

    /// Makes the answer continue the text of these tokens, so that prompt and answer together read as one text. Some
    /// tokenizers write the start of a text differently, such as without its first space.
    #[must_use]
    pub fn following(mut self, prompt: &[TokenId]) -> Self {
        self.detokenizer = Detokenizer::following(&self.token_table, prompt);
        self
    }

    /// Makes stop sequences ignore the reasoning between these tags.
    pub(super) fn skip_reasoning(mut self, reasoning_tags: Option<ReasoningTags>) -> Self {
        self.reasoning_splitter = reasoning_tags.filter(|_| !self.stops.is_empty()).map(ReasoningSplitter::new);
        self
    }

    /// Makes the answer end with a tool call, as the rules of this parser say.
    pub(super) fn ending_with_calls(self, calls: Option<StreamingParser>) -> Self {
        Self { calls, ..self }
    }

    /// Adds one generated token and appends the text that can be delivered to `out`. Ignores tokens after a stop.
    pub fn push(&mut self, token: TokenId, out: &mut String) -> StreamState {
        let from = out.len();
        self.push_text(token, out);
        self.end_with_call(from, out)
    }

    /// Ends the answer with the call that the text from `from` completes, if a call ends it.
    fn end_with_call(&mut self, from: usize, out: &mut String) -> StreamState {
        if let Some(calls) = &mut self.calls
            && let Some(len) = calls.find_end(&out[from..])
        {
            out.truncate(from + len);
            self.state = StreamState::Stopped;
        }
        self.state
    }

    fn push_text(&mut self, token: TokenId, out: &mut String) {
        if self.state == StreamState::Stopped {
            return;
        }
        if self.stops.is_empty() {
            return self.detokenize(token, out);
        }
        let mut settled = std::mem::take(&mut self.settled);
        settled.clear();
        self.detokenize(token, &mut settled);
        self.settled = settled;
        self.deliver(out);
    }

    fn detokenize(&mut self, token: TokenId, out: &mut String) {
        match self.special_tokens.iter().find(|special| special.id == token) {
            Some(special) => self.detokenizer.push_text(&self.token_table, special.text, out),
            None => self.detokenizer.push(&self.token_table, token, out),
        }
    }

    /// The answer is over: appends the text that was held back. An incomplete character becomes U+FFFD, as in a full
    /// decode. Returns `Stopped` if a stop sequence is complete, also if only the last text completed it.
    pub fn finish(&mut self, out: &mut String) -> StreamState {
        let from = out.len();
        self.finish_text(out);
        self.end_with_call(from, out)
    }

    fn finish_text(&mut self, out: &mut String) {
        if self.state == StreamState::Open {
            self.settled.clear();
            self.detokenizer.finish(&self.token_table, &mut self.settled);
            if self.deliver(out) == StreamState::Open {
                self.settled.clear();
                if let Some(mut reasoning_splitter) = self.reasoning_splitter.take() {
                    reasoning_splitter.finish(&mut self.settled);
                }
                if self.deliver(out) == StreamState::Open {
                    self.stops.finish(out);
                }
            }
        }
    }

    fn deliver(&mut self, out: &mut String) -> StreamState {
        if let Some(reasoning_splitter) = &mut self.reasoning_splitter {
            let mut text = String::new();
            reasoning_splitter.push(&self.settled, out, &mut text);
            self.settled = text;
            if reasoning_splitter.is_over() {
                self.reasoning_splitter = None;
            }
        }
        if self.stops.push(&self.settled, out) {
            self.state = StreamState::Stopped;
        }
        self.state
    }
}
