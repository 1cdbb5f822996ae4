//! The state that the handle and all model runners of an engine share. Each part has its own lock. Cached answers are served
//! here, on any thread, so that they do not wait for a step; `runner` joins requests to running generations.

use std::sync::{Arc, OnceLock};

use crate::answers::{AnswerCache, AnswerLog, CachedAnswer, Claim, Close};
use crate::clock::Clock;
use crate::prefix_store::PrefixStore;
use crate::request::{Progress, Served};

use super::answer_parser::Readers;
use super::asked::Asked;
use super::router::Router;
use super::slots::SharedSlots;
use super::stats::Stats;

/// See the module.
#[derive(Clone)]
pub(super) struct SharedState {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readers: Arc<Readers>,
    pub(super) answers: Arc<AnswerCache>,
    pub(super) stats: Arc<Stats>,
    pub(super) slots: Arc<SharedSlots>,
    pub(super) router: Arc<Router>,
    /// The disk tier of the prefix cache, once there is one.
    pub(super) disk: Arc<OnceLock<Arc<PrefixStore>>>,
}

impl SharedState {
    /// The cached answer to a request.
    pub(super) fn cached(&self, claim: &Claim) -> Option<CachedAnswer> {
        self.answers.find(claim, self.clock.now())
    }

    /// Gives a reader the cached answer to its request.
    pub(super) fn serve(&self, asked: Asked, claim: &Claim, CachedAnswer { log, outcome }: CachedAnswer) {
        let (reader, now) = (asked.reader, self.clock.now());
        if let Some(end) = log.end() {
            self.stats.served(asked, &end, now);
            let total = end.map_or(0, |finished| finished.num_input_tokens);
            self.readers.progress(reader, Progress { processed: total, total, cached: total });
        }
        self.answers.count(outcome);
        self.router.ended([reader]);
        self.readers.share(reader, log, Served::Cached, now, claim.seed);
        self.readers.notify([reader]);
        self.readers.wake();
    }

    /// Ends the answer of a request that has no row, and counts it.
    pub(super) fn end(&self, asked: Asked, log: &AnswerLog, end: Close) {
        self.stats.ended(asked.label, &end);
        self.router.ended([asked.reader]);
        log.close("", end);
        self.readers.notify([asked.reader]);
        self.readers.wake();
    }
}
