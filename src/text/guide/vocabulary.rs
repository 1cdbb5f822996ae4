//! What llguidance must know of a vocabulary: the bytes that each token contributes to a text.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use super::super::pieces::{Piece, Pieces};
use super::super::stream::Mark;
use crate::error::{Code, Error, Result};
use crate::request::TokenId;

/// Its trie has room for no more. Real vocabularies have a token or two that are longer, all spaces or dashes.
const MAX_TOKEN_BYTES: usize = 512;
/// Likewise: nodes of a trie, at most one for each byte.
const MAX_TRIE_BYTES: usize = 4 << 20;

/// The vocabulary for llguidance. Special tokens have no text and are never allowed, but for those that a grammar names by
/// their ids, which have to be among `marks`; tokens that end an answer are the
/// executor's to allow, as requests may choose them.
pub(super) fn environment(pieces: &Pieces, marks: &[Mark]) -> Result<TokEnv> {
    if pieces.trim.stop > 0 {
        let message = "the model's tokenizer removes characters at the end of a text: its answers cannot be structured";
        return Err(Error::new(Code::GuidanceError, message).with_param("structured"));
    }
    let word = |token| match marks.iter().find(|mark| mark.token == token) {
        Some(mark) => [&[TokTrie::SPECIAL_TOKEN_MARKER], mark.text.as_bytes()].concat(),
        None => bytes(pieces.get(token, false)),
    };
    let mut words: Vec<Vec<u8>> = tokens(pieces).map(word).collect();
    if let Some(offset) = first_forms(pieces) {
        words.resize(offset as usize, Vec::new());
        words.extend(tokens(pieces).map(|token| bytes(pieces.get(token, true))));
    }
    if words.iter().map(Vec::len).sum::<usize>() > MAX_TRIE_BYTES {
        let message = "the model's vocabulary is too large: its answers cannot be structured";
        return Err(Error::new(Code::GuidanceError, message).with_param("structured"));
    }
    let trie = TokTrie::from(&TokRxInfo::new(u32::try_from(words.len()).unwrap_or(u32::MAX), INVALID_TOKEN), &words);
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// Where the vocabulary that llguidance sees holds every token a second time, as the first of a text: token `t` is there
/// as `first_forms + t`. A multiple of 32. Only vocabularies of words need this: almost every token of theirs is another
/// text in first place.
pub(super) fn first_forms(pieces: &Pieces) -> Option<u32> {
    pieces.joins_words.then(|| num_tokens(pieces).next_multiple_of(32))
}

/// Tokens that contribute something else to the beginning of a text than to its middle, as bits. The grammar takes a
/// token for what it is in the middle: an answer cannot begin with one of these, except in its first form.
pub(super) fn unfit_first(pieces: &Pieces) -> Vec<u32> {
    // Trimming removes one character from the beginning of a text, mostly the space.
    let trimmed = pieces.trim.content.encode_utf8(&mut [0; 4]).as_bytes()[0];
    let is_trimmed = |piece: Piece<'_>| pieces.trim.start > 0 && bytes(piece).first() == Some(&trimmed);
    let is_unfit = |token| {
        let first = pieces.get(token, true);
        first != pieces.get(token, false) || is_trimmed(first)
    };
    let mut bits = vec![0; pieces.len().div_ceil(32)];
    for token in tokens(pieces).filter(|token| is_unfit(*token)) {
        bits[token as usize / 32] |= 1 << (token % 32);
    }
    bits
}

fn tokens(pieces: &Pieces) -> impl Iterator<Item = TokenId> {
    0..num_tokens(pieces)
}

/// A vocabulary has fewer than 2^22 tokens.
fn num_tokens(pieces: &Pieces) -> u32 {
    u32::try_from(pieces.len()).unwrap_or(u32::MAX)
}

/// A token without bytes is never allowed.
fn bytes(piece: Piece<'_>) -> Vec<u8> {
    match piece {
        Piece::Byte(byte) => within_limits(&[byte]),
        Piece::Text(bytes) => within_limits(bytes),
        Piece::Nothing => Vec::new(),
    }
}

/// To the trie, the byte that no UTF-8 has marks special tokens.
fn within_limits(bytes: &[u8]) -> Vec<u8> {
    let is_fit = bytes.len() <= MAX_TOKEN_BYTES && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER);
    if is_fit { bytes.to_vec() } else { Vec::new() }
}
