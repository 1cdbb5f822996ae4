//! The token table: the text that each token contributes, computed once per model, so that detokenizing a token is a
//! table look-up. This file interprets the tokenizer's decoder; `detokenizer` joins the texts.
//!
//! A decoder is a chain of stages. Those of generative models have three parts: stages that map one token (and know
//! whether it is the first), then at most one stage that joins bytes, then at most one that trims the whole text.

use std::borrow::Cow;

use tokenizers::{Decoder, DecoderWrapper, Tokenizer};

use crate::error::{Code, Error, Result};
use crate::request::TokenId;

/// Limit of token ids. Published vocabularies are smaller; the table has an entry for every id.
const MAX_VOCAB: usize = 1 << 22;
/// The longest token and the longest replacement. They bound the text that replacements make of one token.
const MAX_TOKEN_BYTES: usize = 16 << 10;
const MAX_REPLACEMENT_BYTES: usize = 1 << 10;
/// Text of the whole table.
const MAX_TABLE_BYTES: usize = 256 << 20;

/// The text that one token contributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenText<'a> {
    /// The token is unknown or special. It does not even count as the first token.
    Nothing,
    /// UTF-8 with [`Joining::ByteRuns`], any bytes with [`Joining::Lossy`].
    Text(&'a [u8]),
    /// One byte of a run of byte tokens.
    Byte(u8),
}

/// The text of one token by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSpelling<'a> {
    /// UTF-8. It may be only a part of a character, which several tokens make together.
    Text(Cow<'a, [u8]>),
    /// The name of a special token, which has no text in an answer; empty for an unknown id.
    Special(String),
}

/// A special token and its text. It has that text only in an answer whose parser needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpecialToken {
    pub(super) id: TokenId,
    pub(super) text: &'static str,
}

/// How the texts of tokens are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joining {
    /// As one stream of bytes. Each maximal invalid part becomes one U+FFFD.
    Lossy,
    /// As text. A run of byte tokens is text if all of it is UTF-8; otherwise each of its bytes becomes one U+FFFD.
    ByteRuns,
}

/// Removes a character from the ends of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) content: char,
    /// At most this many at the start.
    pub(super) start: usize,
    /// At most this many at the end.
    pub(super) stop: usize,
}

impl Trim {
    pub(super) const NOTHING: Self = Self { content: ' ', start: 0, stop: 0 };

    fn apply(self, token: &str) -> String {
        let is_content = |c: &char| *c == self.content;
        let start = token.chars().take(self.start).take_while(is_content).count();
        let stop = token.chars().rev().take(self.stop).take_while(is_content).count();
        let kept = token.chars().count().saturating_sub(start + stop);
        token.chars().skip(start).take(kept).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Nothing,
    Text { start: u32, end: u32 },
    Byte(u8),
}

/// The text of each token, as the first token of a text and as a later one.
#[derive(Debug)]
pub(super) struct TokenTable {
    bytes: Vec<u8>,
    rest: Vec<Slot>,
    /// Empty if the position makes no difference.
    first: Vec<Slot>,
    pub(super) joining: Joining,
    pub(super) trim: Trim,
    /// Tokens are words without spaces: the decoder writes a space before every token except the first.
    pub(super) joins_words: bool,
}

impl TokenTable {
    /// Reads the tokenizer's decoder and vocabulary.
    pub(super) fn build(tokenizer: &Tokenizer) -> Result<Self> {
        let plan = DecodePlan::read(tokenizer.get_decoder())?;
        let len = num_ids(tokenizer)?;
        let mut table = Self {
            bytes: Vec::new(),
            rest: Vec::with_capacity(len),
            first: Vec::with_capacity(len),
            joining: plan.joining,
            trim: plan.trim,
            joins_words: plan.joins_words(),
        };
        for id in 0..len {
            table.add(tokenizer, &plan, TokenId::try_from(id).expect("ids are below MAX_VOCAB"))?;
        }
        if !plan.is_first_special {
            table.first = Vec::new();
        }
        Ok(table)
    }

    /// Token ids are below this.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The text of a token; ids outside of the vocabulary contribute nothing.
    pub(super) fn get(&self, token: TokenId, is_first: bool) -> TokenText<'_> {
        let slots = if is_first && !self.first.is_empty() { &self.first } else { &self.rest };
        match slots.get(token as usize) {
            None | Some(Slot::Nothing) => TokenText::Nothing,
            Some(Slot::Text { start, end }) => TokenText::Text(&self.bytes[*start as usize..*end as usize]),
            Some(Slot::Byte(byte)) => TokenText::Byte(*byte),
        }
    }

    /// The token as a special token; `None` if it contributes text itself.
    pub(super) fn special_token(&self, id: TokenId, text: &'static str) -> Option<SpecialToken> {
        (self.get(id, false) == TokenText::Nothing).then_some(SpecialToken { id, text })
    }

    fn add(&mut self, tokenizer: &Tokenizer, plan: &DecodePlan<'_>, id: TokenId) -> Result<()> {
        let special = tokenizer.get_added_vocabulary();
        // The order of the crate's own `decode`: an added token overrides a token of the model.
        let token = special.simple_id_to_token(id).or_else(|| tokenizer.id_to_token(id));
        let Some(token) = token.filter(|token| !special.is_special_token(token)) else {
            self.rest.push(Slot::Nothing);
            self.first.push(Slot::Nothing);
            return Ok(());
        };
        let [first, rest] = plan.contributions(token)?;
        let rest_slot = self.slot(plan, &rest)?;
        let first_slot = if first == rest { rest_slot } else { self.slot(plan, &first)? };
        self.rest.push(rest_slot);
        self.first.push(first_slot);
        Ok(())
    }

    fn slot(&mut self, plan: &DecodePlan<'_>, text: &str) -> Result<Slot> {
        if plan.has_byte_tokens
            && let Some(byte) = byte_of(text)
        {
            return Ok(Slot::Byte(byte));
        }
        let start = self.bytes.len();
        match plan.joining {
            Joining::Lossy => push_byte_level(&mut self.bytes, text),
            Joining::ByteRuns => self.bytes.extend_from_slice(text.as_bytes()),
        }
        if self.bytes.len() > MAX_TABLE_BYTES {
            return Err(too_large("its tokens together", self.bytes.len(), MAX_TABLE_BYTES));
        }
        let place = |at: usize| u32::try_from(at).expect("MAX_TABLE_BYTES fits");
        Ok(Slot::Text { start: place(start), end: place(self.bytes.len()) })
    }
}

/// A stage that maps one token and knows only whether it is the first.
enum Local<'a> {
    Decoder(&'a DecoderWrapper),
    Trim(Trim),
}

struct DecodePlan<'a> {
    locals: Vec<Local<'a>>,
    /// Without a decoder, tokens are words separated by spaces.
    is_spaced: bool,
    is_first_special: bool,
    has_byte_tokens: bool,
    joining: Joining,
    trim: Trim,
}

impl<'a> DecodePlan<'a> {
    fn read(decoder: Option<&'a DecoderWrapper>) -> Result<Self> {
        let mut plan = Self {
            locals: Vec::new(),
            is_spaced: decoder.is_none(),
            is_first_special: decoder.is_none(),
            has_byte_tokens: false,
            joining: Joining::ByteRuns,
            trim: Trim::NOTHING,
        };
        let mut stages = Vec::new();
        if let Some(decoder) = decoder {
            flatten(decoder, &mut stages);
        }
        let mut stages = stages.into_iter().peekable();
        while let Some(stage) = stages.next_if(|stage| is_local(stage)) {
            plan.add_local(stage)?;
        }
        // Later stages see more than one token. Only these orders can be streamed.
        let mut is_whole = false;
        for stage in stages {
            match stage {
                DecoderWrapper::ByteLevel(_) if !is_whole && !plan.has_byte_tokens => {
                    plan.joining = Joining::Lossy;
                    is_whole = true;
                }
                DecoderWrapper::ByteFallback(_) if !is_whole && !plan.has_byte_tokens => plan.has_byte_tokens = true,
                DecoderWrapper::Fuse(_) => is_whole = true,
                DecoderWrapper::Strip(strip) if is_whole && plan.trim == Trim::NOTHING => plan.trim = trim_of(strip),
                other => return Err(unsupported(other)),
            }
        }
        Ok(plan)
    }

    fn add_local(&mut self, stage: &'a DecoderWrapper) -> Result<()> {
        let local = match stage {
            DecoderWrapper::Strip(strip) => Local::Trim(trim_of(strip)),
            DecoderWrapper::Replace(replace) if replace.content.len() > MAX_REPLACEMENT_BYTES => {
                return Err(too_large("a replacement of its decoder", replace.content.len(), MAX_REPLACEMENT_BYTES));
            }
            other => Local::Decoder(other),
        };
        self.is_first_special |= matches!(stage, DecoderWrapper::Metaspace(_) | DecoderWrapper::WordPiece(_));
        self.locals.push(local);
        Ok(())
    }

    /// See [`TokenTable::joins_words`].
    fn joins_words(&self) -> bool {
        let is_word_piece = |local: &Local<'_>| matches!(local, Local::Decoder(DecoderWrapper::WordPiece(_)));
        self.is_spaced || self.locals.iter().any(is_word_piece)
    }

    /// The text of a token as the first one and as a later one.
    fn contributions(&self, token: String) -> Result<[String; 2]> {
        check_token(&token)?;
        let spaced = if self.is_spaced { format!(" {token}") } else { token.clone() };
        let mut pair = [token, spaced];
        for local in &self.locals {
            pair = match local {
                Local::Trim(trim) => pair.map(|token| trim.apply(&token)),
                // Given the token twice, the decoder returns its text in first and in second position.
                Local::Decoder(decoder) => decoder
                    .decode_chain(pair.into())
                    .ok()
                    .and_then(|tokens| <[String; 2]>::try_from(tokens).ok())
                    .ok_or_else(|| {
                        Error::new(Code::TokenizerError, "its decoder failed on a token of the vocabulary")
                    })?,
            };
            pair.iter().try_for_each(|token| check_token(token))?;
        }
        Ok(pair)
    }
}

fn flatten<'a>(decoder: &'a DecoderWrapper, stages: &mut Vec<&'a DecoderWrapper>) {
    match decoder {
        DecoderWrapper::Sequence(sequence) => {
            for stage in sequence.get_decoders() {
                flatten(stage, stages);
            }
        }
        stage => stages.push(stage),
    }
}

fn is_local(stage: &DecoderWrapper) -> bool {
    use DecoderWrapper::{Metaspace, Replace, Strip, WordPiece};
    matches!(stage, Replace(_) | Metaspace(_) | WordPiece(_) | Strip(_))
}

fn trim_of(strip: &tokenizers::decoders::strip::Strip) -> Trim {
    Trim { content: strip.content, start: strip.start, stop: strip.stop }
}

fn num_ids(tokenizer: &Tokenizer) -> Result<usize> {
    let highest = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
    let len = highest.max(tokenizer.get_vocab_size(false));
    if len > MAX_VOCAB { Err(too_large("its highest token id", len, MAX_VOCAB)) } else { Ok(len) }
}

fn check_token(token: &str) -> Result<()> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(too_large("a token", token.len(), MAX_TOKEN_BYTES));
    }
    Ok(())
}

/// The byte of a token like `<0x0A>`. Accepts exactly what the crate accepts.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// Decodes the byte-level alphabet, which writes every byte as one printable character. A token with a character
/// outside of that alphabet stands for itself.
fn push_byte_level(bytes: &mut Vec<u8>, token: &str) {
    let start = bytes.len();
    for c in token.chars() {
        if let Some(byte) = byte_level(c) {
            bytes.push(byte);
        } else {
            bytes.truncate(start);
            bytes.extend_from_slice(token.as_bytes());
            return;
        }
    }
}

/// Printable bytes stand for themselves; the other 68 are, in order, the characters from U+0100.
pub(super) fn byte_level(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

fn too_large(what: &str, is: usize, limit: usize) -> Error {
    Error::new(Code::TokenizerError, format!("{what}: {is}, and at most {limit} is allowed"))
}

fn unsupported(stage: &DecoderWrapper) -> Error {
    let kind = match stage {
        DecoderWrapper::BPE(_) => "BPEDecoder",
        DecoderWrapper::CTC(_) => "CTC",
        DecoderWrapper::ByteLevel(_) => "ByteLevel",
        DecoderWrapper::ByteFallback(_) => "ByteFallback",
        DecoderWrapper::Metaspace(_) => "Metaspace",
        DecoderWrapper::WordPiece(_) => "WordPiece",
        DecoderWrapper::Replace(_) => "Replace",
        DecoderWrapper::Strip(_) => "Strip",
        DecoderWrapper::Fuse(_) => "Fuse",
        DecoderWrapper::Sequence(_) => "Sequence",
    };
    Error::new(Code::UnsupportedModel, format!("its decoder has a `{kind}` stage where it cannot be streamed"))
}
