//! The bound on pending requests and on their prompt tokens. A request owns its permit from acceptance to its end,
//! wherever it is meanwhile. Answers to one prompt have a permit each, and share the room of the prompt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::slots::SharedSlots;

/// How much may be pending.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    token_limit: usize,
    num_taken: AtomicUsize,
    num_tokens: AtomicUsize,
    slots: Arc<SharedSlots>,
}

/// The right to be pending; returned on drop.
#[derive(Debug)]
pub(super) struct Permit(Arc<Room>);

/// What a prompt takes of the pending tokens; returned with the last permit that shares it.
#[derive(Debug)]
struct Room {
    permits: Arc<Permits>,
    /// Absent until the first of its answers is to be computed.
    num_tokens: OnceLock<usize>,
}

impl Permits {
    pub(super) fn new(limit: usize, token_limit: usize, slots: Arc<SharedSlots>) -> Arc<Self> {
        let [num_taken, num_tokens] = Default::default();
        Arc::new(Self { limit, token_limit, num_taken, num_tokens, slots })
    }

    /// Permits for so many answers to one prompt, unless too many are taken or kept for others: then the time after which to
    /// try again.
    pub(super) fn try_take(self: &Arc<Self>, count: usize, now: Instant) -> Result<Vec<Permit>, Duration> {
        let take = || raise(&self.num_taken, count, |taken| taken.saturating_add(count) <= self.limit);
        self.slots.enter(now, count, || self.num_taken(), take)?;
        let room = Arc::new(Room { permits: Arc::clone(self), num_tokens: OnceLock::new() });
        Ok((0..count).map(|_| Permit(Arc::clone(&room))).collect())
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
}

impl Permit {
    /// Extends the permit to the tokens of the prompt, for all who share its room: one thread does that for them, one after
    /// another. A prompt is refused where others have taken the room; one that is alone always has it. Says how many tokens
    /// are pending with it where it is refused.
    pub(super) fn extend(&self, num_tokens: usize) -> Result<(), usize> {
        let Room { permits, num_tokens: held } = &*self.0;
        let may = |pending: usize| pending == 0 || pending.saturating_add(num_tokens) <= permits.token_limit;
        if held.get().is_none() && !raise(&permits.num_tokens, num_tokens, may) {
            return Err(permits.num_tokens.load(Ordering::Relaxed).saturating_add(num_tokens));
        }
        held.get_or_init(|| num_tokens);
        Ok(())
    }
}

/// Adds to a counter if that is allowed at its present value.
fn raise(counter: &AtomicUsize, by: usize, may: impl Fn(usize) -> bool) -> bool {
    let raised = |value: usize| may(value).then_some(value.saturating_add(by));
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, raised).is_ok()
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.num_taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let num_tokens = self.num_tokens.take().unwrap_or_default();
        self.permits.num_tokens.fetch_sub(num_tokens, Ordering::AcqRel);
    }
}
