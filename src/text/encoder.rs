//! Encodes text as the tokens of a model. Limits the text before the tokenizers crate sees it.

use std::ops::Range;
use std::path::PathBuf;

use tokenizers::Tokenizer;

use super::control::ControlTokens;
use super::failure::{broken, guarded, named};
use super::jinja::Rendered;
use super::size;
use super::slices::{Failure, MAX_WHOLE_BYTES, SLICE_BYTES, Slicer, Source, plain};
use crate::error::{Code, Error, Result};
use crate::request::TokenId;

/// A tokenizer with its limits.
#[derive(Debug)]
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    /// The file of the tokenizer, for messages.
    path: PathBuf,
    /// Token ids are below this.
    num_ids: usize,
    /// The longest text of one token, in bytes; `None` without a limit.
    pub(super) max_bytes_per_token: Option<usize>,
    slicer: Option<Slicer>,
    control: ControlTokens,
    /// What the tokenizer puts before a text, such as a beginning-of-sequence token.
    begin: Vec<TokenId>,
}

/// The tokens around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Those that the tokenizer adds, such as a beginning-of-sequence token.
    Tokenizer,
    /// None.
    Nothing,
}

impl Encoder {
    pub(super) fn new(tokenizer: Tokenizer, path: PathBuf, num_ids: usize, control: ControlTokens) -> Self {
        let max_bytes_per_token = size::max_bytes_per_token(&tokenizer);
        let slicer = Slicer::of(&tokenizer);
        let begin = begin_of(&tokenizer);
        Self { tokenizer, path, num_ids, max_bytes_per_token, slicer, control, begin }
    }

    /// The entry of a token in the vocabulary.
    pub(super) fn name_of(&self, token: TokenId) -> Option<String> {
        self.tokenizer.id_to_token(token)
    }

    /// The tokens of a text. A long text fails with `ContextLengthExceeded` as soon as it has more than `most` tokens.
    pub(super) fn encode(&self, text: &str, frame: Frame, most: usize) -> Result<Vec<TokenId>> {
        let tokens = plain(&self.tokenizer, text);
        self.encode_with(&Source { tokenizer: &self.tokenizer, text, tokens: &tokens }, frame, most)
    }

    /// Whether a text spells a token that structures prompts, such as the end of a turn.
    pub(super) fn has_control_token(&self, text: &str) -> bool {
        self.control.are_spelled(text)
    }

    /// Like [`Self::encode`], for a prompt in which strings from outside of the template must not become control
    /// tokens.
    pub(super) fn encode_marked(&self, rendered: &Rendered, frame: Frame, most: usize) -> Result<Vec<TokenId>> {
        let is_forged = guarded(|| Ok(self.control.are_forged(&self.tokenizer, rendered)));
        if !is_forged.map_err(|panic| named(&self.path, &panic))? {
            return self.encode(&rendered.text, frame, most);
        }
        let tokens = |range: Range<usize>, is_framed: bool| {
            self.control.encode(&self.tokenizer, &rendered.part(range), is_framed)
        };
        self.encode_with(&Source { tokenizer: &self.tokenizer, text: &rendered.text, tokens: &tokens }, frame, most)
    }

    fn encode_with(&self, source: &Source<'_>, frame: Frame, most: usize) -> Result<Vec<TokenId>> {
        let ids = guarded(|| Ok(self.ids(source, frame, most))).map_err(|panic| named(&self.path, &panic))?;
        let ids = ids.map_err(|failure| self.error(failure, most))?;
        // A post-processor can produce ids outside of the vocabulary. They must not reach the device.
        let Some(id) = ids.iter().find(|id| **id as usize >= self.num_ids) else { return Ok(ids) };
        let message = format!("it produced token {id}; token ids are below {}", self.num_ids);
        Err(named(&self.path, &Error::new(Code::TokenizerError, message)))
    }

    fn ids(&self, source: &Source<'_>, frame: Frame, most: usize) -> Result<Vec<TokenId>, Failure> {
        let is_framed = frame == Frame::Tokenizer;
        let len = source.text.len();
        let mut ids = match &self.slicer {
            Some(slicer) if len > SLICE_BYTES => slicer.encode(source, is_framed, most)?,
            _ if len > MAX_WHOLE_BYTES => return Err(Failure::Uncut(len)),
            _ => (source.tokens)(0..len, is_framed).map_err(Failure::Tokenizer)?,
        };
        // As in mlx-lm, a prompt that has its beginning, such as a rendered chat, gets no second one.
        let num_begin = self.begin.len();
        if is_framed && num_begin > 0 && ids[num_begin.min(ids.len())..].starts_with(&self.begin) {
            ids.drain(..num_begin);
        }
        Ok(ids)
    }

    fn error(&self, failure: Failure, most: usize) -> Error {
        match failure {
            Failure::Tokenizer(error) => named(&self.path, &broken(error.as_ref())),
            Failure::Uncut(num_bytes) => {
                let message = format!(
                    "the text has {num_bytes} bytes that this model's tokenizer must see at once; at most \
                     {MAX_WHOLE_BYTES} are allowed"
                );
                Error::new(Code::InvalidParams, message).with_limit(MAX_WHOLE_BYTES as f64, num_bytes as f64)
            }
            Failure::TooMany(num_tokens) => {
                let message = format!("the prompt has at least {num_tokens} tokens, but the context is {most}");
                Error::new(Code::ContextLengthExceeded, message).with_limit(most as f64, num_tokens as f64)
            }
        }
    }
}

/// The tokens that a tokenizer puts before a text.
fn begin_of(tokenizer: &Tokenizer) -> Vec<TokenId> {
    const TEXT: &str = "a";
    let encode = |is_framed| {
        // A broken tokenizer may panic. Its prompts fail later, with an error that names it.
        let encoded = guarded(|| Ok(plain(tokenizer, TEXT)(0..TEXT.len(), is_framed).unwrap_or_default()));
        encoded.unwrap_or_default()
    };
    let (framed, bare) = (encode(true), encode(false));
    let start = framed.windows(bare.len().max(1)).position(|window| window == bare);
    framed[..start.unwrap_or(0)].to_vec()
}
