//! Packs log-probabilities with the texts of their tokens. `lib/logprobs.ts` unpacks them.

use napi::Env;
use napi::bindgen_prelude::{Float32ArraySlice, JsObjectValue, Object, Uint8ArraySlice, Uint32ArraySlice};

use crate::answers::Logprobs;
use crate::engine::ParsedDelivery;
use crate::text::{ModelText, TokenSpelling};

use super::counts::{num_utf16, to_u32};

/// The log-probabilities of some tokens of an answer.
pub(super) struct LogprobsPiece<'a> {
    pub(super) logprobs: &'a Logprobs,
    /// Spells the tokens; set if there are any.
    pub(super) text: Option<&'a ModelText>,
}

impl<'a> From<&'a ParsedDelivery> for LogprobsPiece<'a> {
    fn from(ParsedDelivery { delivery, text, .. }: &'a ParsedDelivery) -> Self {
        Self { logprobs: &delivery.logprobs, text: text.as_deref() }
    }
}

/// Packed entries. For each token of the answer: its own entry, then the entries of the most probable tokens.
#[derive(Default)]
struct Packed {
    /// For each piece, the number of entries of each token.
    per_token: Vec<u32>,
    tokens: Vec<u32>,
    values: Vec<f32>,
    /// The texts of all entries. A part of a character is U+FFFD.
    texts: String,
    /// Their bytes; those of a special token are left out.
    bytes: Vec<u8>,
    /// Pairs, one for each entry: UTF-16 code units of its text, and bytes.
    sizes: Vec<u32>,
}

/// Packs the log-probabilities of several pieces of answers.
pub(super) fn pack<'env, 'a>(
    env: &'env Env,
    pieces: impl IntoIterator<Item = LogprobsPiece<'a>>,
) -> napi::Result<Object<'env>> {
    let mut packed = Packed::default();
    pieces.into_iter().for_each(|piece| packed.add(&piece));
    packed.into_object(env)
}

impl Packed {
    fn add(&mut self, LogprobsPiece { logprobs, text }: &LogprobsPiece<'_>) {
        self.per_token.push(to_u32(logprobs.per_token));
        for entry in &logprobs.values {
            self.tokens.push(entry.token);
            self.values.push(entry.logprob);
            self.spell(text.map_or_else(|| TokenSpelling::Special(String::new()), |text| text.spell(entry.token)));
        }
    }

    fn spell(&mut self, spelling: TokenSpelling<'_>) {
        let (text_start, bytes_start) = (self.texts.len(), self.bytes.len());
        match spelling {
            TokenSpelling::Text(bytes) => {
                self.texts.push_str(&String::from_utf8_lossy(&bytes));
                self.bytes.extend_from_slice(&bytes);
            }
            TokenSpelling::Special(name) => self.texts.push_str(&name),
        }
        let num_units = num_utf16(&self.texts[text_start..]);
        self.sizes.extend([to_u32(num_units), to_u32(self.bytes.len() - bytes_start)]);
    }

    fn into_object(self, env: &Env) -> napi::Result<Object<'_>> {
        let Self { per_token, tokens, values, texts, bytes, sizes } = self;
        let mut object = Object::new(env)?;
        object.set_named_property("perToken", Uint32ArraySlice::copy_from(env, per_token)?)?;
        object.set_named_property("tokens", Uint32ArraySlice::copy_from(env, tokens)?)?;
        object.set_named_property("values", Float32ArraySlice::copy_from(env, values)?)?;
        object.set_named_property("texts", texts)?;
        object.set_named_property("bytes", Uint8ArraySlice::copy_from(env, bytes)?)?;
        object.set_named_property("sizes", Uint32ArraySlice::copy_from(env, sizes)?)?;
        Ok(object)
    }
}
