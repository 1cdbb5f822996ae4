//! The log of one answer: append-only tokens and text, and how it ended. Bounded by the request's `max_tokens`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::request::{Summary, TokenId};

/// How an answer ended.
pub type End = Result<Summary, Error>;

/// Everything a generation has said so far.
#[derive(Debug, Default)]
pub struct AnswerLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tokens: Vec<TokenId>,
    text: String,
    end: Option<End>,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    tokens: usize,
    text: usize,
}

impl AnswerLog {
    /// Appends what a step brought. Text may lag behind tokens: it ends at character borders.
    pub fn append(&self, token: TokenId, text: &str) {
        let mut state = self.lock();
        state.tokens.push(token);
        state.text.push_str(text);
    }

    /// Ends the answer with the text that was held back. Only the first end counts.
    pub fn close(&self, rest: &str, end: End) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.text.push_str(rest);
            state.end = Some(end);
        }
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.lock().end.clone()
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

    /// Appends everything behind the cursor to the two buffers, and moves the cursor to the end.
    pub(super) fn read(&self, cursor: &mut Cursor, tokens: &mut Vec<TokenId>, text: &mut String) {
        let state = self.lock();
        tokens.extend_from_slice(&state.tokens[cursor.tokens..]);
        text.push_str(&state.text[cursor.text..]);
        *cursor = Cursor { tokens: state.tokens.len(), text: state.text.len() };
    }

    /// Nothing that holds this lock can panic half-way, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
