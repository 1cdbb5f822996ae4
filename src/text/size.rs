//! Computes the longest text of one token, in bytes. With this limit, a text that cannot fit the context is found before
//! it is tokenized. There is no such limit if a tokenizer can drop text, or turn text of any length into one token.

use std::collections::HashMap;

use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::{Model, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

/// Bytes that one byte of a Unicode normal form may come from: up to 4 characters of 4 bytes each become one character.
const MAX_NORMAL_FORM_SHRINK: usize = 16;
/// `K` (the Kelvin sign, 3 bytes) is `k` in lower case.
const MAX_LOWERCASE_SHRINK: usize = 4;

/// The longest text of one token, in bytes; `None` without a limit.
pub(super) fn max_bytes_per_token(tokenizer: &Tokenizer) -> Option<usize> {
    let shrink = tokenizer.get_normalizer().map_or(Some(1), shrink)?;
    let pre_tokenizer = tokenizer.get_pre_tokenizer();
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    // Such a token includes all white space next to it.
    let takes_space = added.values().any(|token| token.lstrip || token.rstrip);
    if takes_space || !pre_tokenizer.is_none_or(keeps_all) {
        return None;
    }
    let vocab = tokenizer.get_model().get_vocab();
    let is_byte_level =
        pre_tokenizer.is_some_and(is_byte_level) || tokenizer.get_normalizer().is_some_and(writes_bytes);
    if !stands_for_every_byte(tokenizer.get_model(), &vocab, is_byte_level) {
        return None;
    }
    let longest = vocab.keys().map(String::len).chain(added.values().map(|token| token.content.len())).max()?;
    Some(longest.max(1).saturating_mul(shrink))
}

/// How many times longer the input of a normalizer can be than its output.
fn shrink(normalizer: &NormalizerWrapper) -> Option<usize> {
    match normalizer {
        NormalizerWrapper::Sequence(stages) => {
            stages.as_ref().iter().try_fold(1, |all: usize, stage| Some(all.saturating_mul(shrink(stage)?)))
        }
        NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_) => Some(MAX_NORMAL_FORM_SHRINK),
        NormalizerWrapper::Lowercase(_) => Some(MAX_LOWERCASE_SHRINK),
        NormalizerWrapper::Replace(replace) => {
            let pattern = pattern_of(replace)?;
            (!replace.content.is_empty()).then(|| pattern.len().div_ceil(replace.content.len()).max(1))
        }
        NormalizerWrapper::Prepend(_) | NormalizerWrapper::ByteLevel(_) => Some(1),
        _ => None,
    }
}

/// The text that is replaced; `None` for a regular expression. The crate exposes it only in serialized form.
pub(super) fn pattern_of(replace: &tokenizers::normalizers::Replace) -> Option<String> {
    let written = serde_json::to_value(replace).ok()?;
    match serde_json::from_value(written["pattern"].clone()).ok()? {
        ReplacePattern::String(pattern) => Some(pattern),
        ReplacePattern::Regex(_) => None,
    }
}

/// Whether the pre-tokenizer keeps all text.
fn keeps_all(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(stages) => stages.as_ref().iter().all(keeps_all),
        PreTokenizerWrapper::ByteLevel(_) | PreTokenizerWrapper::Metaspace(_) | PreTokenizerWrapper::Digits(_) => true,
        PreTokenizerWrapper::Split(split) => split.behavior != SplitDelimiterBehavior::Removed,
        PreTokenizerWrapper::Punctuation(punctuation) => punctuation.behavior != SplitDelimiterBehavior::Removed,
        _ => false,
    }
}

fn is_byte_level(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(stages) => stages.as_ref().iter().any(is_byte_level),
        PreTokenizerWrapper::ByteLevel(_) => true,
        _ => false,
    }
}

fn writes_bytes(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Sequence(stages) => stages.as_ref().iter().any(writes_bytes),
        NormalizerWrapper::ByteLevel(_) => true,
        _ => false,
    }
}

/// Whether every text has tokens. Otherwise an unknown part of any length may be one token or none.
fn stands_for_every_byte(model: &ModelWrapper, vocab: &HashMap<String, u32>, is_byte_level: bool) -> bool {
    let has_bytes = || (0..=u8::MAX).all(|byte| vocab.contains_key(&format!("<0x{byte:02X}>")));
    let has_alphabet = || {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        alphabet.iter().all(|c| vocab.contains_key(c.encode_utf8(&mut [0; 4]) as &str))
    };
    match model {
        ModelWrapper::BPE(bpe) if bpe.byte_fallback => has_bytes(),
        ModelWrapper::BPE(bpe) => {
            let is_plain = bpe.continuing_subword_prefix.is_none() && bpe.end_of_word_suffix.is_none();
            is_byte_level && is_plain && has_alphabet()
        }
        ModelWrapper::Unigram(unigram) if unigram.byte_fallback() => has_bytes(),
        _ => false,
    }
}
