//! Finds stop sequences in text that arrives in parts. A sequence may span tokens. The match that ends first wins, and
//! the longest of several that end together. So the result does not depend on how the text was cut.

use crate::error::{Error, Result};

/// The most stop sequences of a request.
pub const MAX_STOP_SEQUENCES: usize = 16;
/// The longest stop sequence, in bytes of UTF-8.
pub const MAX_STOP_SEQUENCE_BYTES: usize = 256;

/// Accepts at most [`MAX_STOP_SEQUENCES`] stop sequences, each of 1 to [`MAX_STOP_SEQUENCE_BYTES`] bytes: more would be too
/// expensive to match on every token. The error names `stopSequences`.
pub fn validate_stop_sequences(sequences: &[String]) -> Result<()> {
    const FIELD: &str = "stopSequences";
    if sequences.len() > MAX_STOP_SEQUENCES {
        let message = format!("has {} entries; at most {MAX_STOP_SEQUENCES} are allowed", sequences.len());
        return Err(Error::invalid(FIELD, message).with_limit(MAX_STOP_SEQUENCES as f64, sequences.len() as f64));
    }
    for (index, sequence) in sequences.iter().enumerate() {
        if sequence.is_empty() {
            return Err(Error::invalid(FIELD, format!("has an empty string at index {index}")));
        }
        if sequence.len() > MAX_STOP_SEQUENCE_BYTES {
            let message =
                format!("has {} bytes at index {index}; at most {MAX_STOP_SEQUENCE_BYTES} are allowed", sequence.len());
            return Err(
                Error::invalid(FIELD, message).with_limit(MAX_STOP_SEQUENCE_BYTES as f64, sequence.len() as f64)
            );
        }
    }
    Ok(())
}

/// Searches a text for several sequences. Holds back only text that may be the start of one.
#[derive(Debug)]
pub(super) struct StopMatcher {
    patterns: Vec<Pattern>,
    held: String,
    /// Whether the matched sequence is part of the text.
    pub(super) is_included: bool,
}

impl StopMatcher {
    pub(super) fn new(sequences: &[String]) -> Self {
        let patterns = sequences.iter().filter(|sequence| !sequence.is_empty()).map(|s| Pattern::new(s)).collect();
        Self { patterns, held: String::new(), is_included: false }
    }

    /// Whether there are no stop sequences.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Adds text, and appends to `out` what cannot belong to a stop sequence. Returns whether a stop sequence is complete. If it
    /// is, the text before it was appended, and the sequence itself only if `is_included`.
    pub(super) fn push(&mut self, text: &str, out: &mut String) -> bool {
        for (index, byte) in text.bytes().enumerate() {
            let longest = self.patterns.iter_mut().filter_map(|pattern| pattern.step(byte)).max();
            if let Some(len) = longest {
                self.held.push_str(&text[..=index]);
                let left_out = if self.is_included { 0 } else { len };
                out.push_str(&self.held[..self.held.len() - left_out]);
                self.held.clear();
                return true;
            }
        }
        self.held.push_str(text);
        // Every pattern begins at a character border, so a possible start of one does, too.
        let kept = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let settled = self.held.len() - kept;
        out.push_str(&self.held[..settled]);
        self.held.drain(..settled);
        false
    }

    /// The text is over: appends the text that was held back.
    pub(super) fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

/// One sequence, matched byte by byte without backtracking (Knuth, Morris and Pratt).
#[derive(Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each prefix length: the longest shorter prefix that is also its suffix.
    shorter: Vec<usize>,
    /// The length of the prefix that the text ends with.
    matched: usize,
}

impl Pattern {
    fn new(sequence: &str) -> Self {
        let bytes = sequence.as_bytes().to_vec();
        let mut pattern = Self { shorter: vec![0; bytes.len() + 1], bytes, matched: 0 };
        for len in 2..=pattern.bytes.len() {
            pattern.matched = pattern.shorter[len - 1];
            pattern.step(pattern.bytes[len - 1]);
            pattern.shorter[len] = pattern.matched;
        }
        pattern.matched = 0;
        pattern
    }

    /// Adds one byte; returns the length of the sequence once it is complete.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        if self.bytes[self.matched] == byte {
            self.matched += 1;
        }
        (self.matched == self.bytes.len()).then_some(self.matched)
    }
}
