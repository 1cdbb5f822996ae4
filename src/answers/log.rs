//! The log of one answer: append-only tokens and text, log-probabilities if they were requested, and the end of the
//! generation. `max_tokens` bounds its length. The log does not know its readers; `readers` makes their summaries.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::request::{FinishReason, RequestId, TokenId, TokenLogprob};

use super::sync::{AtomicBool, Mutex, MutexGuard};

/// Time stamps of a generation. An event that did not happen, or happened in another process, has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    /// The start of the first step with the sequence.
    pub started: Option<Instant>,
    /// The first token.
    pub first_token: Option<Instant>,
    /// The last token.
    pub last_token: Option<Instant>,
    /// The end.
    pub ended: Option<Instant>,
}

/// The prompt of a generation that has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Tokens of the prompt.
    pub num_input_tokens: usize,
    /// Tokens of the prompt whose KV was copied from another sequence.
    pub num_cached_tokens: usize,
}

/// The facts of a complete generation, from which each reader's summary is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub num_input_tokens: usize,
    /// Tokens of the prompt whose KV was copied from another sequence.
    pub num_cached_tokens: usize,
    /// The seed used.
    pub seed: u64,
    /// The time stamps.
    pub stamps: Stamps,
}

impl Finished {
    /// The end of a generation that was cancelled at `now`, without a token and without time stamps of steps.
    /// `num_input_tokens` is 0 if the prompt was not read or what was read is lost.
    pub fn cancelled(num_input_tokens: usize, seed: u64, now: Instant) -> Self {
        let stamps = Stamps { ended: Some(now), ..Stamps::default() };
        Self { finish_reason: FinishReason::Cancelled, num_input_tokens, num_cached_tokens: 0, seed, stamps }
    }
}

/// The end of a generation.
pub type Close = Result<Finished, Error>;

/// The answer of a generation so far.
#[derive(Debug)]
pub struct AnswerLog {
    /// The request it was computed for.
    origin: RequestId,
    /// How many of the most probable tokens are reported with each token. Absent: no log-probabilities.
    num_logprobs: Option<u8>,
    state: Mutex<State>,
    /// Set once the state has an end. Read for every reader with every token, so it must not wait for the lock.
    has_ended: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct State {
    tokens: Vec<TokenId>,
    text: String,
    /// For each token, the length of the text up to and including its own.
    text_ends: Vec<usize>,
    /// `logprobs_per_token` entries for each token: the token itself, then the most probable ones.
    logprobs: Vec<TokenLogprob>,
    /// Set by the first step of the generation.
    begun: Option<Begun>,
    end: Option<Close>,
}

/// The log-probabilities of some tokens of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Logprobs {
    /// Entries for each token: its own, then the most probable ones. 0 if none were requested.
    pub per_token: usize,
    /// The entries of all tokens, one token after another.
    pub values: Vec<TokenLogprob>,
}

/// The content of a log, for the cache file.
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

impl Cursor {
    pub(super) fn has_moved(self) -> bool {
        self.tokens > 0 || self.text > 0
    }
}

impl AnswerLog {
    /// An empty log for the answer to a request.
    pub fn new(origin: RequestId) -> Self {
        Self::of(origin, None, State::default())
    }

    /// The log with log-probabilities: for each token its own and those of the `num_logprobs` most probable ones.
    #[must_use]
    pub fn with_logprobs(self, num_logprobs: Option<u8>) -> Self {
        Self { num_logprobs, ..self }
    }

    /// The request it was computed for.
    pub fn origin(&self) -> &RequestId {
        &self.origin
    }

    /// The first step of the generation is submitted.
    pub fn begin(&self, begun: Begun) {
        self.lock().begun = Some(begun);
    }

    /// The prompt, once the generation has started.
    pub fn begun(&self) -> Option<Begun> {
        self.lock().begun
    }

    /// Appends a token with its text.
    pub fn append(&self, token: TokenId, text: &str, logprobs: &[TokenLogprob]) {
        self.write(token, logprobs, |out| out.push_str(text));
    }

    /// Appends the token of a step; `write` appends its text. Text may lag behind tokens, as it ends at character borders.
    /// `logprobs` has [`Logprobs::per_token`] entries: the token's own, then the most probable ones.
    pub fn write<T>(&self, token: TokenId, logprobs: &[TokenLogprob], write: impl FnOnce(&mut String) -> T) -> T {
        debug_assert_eq!(logprobs.len(), self.logprobs_per_token(), "each token has the same number");
        let mut state = self.lock();
        let written = write(&mut state.text);
        state.logprobs.extend_from_slice(logprobs);
        state.tokens.push(token);
        let end = state.text.len();
        state.text_ends.push(end);
        written
    }

    /// Ends the answer with the text that was held back. Later ends have no effect.
    pub fn close(&self, rest: &str, end: Close) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.text.push_str(rest);
            state.end = Some(end);
            self.has_ended.store(true, Ordering::Release);
        }
    }

    /// A copy of the log so far, for readers that leave while the generation goes on for others.
    #[must_use]
    pub fn so_far(&self) -> Self {
        let state = self.lock().clone();
        Self::of(self.origin.clone(), self.num_logprobs, state)
    }

    /// A complete log from its [`parts`](Self::parts); `None` if they are inconsistent.
    pub(super) fn restore(origin: RequestId, parts: Parts, finished: Finished) -> Option<Self> {
        let Parts { tokens, text, text_ends, num_logprobs, logprobs } = parts;
        let fits = text_ends.len() == tokens.len()
            && text_ends.is_sorted()
            && text_ends.iter().all(|&end| text.is_char_boundary(end))
            && logprobs.len() == tokens.len() * per_token(num_logprobs);
        let state = State { tokens, text, text_ends, logprobs, begun: None, end: Some(Ok(finished)) };
        fits.then(|| Self::of(origin, num_logprobs, state))
    }

    /// The content of the log.
    pub(super) fn parts(&self) -> Parts {
        let State { tokens, text, text_ends, logprobs, begun: _, end: _ } = self.lock().clone();
        Parts { tokens, text, text_ends, num_logprobs: self.num_logprobs, logprobs }
    }

    /// The end, once there is one.
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

    /// The number of tokens whose text begins within the first `num_bytes` bytes.
    pub fn num_tokens_within(&self, num_bytes: usize) -> usize {
        let state = self.lock();
        // A token starts where the text of the one before it ends; the first one starts at 0.
        let Some((_, ends_before)) = state.text_ends.split_last().filter(|_| num_bytes > 0) else { return 0 };
        1 + ends_before.partition_point(|end| *end < num_bytes)
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

    /// Frees spare capacity. Returns the bytes that stay allocated.
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

    /// Appends at most `most` tokens after the cursor, and their text, to the buffers, and moves the cursor. Returns their
    /// log-probabilities; `None` if nothing is new.
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
        // Text that was held back until the end has no token: it goes with the last one.
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

    /// A poisoned lock is still usable: a panic while writing leaves partial text in an answer that fails anyway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries for each token, its own included.
fn per_token(num_logprobs: Option<u8>) -> usize {
    num_logprobs.map_or(0, |count| 1 + usize::from(count))
}
