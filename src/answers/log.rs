//! The log of one answer: append-only tokens and text, log-probabilities where they were asked for, and how the generation
//! ended. Bounded by the request's `max_tokens`. Knows no readers: what a reader is told of the end is made in `readers`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::request::{FinishReason, RequestId, TokenId, TokenLogprob};

use super::sync::{AtomicBool, Mutex, MutexGuard};

/// When things happened to a generation; what never happened, or in another process, is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    /// The first step that held it.
    pub started: Option<Instant>,
    /// Its first token was read.
    pub first_token: Option<Instant>,
    /// Its last token was read.
    pub last_token: Option<Instant>,
    /// It ended.
    pub ended: Option<Instant>,
}

/// What a generation came to: the facts that every reader's summary is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub num_input_tokens: usize,
    /// Of these, tokens whose KV was copied from another choice of the same request.
    pub num_cached_tokens: usize,
    /// The seed used.
    pub seed: u64,
    /// When.
    pub stamps: Stamps,
}

/// How a generation ended.
pub type Close = Result<Finished, Error>;

/// Everything a generation has said so far.
#[derive(Debug)]
pub struct AnswerLog {
    /// The request it was computed for.
    origin: RequestId,
    /// The most probable tokens that are told with each one; nothing of that where absent.
    num_logprobs: Option<u8>,
    state: Mutex<State>,
    /// Set once the state has an end: asked for every reader with every token, which waits for nobody.
    has_ended: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct State {
    tokens: Vec<TokenId>,
    text: String,
    /// For each token, where the text that came with it ends.
    text_ends: Vec<usize>,
    /// For each token as many as the log has room for: the token itself, then the most probable ones.
    logprobs: Vec<TokenLogprob>,
    end: Option<Close>,
}

/// The log-probabilities of some tokens of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Logprobs {
    /// For each token so many: its own, then those of the most probable ones. 0 where none were asked for.
    pub per_token: usize,
    /// Those of all tokens in a row.
    pub values: Vec<TokenLogprob>,
}

/// What an answer says, in pieces.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parts {
    tokens: Vec<TokenId>,
    text: String,
    text_ends: Vec<usize>,
    num_logprobs: Option<u8>,
    logprobs: Vec<TokenLogprob>,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    tokens: usize,
    text: usize,
}

impl AnswerLog {
    /// The log of an answer that is computed for this request.
    pub fn new(origin: RequestId) -> Self {
        Self::of(origin, None, State::default())
    }

    /// The same with log-probabilities: with each token come its own and those of so many of the most probable ones.
    #[must_use]
    pub fn with_logprobs(self, num_logprobs: Option<u8>) -> Self {
        Self { num_logprobs, ..self }
    }

    /// The request it was computed for.
    pub fn origin(&self) -> &RequestId {
        &self.origin
    }

    /// Appends a token with its text.
    pub fn append(&self, token: TokenId, text: &str, logprobs: &[TokenLogprob]) {
        self.write(token, logprobs, |out| out.push_str(text));
    }

    /// Appends what a step brought; `write` puts the text behind what is there. Text may lag behind tokens: it ends at character
    /// borders. Log-probabilities are the token's own and then those of the most probable ones, as many as the log was made
    /// for.
    pub fn write<T>(&self, token: TokenId, logprobs: &[TokenLogprob], write: impl FnOnce(&mut String) -> T) -> T {
        debug_assert_eq!(logprobs.len(), self.logprobs_per_token(), "each token has as many");
        let mut state = self.lock();
        let said = write(&mut state.text);
        state.logprobs.extend_from_slice(logprobs);
        state.tokens.push(token);
        let end = state.text.len();
        state.text_ends.push(end);
        said
    }

    /// Ends the answer with the text that was held back. Only the first end counts.
    pub fn close(&self, rest: &str, end: Close) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.text.push_str(rest);
            state.end = Some(end);
            self.has_ended.store(true, Ordering::Release);
        }
    }

    /// A log of what there is so far: for readers that leave while others go on reading, with ends of their own.
    #[must_use]
    pub fn so_far(&self) -> Self {
        let state = self.lock().clone();
        Self::of(self.origin.clone(), self.num_logprobs, state)
    }

    /// An answer that was given before, from what [`parts`](Self::parts) gave; nothing where they do not fit each other.
    pub(super) fn restore(origin: RequestId, parts: Parts, finished: Finished) -> Option<Self> {
        let Parts { tokens, text, text_ends, num_logprobs, logprobs } = parts;
        let fits = text_ends.len() == tokens.len()
            && text_ends.is_sorted()
            && text_ends.iter().all(|&end| text.is_char_boundary(end))
            && logprobs.len() == tokens.len() * per_token(num_logprobs);
        let state = State { tokens, text, text_ends, logprobs, end: Some(Ok(finished)) };
        fits.then(|| Self::of(origin, num_logprobs, state))
    }

    /// Everything it says.
    pub(super) fn parts(&self) -> Parts {
        let State { tokens, text, text_ends, logprobs, end: _ } = self.lock().clone();
        Parts { tokens, text, text_ends, num_logprobs: self.num_logprobs, logprobs }
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<Close> {
        self.lock().end.clone()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Tokens appended so far.
    pub fn num_tokens(&self) -> usize {
        self.lock().tokens.len()
    }

    /// All text so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// All tokens so far.
    pub fn tokens(&self) -> Vec<TokenId> {
        self.lock().tokens.clone()
    }

    /// All log-probabilities so far.
    pub fn logprobs(&self) -> Logprobs {
        Logprobs { per_token: self.logprobs_per_token(), values: self.lock().logprobs.clone() }
    }

    /// Bytes it keeps allocated; nothing is in reserve afterwards.
    pub(super) fn shrink(&self) -> usize {
        let mut state = self.lock();
        state.tokens.shrink_to_fit();
        state.text.shrink_to_fit();
        state.text_ends.shrink_to_fit();
        state.logprobs.shrink_to_fit();
        size_of::<Self>()
            + self.origin.0.len()
            + state.text.capacity()
            + state.tokens.capacity() * size_of::<TokenId>()
            + state.text_ends.capacity() * size_of::<usize>()
            + state.logprobs.capacity() * size_of::<TokenLogprob>()
    }

    /// Appends what is behind the cursor to the two buffers and moves the cursor, by at most that many tokens. Gives
    /// their log-probabilities; nothing at all where nothing was behind the cursor.
    pub(super) fn read(
        &self,
        cursor: &mut Cursor,
        most: usize,
        tokens: &mut Vec<TokenId>,
        text: &mut String,
    ) -> Option<Logprobs> {
        let state = self.lock();
        let before = *cursor;
        cursor.tokens = state.tokens.len().min(before.tokens.saturating_add(most));
        // What was held back until the end came without a token: it goes with the last one.
        let is_whole = cursor.tokens == state.tokens.len();
        cursor.text = if is_whole { state.text.len() } else { state.text_ends[cursor.tokens - 1] };
        tokens.extend_from_slice(&state.tokens[before.tokens..cursor.tokens]);
        text.push_str(&state.text[before.text..cursor.text]);
        let per_token = self.logprobs_per_token();
        let values = &state.logprobs[before.tokens * per_token..cursor.tokens * per_token];
        let has_moved = (before.tokens, before.text) != (cursor.tokens, cursor.text);
        has_moved.then(|| Logprobs { per_token, values: values.to_vec() })
    }

    fn of(origin: RequestId, num_logprobs: Option<u8>, state: State) -> Self {
        let has_ended = AtomicBool::new(state.end.is_some());
        Self { origin, num_logprobs, state: Mutex::new(state), has_ended }
    }

    fn logprobs_per_token(&self) -> usize {
        per_token(self.num_logprobs)
    }

    /// A poisoned one is still sound: who panics while a token's text is written leaves part of it, and an answer that fails.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Log-probabilities that come with a token: its own is one of them.
fn per_token(num_logprobs: Option<u8>) -> usize {
    num_logprobs.map_or(0, |count| 1 + usize::from(count))
}
