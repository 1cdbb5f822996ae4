//! The incremental detokenizer: joins the texts of tokens without splitting a character. For every sequence of tokens,
//! the text from `push` plus the text from `finish` is what decoding all tokens at once gives.

use super::token_table::{Joining, TokenTable, TokenText};
use crate::request::TokenId;

/// The state of the detokenizer within one text.
#[derive(Debug)]
pub(super) struct Detokenizer {
    has_begun: bool,
    /// An incomplete character, or a run of byte tokens that may continue.
    pending: Vec<u8>,
    trimmer: Trimmer,
}

impl Detokenizer {
    pub(super) fn new(token_table: &TokenTable) -> Self {
        Self { has_begun: false, pending: Vec::new(), trimmer: Trimmer::new(token_table) }
    }

    /// A detokenizer that continues the text of these tokens. It delivers none of their text.
    pub(super) fn following(token_table: &TokenTable, tokens: &[TokenId]) -> Self {
        let (mut before, mut out) = (Self::new(token_table), String::new());
        for token in tokens {
            before.push(token_table, *token, &mut out);
            if before.has_begun && before.trimmer.start_left == 0 {
                break;
            }
        }
        before.finish(token_table, &mut out);
        let mut following = Self::new(token_table);
        following.has_begun = before.has_begun;
        following.trimmer.start_left = before.trimmer.start_left;
        following
    }

    /// Appends the text that the token completes to `out`.
    pub(super) fn push(&mut self, token_table: &TokenTable, token: TokenId, out: &mut String) {
        match token_table.get(token, !self.has_begun) {
            TokenText::Nothing => return,
            TokenText::Byte(byte) => self.pending.push(byte),
            TokenText::Text(bytes) => match token_table.joining {
                Joining::Lossy => self.push_bytes(bytes, out),
                Joining::ByteRuns => {
                    self.end_run(out);
                    self.trimmer.push(str::from_utf8(bytes).expect("these texts were stored from strings"), out);
                }
            },
        }
        self.has_begun = true;
    }

    /// Adds a text that is not in the token table.
    pub(super) fn push_text(&mut self, token_table: &TokenTable, text: &str, out: &mut String) {
        match token_table.joining {
            Joining::Lossy => self.push_bytes(text.as_bytes(), out),
            Joining::ByteRuns => {
                self.end_run(out);
                self.trimmer.push(text, out);
            }
        }
        self.has_begun = true;
    }

    /// Appends the text that was held back.
    pub(super) fn finish(&mut self, token_table: &TokenTable, out: &mut String) {
        match token_table.joining {
            Joining::Lossy => {
                let rest = std::mem::take(&mut self.pending);
                self.trimmer.push(&String::from_utf8_lossy(&rest), out);
            }
            Joining::ByteRuns => self.end_run(out),
        }
    }

    fn push_bytes(&mut self, bytes: &[u8], out: &mut String) {
        if self.pending.is_empty()
            && let Ok(text) = str::from_utf8(bytes)
        {
            return self.trimmer.push(text, out);
        }
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        while done < self.pending.len() {
            let rest = &self.pending[done..];
            let error = str::from_utf8(rest).err();
            let num_valid = error.map_or(rest.len(), |error| error.valid_up_to());
            self.trimmer.push(str::from_utf8(&rest[..num_valid]).expect("just found valid"), out);
            done += num_valid;
            if let Some(error) = error {
                // An error without a length is an incomplete character, which later bytes may complete.
                let Some(len) = error.error_len() else { break };
                self.trimmer.push("\u{FFFD}", out);
                done += len;
            }
        }
        self.pending.drain(..done);
    }

    fn end_run(&mut self, out: &mut String) {
        if self.pending.is_empty() {
            return;
        }
        match str::from_utf8(&self.pending) {
            Ok(text) => self.trimmer.push(text, out),
            Err(_) => self.pending.iter().for_each(|_| self.trimmer.push("\u{FFFD}", out)),
        }
        self.pending.clear();
    }
}

/// Removes a limited number of one character from the start and the end of a text. Characters that may be the last ones
/// are held back, and dropped if the text ends.
#[derive(Debug)]
struct Trimmer {
    content: char,
    /// Characters that may still be removed at the start.
    start_left: usize,
    stop: usize,
    /// Characters held back; at most `stop`.
    num_held: usize,
}

impl Trimmer {
    fn new(token_table: &TokenTable) -> Self {
        let trim = token_table.trim;
        Self { content: trim.content, start_left: trim.start, stop: trim.stop, num_held: 0 }
    }

    fn push(&mut self, mut text: &str, out: &mut String) {
        while self.start_left > 0 && !text.is_empty() {
            if let Some(rest) = text.strip_prefix(self.content) {
                text = rest;
                self.start_left -= 1;
            } else {
                self.start_left = 0;
            }
        }
        if self.stop == 0 {
            return out.push_str(text);
        }
        let body = text.trim_end_matches(self.content);
        if !body.is_empty() {
            self.release(self.num_held, out);
            out.push_str(body);
        }
        self.num_held += text[body.len()..].chars().count();
        self.release(self.num_held.saturating_sub(self.stop), out);
    }

    fn release(&mut self, num: usize, out: &mut String) {
        out.extend(std::iter::repeat_n(self.content, num));
        self.num_held -= num;
    }
}
