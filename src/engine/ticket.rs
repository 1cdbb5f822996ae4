//! An accepted request while the text pool prepares its prompt. `model_rules` prepares the prompt; the record of the reader
//! (`answers/reader.rs`) holds a cancellation that comes before the request is submitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::answers::AnswerLog;
use crate::request::SequenceId;

use super::asked::Asked;
use super::command::Submission;
use super::ids::ModelKey;
use super::model_rules::Prepared;
use super::permit::Permit;

/// What an accepted request owns before its prompt is ready.
pub(super) struct Ticket {
    pub(super) model: ModelKey,
    pub(super) sequence: SequenceId,
    pub(super) asked: Asked,
    pub(super) log: Arc<AnswerLog>,
    pub(super) permit: Permit,
    pub(super) coming: Coming,
}

impl Ticket {
    /// Makes the submission. The request stops counting as coming before it is sent: counted in both places, it could
    /// make the scheduler wait for a request that it already has.
    pub(super) fn with(self, Prepared { request, claim, writer, .. }: Prepared) -> (Submission, Permit) {
        let Self { model, sequence, asked, log, permit, coming } = self;
        drop(coming);
        (Submission { model, sequence, asked, request, claim, writer, log }, permit)
    }

    /// The request ends without the engine thread: its place is free before its caller learns of the end.
    pub(super) fn end(self) -> (Asked, Arc<AnswerLog>) {
        (self.asked, self.log)
    }
}

/// Counts one request as coming (accepted, its prompt not ready) until dropped. The scheduler may wait for requests that
/// are coming.
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
