//! The vocabulary in llguidance's form: the bytes that each token contributes to a text.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use crate::error::{Code, Error, Result};
use crate::request::TokenId;
use crate::text::token_table::{SpecialToken, TokenTable, TokenText};

/// The longest token that llguidance's trie can hold. Published vocabularies have one or two longer tokens, all spaces
/// or dashes; constrained answers cannot use them.
const MAX_TOKEN_BYTES: usize = 512;
/// All tokens together: the trie has at most one node for each byte.
const MAX_TRIE_BYTES: usize = 4 << 20;

/// The vocabulary for llguidance. Special tokens have no text, so a grammar allows only those that it names by id; they
/// must be among `special_tokens`. Executors allow end tokens, because each request has its own.
pub(super) fn environment(token_table: &TokenTable, special_tokens: &[SpecialToken]) -> Result<TokEnv> {
    let words = words(token_table, special_tokens)?;
    let trie = TokTrie::from(&TokRxInfo::new(u32::try_from(words.len()).unwrap_or(u32::MAX), INVALID_TOKEN), &words);
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The bytes of each token. An error if answers in this vocabulary cannot be constrained.
pub(super) fn words(token_table: &TokenTable, special_tokens: &[SpecialToken]) -> Result<Vec<Vec<u8>>> {
    if token_table.trim.stop > 0 {
        let message = "the model's tokenizer removes characters at the end of a text: its answers cannot be structured";
        return Err(Error::new(Code::GuidanceError, message).with_param("structured"));
    }
    let word = |token| match special_tokens.iter().find(|special| special.id == token) {
        Some(special) => [&[TokTrie::SPECIAL_TOKEN_MARKER], special.text.as_bytes()].concat(),
        None => bytes(token_table.get(token, false)),
    };
    let mut words: Vec<Vec<u8>> = tokens(token_table).map(word).collect();
    if let Some(offset) = first_forms(token_table) {
        words.resize(offset as usize, Vec::new());
        words.extend(tokens(token_table).map(|token| bytes(token_table.get(token, true))));
    }
    if words.iter().map(Vec::len).sum::<usize>() > MAX_TRIE_BYTES {
        let message = "the model's vocabulary is too large: its answers cannot be structured";
        return Err(Error::new(Code::GuidanceError, message).with_param("structured"));
    }
    Ok(words)
}

/// The offset of first forms: llguidance's vocabulary contains token `t` a second time as `offset + t`, with the text
/// that it has at the start of an answer. A multiple of 32. Only vocabularies of words need this, because almost all of
/// their tokens have another text there.
pub(super) fn first_forms(token_table: &TokenTable) -> Option<u32> {
    token_table.joins_words.then(|| num_tokens(token_table).next_multiple_of(32))
}

/// Bitmask of the tokens whose text differs at the start of an answer. The grammar assumes the text that a token has in
/// the middle, so an answer can start with one of these only in its first form.
pub(super) fn unfit_first(token_table: &TokenTable) -> Vec<u32> {
    // The character that the decoder trims at the start of a text, usually a space.
    let trimmed = token_table.trim.content.encode_utf8(&mut [0; 4]).as_bytes()[0];
    let is_trimmed =
        |token_text: TokenText<'_>| token_table.trim.start > 0 && bytes(token_text).first() == Some(&trimmed);
    let is_unfit = |token| {
        let first = token_table.get(token, true);
        first != token_table.get(token, false) || is_trimmed(first)
    };
    let mut bits = vec![0; token_table.len().div_ceil(32)];
    for token in tokens(token_table).filter(|token| is_unfit(*token)) {
        bits[token as usize / 32] |= 1 << (token % 32);
    }
    bits
}

fn tokens(token_table: &TokenTable) -> impl Iterator<Item = TokenId> {
    0..num_tokens(token_table)
}

/// A vocabulary has fewer than 2^22 tokens.
fn num_tokens(token_table: &TokenTable) -> u32 {
    u32::try_from(token_table.len()).unwrap_or(u32::MAX)
}

/// A token without bytes is never allowed.
fn bytes(token_text: TokenText<'_>) -> Vec<u8> {
    match token_text {
        TokenText::Byte(byte) => within_limits(&[byte]),
        TokenText::Text(bytes) => within_limits(bytes),
        TokenText::Nothing => Vec::new(),
    }
}

/// The trie uses a byte that never occurs in UTF-8 as the first byte of special tokens.
fn within_limits(bytes: &[u8]) -> Vec<u8> {
    let is_fit = bytes.len() <= MAX_TOKEN_BYTES && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER);
    if is_fit { bytes.to_vec() } else { Vec::new() }
}
