//! How a request gets its answer: it joins a running generation with the same key, gets a cached answer, or is computed. The
//! engine thread alone joins, ends and leaves generations, one command after another, so a request joins before the end of a
//! generation or finds its cached answer.

use std::sync::Arc;

use crate::answers::{CacheOutcome, Claim, ReaderId};
use crate::error::Result;
use crate::request::{SequenceId, Served};
use crate::scheduler::Urgency;

use super::super::command::Submission;
use super::super::row::{Follower, Row};
use super::{ModelRunner, pins};

impl ModelRunner {
    /// Adds a request.
    pub(in super::super) fn add(&mut self, submission: Submission) {
        let Some(mut submission) = self.share(submission) else { return };
        if let Err(error) = self.write_scripted(&mut submission) {
            return self.shared.end(submission.asked, &submission.log, Err(error));
        }
        if let Err(refusal) = self.scheduler.check_pins(&submission.request) {
            return self.shared.end(submission.asked, &submission.log, Err(pins::refused(refusal)));
        }
        let (id, request) = (submission.sequence, submission.request.clone());
        let text = self.model.text.answer_stream(&request.stop, request.markup);
        let text = if request.continues_text { text.following(&request.prompt) } else { text };
        let (reader, now) = (submission.asked.reader, self.shared.clock.now());
        self.rows.insert(id, Row::new(submission, text, self.shared.answers.epoch()));
        self.watch_progress(id, reader);
        self.schedule(id, request, now);
    }

    /// Gives a request its scripted answer, if the device has a script. A request that is too late takes none.
    fn write_scripted(&self, submission: &mut Submission) -> Result<()> {
        let Submission { writer: Some(writer), request, .. } = submission else { return Ok(()) };
        let is_late = request.deadline.is_some_and(|at| at <= self.shared.clock.now());
        if is_late { Ok(()) } else { writer.write(request, &self.model.text) }
    }

    /// Gives a request the answer of another one, running or cached. Returns the request if it must be computed.
    fn share(&mut self, submission: Submission) -> Option<Submission> {
        let Some(claim) = submission.claim else { return Some(submission) };
        let now = self.shared.clock.now();
        if submission.request.deadline.is_some_and(|at| at <= now) {
            // The row ends in the next turn. Without a claim it does not replace a running row of the same key.
            return Some(Submission { claim: None, ..submission });
        }
        let answers = &self.shared.answers;
        if let Some(id) = self.rows.joinable(&claim, answers.epoch(), answers.max_readers()) {
            self.join(id, &submission, &claim);
            return None;
        }
        // The generation may have ended after the text thread looked into the cache.
        if let Some(answer) = self.shared.cached(&claim) {
            self.shared.serve(submission.asked, &claim, answer);
            return None;
        }
        answers.count(CacheOutcome::Computed);
        Some(submission)
    }

    /// Adds a reader to a running generation. The generation gets the latest deadline and the highest urgency of its readers,
    /// and is not parked: the new reader is not behind.
    fn join(&mut self, id: SequenceId, submission: &Submission, claim: &Claim) {
        let follower = Follower { asked: submission.asked, urgency: Urgency::of(&submission.request) };
        let Some(row) = self.rows.join(id, follower) else { return };
        let (log, now) = (Arc::clone(&row.log), self.shared.clock.now());
        if row.last_token().is_some() {
            self.meter.first_token(now.saturating_duration_since(follower.asked.at));
        }
        self.scheduler.revise(id, row.urgency(), now);
        self.scheduler.unpark(id, now);
        self.shared.answers.count(CacheOutcome::Coalesced);
        self.shared.router.joined(follower.reader());
        self.shared.readers.share(follower.reader(), log, Served::Coalesced, now, claim.seed);
        self.watch_progress(id, follower.reader());
        self.outbox.notify([follower.reader()]);
    }

    /// Reports the progress of a row's prompt to a reader that asked for it. A prompt that was complete before counts as
    /// cached.
    fn watch_progress(&mut self, id: SequenceId, reader: ReaderId) {
        let Some(row) = self.rows.get(id).filter(|_| self.shared.readers.wants_progress(reader)) else { return };
        if row.log.num_tokens() > 0 {
            self.shared.readers.progress(reader, row.prompt_cached());
        } else {
            self.progress.watch(id, reader);
        }
    }
}
