//! How a request comes to the answer of another one. An answer that has ended is given on any thread, so that nobody
//! waits for a step to have what is there. Joining what runs is the engine thread's alone: it also ends generations and
//! takes readers out of them, one command after another, so a generation is joined either before its end or not at all.

use std::sync::Arc;

use crate::answers::{CacheOutcome, CachedAnswer, Claim, ReaderId, Settings};
use crate::request::{Progress, SequenceId, Served};
use crate::scheduler::Urgency;

use super::Engine;
use super::command::Submission;
use super::row::Follower;
use super::runner::{ModelRunner, SharedState};

impl Engine {
    /// Which answers are shared.
    pub fn sharing(&self) -> Settings {
        self.shared.answers.settings()
    }

    /// Changes which answers are shared, from the next request on.
    pub fn configure_sharing(&self, settings: Settings) {
        self.shared.answers.configure(settings);
    }

    /// Forgets all answers; requests that come now are computed even where an identical one is running.
    pub fn forget_answers(&self) {
        self.shared.answers.clear();
    }
}

impl SharedState {
    /// Gives a reader an answer that has ended, if there is the one its request asks for. Says whether there was.
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
}

impl ModelRunner {
    /// Gives a request the answer of another one that has ended or runs; gives it back where it must be computed.
    pub(super) fn share(&mut self, submission: Submission) -> Option<Submission> {
        let Some(claim) = submission.claim else { return Some(submission) };
        let now = self.shared.clock.now();
        if submission.request.deadline.is_some_and(|at| at <= now) {
            // It ends with the next turn: nobody shall find it in the place of a row that goes on.
            return Some(Submission { claim: None, ..submission });
        }
        let answers = &self.shared.answers;
        if let Some(id) = self.rows.joinable(&claim, answers.epoch(), answers.max_readers()) {
            self.join(id, &submission, &claim);
            return None;
        }
        // It may have ended while this request was on its way here.
        if self.shared.serve(submission.reader, &claim) {
            return None;
        }
        answers.count(CacheOutcome::Computed);
        Some(submission)
    }

    /// The generation goes on for as long as its most patient reader wants, as fast as its most urgent one does, and at
    /// once: the new one is not behind.
    fn join(&mut self, id: SequenceId, submission: &Submission, claim: &Claim) {
        let follower = Follower { reader: submission.reader, urgency: Urgency::of(&submission.request) };
        let Some(row) = self.rows.join(id, follower) else { return };
        let (log, now) = (Arc::clone(&row.log), self.shared.clock.now());
        self.scheduler.revise(id, row.urgency(), now);
        self.scheduler.unpark(id, now);
        self.shared.answers.count(CacheOutcome::Coalesced);
        self.shared.readers.share(follower.reader, log, Served::Coalesced, now, claim.seed);
        self.watch(id, follower.reader);
        self.notified.push(follower.reader);
    }
}
