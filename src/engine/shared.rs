//! The state that the handle and all model runners of an engine share. Each part has its own lock. Cached answers are served
//! here, on any thread, so that they do not wait for a step; `runner` joins requests to running generations.

use std::sync::Arc;

use crate::answers::{AnswerCache, AnswerLog, CachedAnswer, Claim, Close, ReaderId};
use crate::clock::Clock;
use crate::request::{Progress, Served};

use super::answer_parser::Readers;
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
}

impl SharedState {
    /// Gives a reader the cached answer to its request. Returns whether there is one.
    pub(super) fn serve(&self, reader: ReaderId, claim: &Claim) -> bool {
        let now = self.clock.now();
        let Some(CachedAnswer { log, outcome }) = self.answers.find(claim, now) else { return false };
        if let Some(end) = log.end() {
            self.stats.ended(&end);
            let total = end.map_or(0, |finished| finished.num_input_tokens);
            self.readers.progress(reader, Progress { processed: total, total, cached: total });
        }
        self.answers.count(outcome);
        self.readers.share(reader, log, Served::Cached, now, claim.seed);
        self.readers.notify([reader]);
        self.readers.wake();
        true
    }

    /// Ends the answer of a request that has no row, and counts it.
    pub(super) fn end(&self, reader: ReaderId, log: &AnswerLog, end: Close) {
        self.stats.ended(&end);
        log.close("", end);
        self.readers.notify([reader]);
        self.readers.wake();
    }
}
