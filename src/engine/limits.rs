//! Limits on the size of a prompt. Bytes are checked before a prompt is copied, and again after a template is rendered;
//! tokens are checked after tokenization. `permit` limits the prompts of all pending requests together.

use crate::error::{Code, Error, Result};

/// Most bytes of text in a prompt, for every model; about 8 million tokens. It bounds the time and memory of copying and
/// tokenizing where the model's context does not.
pub const MAX_PROMPT_BYTES: usize = 32 << 20;

/// Limits on the prompts of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLimits {
    /// Positions of a sequence.
    pub context_length: usize,
    /// Most bytes of text that one token can represent; absent if the tokenizer sets no limit.
    pub max_bytes_per_token: Option<usize>,
}

impl PromptLimits {
    /// The limits where the model is unknown.
    pub const NONE: Self = Self { context_length: usize::MAX, max_bytes_per_token: None };

    /// Refuses a text with so many bytes that it cannot fit the context. `num_bytes` may be a lower bound of the text's
    /// size.
    pub fn check_bytes(&self, num_bytes: usize) -> Result<()> {
        let least = self.max_bytes_per_token.map_or(0, |most| num_bytes.div_ceil(most));
        let limit = self.context_length;
        if least >= limit {
            let message = format!(
                "the prompt has {num_bytes} bytes of text. That is at least {least} tokens, and at least 1 may be \
                 generated, but the context is {limit}"
            );
            let error = Error::new(Code::ContextLengthExceeded, message);
            return Err(error.with_limit(limit as f64, least as f64 + 1.0));
        }
        if num_bytes > MAX_PROMPT_BYTES {
            let message = format!("has {num_bytes} bytes of text; at most {MAX_PROMPT_BYTES} are allowed");
            let error = Error::invalid("prompt", message);
            return Err(error.with_limit(MAX_PROMPT_BYTES as f64, num_bytes as f64));
        }
        Ok(())
    }

    /// Refuses a prompt that does not fit the context together with the `asked` tokens to generate (at least 1).
    pub fn check_tokens(&self, num_tokens: usize, asked: Option<usize>) -> Result<()> {
        let limit = self.context_length;
        let needed = num_tokens.saturating_add(asked.unwrap_or(1));
        if needed <= limit {
            return Ok(());
        }
        let message = format!(
            "the prompt has {num_tokens} tokens and {} may be generated: together {needed}, but the context is {limit}",
            asked.map_or("at least 1".to_owned(), |asked| asked.to_string()),
        );
        Err(Error::new(Code::ContextLengthExceeded, message).with_limit(limit as f64, needed as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PromptLimits = PromptLimits { context_length: 10, max_bytes_per_token: Some(4) };

    #[test]
    fn bytes_that_leave_no_room_for_an_answer_are_refused() {
        assert!(LIMITS.check_bytes(9 * 4).is_ok());
        let error = LIMITS.check_bytes(9 * 4 + 1).expect_err("too much");
        let reported = (error.code(), error.limit(), error.requested());
        assert_eq!(reported, (Code::ContextLengthExceeded, Some(10.0), Some(11.0)), "{error}");
    }

    #[test]
    fn a_text_has_a_byte_limit_even_if_the_tokenizer_sets_none() {
        let limits = PromptLimits { max_bytes_per_token: None, ..LIMITS };
        assert!(
            limits.check_bytes(MAX_PROMPT_BYTES).is_ok() && PromptLimits::NONE.check_bytes(MAX_PROMPT_BYTES).is_ok()
        );
        assert_eq!(limits.check_bytes(MAX_PROMPT_BYTES + 1).expect_err("too much").code(), Code::InvalidParams);
    }

    #[test]
    fn prompt_tokens_and_max_tokens_must_fit_together() {
        assert!(LIMITS.check_tokens(9, None).is_ok() && LIMITS.check_tokens(5, Some(5)).is_ok());
        let error = LIMITS.check_tokens(10, None).expect_err("too much");
        assert_eq!((error.limit(), error.requested()), (Some(10.0), Some(11.0)), "{error}");
        assert!(LIMITS.check_tokens(5, Some(6)).is_err() && LIMITS.check_tokens(usize::MAX, Some(usize::MAX)).is_err());
    }
}
