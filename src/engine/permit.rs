//! Limits the number of pending requests and of their prompt tokens. A request owns its permit from acceptance to its
//! end; dropping the permit returns it. The `n` answers of one request have one permit each and share the prompt's tokens.
//! `slots` decides which callers may take a permit; `refusal` makes the error for those that may not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::pending::Caller;
use super::slots::{Refused, SharedSlots};

/// The limits on pending answers and tokens, and their counters.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    token_limit: usize,
    num_tokens: AtomicUsize,
    slots: Arc<SharedSlots>,
}

/// One pending answer; returned on drop.
#[derive(Debug)]
pub(super) struct Permit(Arc<PromptTokens>);

/// The tokens of one prompt, counted as pending; returned with the last permit of the prompt.
#[derive(Debug)]
struct PromptTokens {
    permits: Arc<Permits>,
    caller: Caller,
    /// Set by the first [`Permit::extend`] that succeeds.
    num_tokens: OnceLock<usize>,
}

impl Permits {
    pub(super) fn new(limit: usize, token_limit: usize, slots: Arc<SharedSlots>) -> Arc<Self> {
        Arc::new(Self { limit, token_limit, num_tokens: AtomicUsize::default(), slots })
    }

    /// Takes `count` permits for the answers to one prompt, or none.
    pub(super) fn try_take(
        self: &Arc<Self>,
        count: usize,
        caller: Caller,
        now: Instant,
    ) -> Result<Vec<Permit>, Refused> {
        self.slots.enter(now, &caller, count)?;
        let tokens = Arc::new(PromptTokens { permits: Arc::clone(self), caller, num_tokens: OnceLock::new() });
        Ok((0..count).map(|_| Permit(Arc::clone(&tokens))).collect())
    }

    pub(super) fn num_taken(&self) -> usize {
        self.slots.num_pending()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn token_limit(&self) -> usize {
        self.token_limit
    }
}

impl Permit {
    /// Counts the tokens of the prompt as pending, once for all answers of the request. A prompt longer than the limit is
    /// accepted while no other tokens are pending. The error is how many tokens would be pending.
    ///
    /// One thread calls this for all answers of a request, so `held` is not raced for.
    pub(super) fn extend(&self, num_tokens: usize) -> Result<(), usize> {
        let PromptTokens { permits, num_tokens: held, .. } = &*self.0;
        let may = |pending: usize| pending == 0 || pending.saturating_add(num_tokens) <= permits.token_limit;
        if held.get().is_none() && !raise(&permits.num_tokens, num_tokens, may) {
            return Err(permits.num_tokens.load(Ordering::Relaxed).saturating_add(num_tokens));
        }
        held.get_or_init(|| num_tokens);
        Ok(())
    }
}

/// Adds to a counter if `may` allows it at the counter's value.
fn raise(counter: &AtomicUsize, by: usize, may: impl Fn(usize) -> bool) -> bool {
    let raised = |value: usize| may(value).then_some(value.saturating_add(by));
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, raised).is_ok()
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.slots.leave(&self.0.caller);
    }
}

impl Drop for PromptTokens {
    fn drop(&mut self) {
        let num_tokens = self.num_tokens.take().unwrap_or_default();
        self.permits.num_tokens.fetch_sub(num_tokens, Ordering::AcqRel);
    }
}
