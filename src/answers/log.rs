//! The log of one answer: append-only tokens and text, and how the generation ended. Bounded by the request's
//! `max_tokens`. Knows no readers: what a reader is told of the end is made in `readers`.

use std::sync::PoisonError;
use std::time::Instant;

use crate::error::Error;
use crate::request::{FinishReason, RequestId, TokenId};

use super::sync::{Mutex, MutexGuard};

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
    state: Mutex<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    tokens: Vec<TokenId>,
    text: String,
    /// For each token, where the text that came with it ends.
    text_ends: Vec<usize>,
    end: Option<Close>,
}

/// What an answer says, in pieces.
pub(super) type Parts = (Vec<TokenId>, String, Vec<usize>);

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    tokens: usize,
    text: usize,
}

impl AnswerLog {
    /// The log of an answer that is computed for this request.
    pub fn new(origin: RequestId) -> Self {
        Self { origin, state: Mutex::default() }
    }

    /// The request it was computed for.
    pub fn origin(&self) -> &RequestId {
        &self.origin
    }

    /// Appends what a step brought. Text may lag behind tokens: it ends at character borders.
    pub fn append(&self, token: TokenId, text: &str) {
        let mut state = self.lock();
        state.text.push_str(text);
        state.tokens.push(token);
        let end = state.text.len();
        state.text_ends.push(end);
    }

    /// Ends the answer with the text that was held back. Only the first end counts.
    pub fn close(&self, rest: &str, end: Close) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.text.push_str(rest);
            state.end = Some(end);
        }
    }

    /// A log of what there is so far, ended: for a reader that leaves while others go on reading.
    #[must_use]
    pub fn cut(&self, end: Close) -> Self {
        let state = State { end: Some(end), ..self.lock().clone() };
        Self { origin: self.origin.clone(), state: Mutex::new(state) }
    }

    /// An answer that was given before, from what [`parts`](Self::parts) gave; nothing where they do not fit each other.
    pub(super) fn restore(origin: RequestId, parts: Parts, finished: Finished) -> Option<Self> {
        let (tokens, text, text_ends) = parts;
        let fits = text_ends.len() == tokens.len()
            && text_ends.is_sorted()
            && text_ends.iter().all(|&end| text.is_char_boundary(end));
        let state = State { tokens, text, text_ends, end: Some(Ok(finished)) };
        fits.then(|| Self { origin, state: Mutex::new(state) })
    }

    /// Tokens, text, and for each token where the text that came with it ends.
    pub(super) fn parts(&self) -> Parts {
        let State { tokens, text, text_ends, end: _ } = self.lock().clone();
        (tokens, text, text_ends)
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<Close> {
        self.lock().end.clone()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().end.is_some()
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

    /// Bytes it keeps allocated; nothing is in reserve afterwards.
    pub(super) fn shrink(&self) -> usize {
        let mut state = self.lock();
        state.tokens.shrink_to_fit();
        state.text.shrink_to_fit();
        state.text_ends.shrink_to_fit();
        size_of::<Self>()
            + self.origin.0.len()
            + state.text.capacity()
            + state.tokens.capacity() * size_of::<TokenId>()
            + state.text_ends.capacity() * size_of::<usize>()
    }

    /// Appends what is behind the cursor to the two buffers and moves the cursor, by at most that many tokens. Says
    /// whether there was anything.
    pub(super) fn read(&self, cursor: &mut Cursor, most: usize, tokens: &mut Vec<TokenId>, text: &mut String) -> bool {
        let state = self.lock();
        let before = *cursor;
        cursor.tokens = state.tokens.len().min(before.tokens.saturating_add(most));
        // What was held back until the end came without a token: it goes with the last one.
        let is_whole = cursor.tokens == state.tokens.len();
        cursor.text = if is_whole { state.text.len() } else { state.text_ends[cursor.tokens - 1] };
        tokens.extend_from_slice(&state.tokens[before.tokens..cursor.tokens]);
        text.push_str(&state.text[before.text..cursor.text]);
        (before.tokens, before.text) != (cursor.tokens, cursor.text)
    }

    /// Nothing that holds this lock can panic half-way, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
