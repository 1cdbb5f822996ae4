//! Settings of a model's prefix cache, and the errors of requests that fail because of pinned prompts. The scheduler decides
//! which prompts may be pinned.

use crate::error::{Code, Error};
use crate::request::PinId;
use crate::scheduler::{PinRefusal, PrefixConfig};

use super::ModelRunner;

impl ModelRunner {
    /// Sets what the KV of all models may take.
    pub(in super::super) fn set_kv_total(&mut self, bytes: u64) {
        self.scheduler.set_kv_total(bytes);
    }

    /// Releases a pinned prompt.
    pub(in super::super) fn unpin(&mut self, pin: PinId) {
        self.scheduler.unpin(pin);
    }

    /// Drops KV that is retained for later requests.
    pub(in super::super) fn forget_prefixes(&mut self) {
        self.forget_disk();
        self.scheduler.forget_prefixes();
    }

    /// Changes which KV is reused.
    pub(in super::super) fn configure_prefixes(&mut self, config: PrefixConfig) {
        self.scheduler.configure_prefixes(config);
    }
}

/// The error of a request that the scheduler refuses.
pub(super) fn refused(refusal: PinRefusal) -> Error {
    match refusal {
        PinRefusal::Disabled => {
            Error::config("cache.prefixCache.enabled", "is off: without the prefix cache no prompt can be pinned")
        }
        PinRefusal::Short { num_tokens, least } => {
            let message = format!(
                "the prompt has {num_tokens} tokens, but no request reuses fewer than {least} \
                 (`cache.prefixCache.minTokens`)"
            );
            let error = Error::new(Code::InvalidParams, message).with_param("prompt");
            error.with_limit(least as f64, num_tokens as f64)
        }
        PinRefusal::TooMany(most) => {
            let message = format!("{most} prompts of this model are pinned, which is the limit: release one");
            Error::new(Code::InsufficientMemory, message).with_limit(most as f64, most as f64 + 1.0)
        }
        PinRefusal::Memory { needed, pinned, most } => {
            let message = format!(
                "the prompt takes {needed} bytes of KV and other pinned prompts have {pinned}, but all of them may have \
                 {most}: release one, or raise `cache.prefixCache.maxPinnedPercent` or `memory.kvBytes`"
            );
            let requested = needed.saturating_add(pinned);
            Error::new(Code::InsufficientMemory, message).with_limit(most as f64, requested as f64)
        }
        PinRefusal::Pending { needed, left } => {
            let message = format!(
                "the prompt takes {needed} bytes of KV, but a request that was accepted may need all but {left}: pin the \
                 prompt when that request has ended, or raise `memory.kvBytes`"
            );
            Error::new(Code::InsufficientMemory, message).with_limit(left as f64, needed as f64)
        }
        PinRefusal::Beside { needed, pinned, total } => {
            let message = format!(
                "prompt and answer may take {needed} bytes of KV and pinned prompts have {pinned}, but there are {total}: \
                 lower `maxTokens`, release a pinned prompt, or raise `memory.kvBytes`"
            );
            let left = total.saturating_sub(pinned);
            Error::new(Code::InsufficientMemory, message).with_limit(left as f64, needed as f64)
        }
    }
}

/// The error of a request whose prompt was read and is not pinned.
pub(super) fn dropped() -> Error {
    Error::new(
        Code::Cancelled,
        "the prompt was released before it was read: by `cache.clear()`, or with the prefix cache",
    )
}
