//! Joins the contributions of tokens into text, never splitting a character. What it has delivered, plus what `finish`
//! adds, is what decoding all tokens at once gives, for every sequence of tokens.

use super::pieces::{Joining, Piece, Pieces};
use crate::request::TokenId;

/// The state of one text under construction.
#[derive(Debug)]
pub(super) struct Assembler {
    has_begun: bool,
    /// An incomplete character, or a run of byte tokens whose end is not known.
    pending: Vec<u8>,
    trimmer: Trimmer,
}

impl Assembler {
    pub(super) fn new(pieces: &Pieces) -> Self {
        Self { has_begun: false, pending: Vec::new(), trimmer: Trimmer::new(pieces) }
    }

    /// Goes on where a text of these tokens ends. Of the text itself nothing is kept.
    pub(super) fn following(pieces: &Pieces, tokens: &[TokenId]) -> Self {
        let (mut before, mut out) = (Self::new(pieces), String::new());
        for token in tokens {
            before.push(pieces, *token, &mut out);
            if before.has_begun && before.trimmer.start_left == 0 {
                break;
            }
        }
        before.finish(pieces, &mut out);
        let mut following = Self::new(pieces);
        following.has_begun = before.has_begun;
        following.trimmer.start_left = before.trimmer.start_left;
        following
    }

    /// Appends to `out` what the token settles.
    pub(super) fn push(&mut self, pieces: &Pieces, token: TokenId, out: &mut String) {
        match pieces.get(token, !self.has_begun) {
            Piece::Nothing => return,
            Piece::Byte(byte) => self.pending.push(byte),
            Piece::Text(bytes) => match pieces.joining {
                Joining::Lossy => self.push_bytes(bytes, out),
                Joining::ByteRuns => {
                    self.end_run(out);
                    self.trimmer.push(str::from_utf8(bytes).expect("these pieces were stored from strings"), out);
                }
            },
        }
        self.has_begun = true;
    }

    /// Takes a text that no token of the table stands for.
    pub(super) fn push_text(&mut self, pieces: &Pieces, text: &str, out: &mut String) {
        match pieces.joining {
            Joining::Lossy => self.push_bytes(text.as_bytes(), out),
            Joining::ByteRuns => {
                self.end_run(out);
                self.trimmer.push(text, out);
            }
        }
        self.has_begun = true;
    }

    /// Appends what was held back.
    pub(super) fn finish(&mut self, pieces: &Pieces, out: &mut String) {
        match pieces.joining {
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
                // Without a length, what is left may become a character yet.
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

/// Leaves out the first and last few of one character. At the end of the text it is known which were the last: those
/// still held back are dropped.
#[derive(Debug)]
struct Trimmer {
    content: char,
    /// How many may still be left out at the start.
    start_left: usize,
    stop: usize,
    /// How many are held back; never more than `stop`.
    num_held: usize,
}

impl Trimmer {
    fn new(pieces: &Pieces) -> Self {
        let trim = pieces.trim;
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
