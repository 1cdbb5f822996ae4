//! A request that was accepted, on its way through the text pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::answers::{AnswerLog, Claim, ReaderId};
use crate::request::{Request, SequenceId};

use super::command::{ModelKey, Submission};
use super::permit::Permit;

/// What the request has been given; the rest comes with its prompt.
pub(super) struct Ticket {
    pub(super) model: ModelKey,
    pub(super) sequence: SequenceId,
    pub(super) reader: ReaderId,
    pub(super) log: Arc<AnswerLog>,
    pub(super) permit: Permit,
    pub(super) coming: Coming,
}

impl Ticket {
    /// Before it is sent, it is no longer coming: who counts it twice might wait for nobody.
    pub(super) fn with(self, request: Request, claim: Option<Claim>) -> Submission {
        let Self { model, sequence, reader, log, permit, coming } = self;
        drop(coming);
        Submission { model, sequence, reader, request, claim, log, permit }
    }
}

/// One request more that is coming, for those who consider waiting for it, until this is dropped.
pub(super) struct Coming(Arc<AtomicUsize>);

impl Coming {
    pub(super) fn announce(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
