//! The bound on pending requests and on their prompt tokens. A request owns its permit from acceptance to its end,
//! wherever it is meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may be pending.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    token_limit: usize,
    num_taken: AtomicUsize,
    num_tokens: AtomicUsize,
    /// Requests refused since the last one was accepted.
    num_refused: AtomicUsize,
}

/// The right to be pending; returned on drop.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    num_tokens: usize,
}

impl Permits {
    pub(super) fn new(limit: usize, token_limit: usize) -> Arc<Self> {
        let [num_taken, num_tokens, num_refused] = Default::default();
        Arc::new(Self { limit, token_limit, num_taken, num_tokens, num_refused })
    }

    /// A permit, unless all are taken.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        if !raise(&self.num_taken, 1, |taken| taken < self.limit) {
            self.num_refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.num_refused.store(0, Ordering::Relaxed);
        Some(Permit { permits: Arc::clone(self), num_tokens: 0 })
    }

    pub(super) fn num_taken(&self) -> usize {
        self.num_taken.load(Ordering::Acquire)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn token_limit(&self) -> usize {
        self.token_limit
    }

    /// Callers that were refused and will come back, the present one included: a place for each has to become free.
    pub(super) fn num_refused(&self) -> usize {
        self.num_refused.load(Ordering::Relaxed).max(1)
    }
}

impl Permit {
    /// Extends the permit to the tokens of the prompt. A prompt is refused where others have taken the room; one that is
    /// alone always has it. Says how many tokens are pending with it where it is refused.
    pub(super) fn extend(&mut self, num_tokens: usize) -> Result<(), usize> {
        let Permits { token_limit, num_tokens: pending, .. } = &*self.permits;
        if raise(pending, num_tokens, |before| before == 0 || before.saturating_add(num_tokens) <= *token_limit) {
            self.num_tokens = num_tokens;
            Ok(())
        } else {
            Err(pending.load(Ordering::Relaxed).saturating_add(num_tokens))
        }
    }
}

/// Adds to a counter if that is allowed at its present value.
fn raise(counter: &AtomicUsize, by: usize, may: impl Fn(usize) -> bool) -> bool {
    let raised = |value: usize| may(value).then_some(value.saturating_add(by));
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, raised).is_ok()
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.num_taken.fetch_sub(1, Ordering::AcqRel);
        self.permits.num_tokens.fetch_sub(self.num_tokens, Ordering::AcqRel);
    }
}
