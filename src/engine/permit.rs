//! The bound on pending requests. A request owns its permit from acceptance to its end, wherever it is meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests may be pending.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    num_taken: AtomicUsize,
}

/// The right to be pending; returned on drop.
#[derive(Debug)]
pub(super) struct Permit(Arc<Permits>);

impl Permits {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, num_taken: AtomicUsize::new(0) })
    }

    /// A permit, unless all are taken.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let take = |taken: usize| (taken < self.limit).then_some(taken + 1);
        self.num_taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    pub(super) fn num_taken(&self) -> usize {
        self.num_taken.load(Ordering::Acquire)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.num_taken.fetch_sub(1, Ordering::AcqRel);
    }
}
