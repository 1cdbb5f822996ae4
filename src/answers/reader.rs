//! One reader: a caller that waits for an answer. This record holds everything that several threads know about the reader:
//! how far its request is, the log that it reads, cursor, credit, progress and parser. [`Readers`](super::Readers) owns all
//! records behind one lock.

use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::request::{Progress, Summary, TokenId, Usage};

use super::log::{AnswerLog, Close, Cursor, Logprobs};
use super::summary::{ReaderContext, summarize};

/// The most tokens of one delivery. A complete answer is delivered in pieces, as one that is being generated.
const DELIVERY_TOKENS: usize = 16;

/// Addresses a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u32);

/// The end of an answer for a reader.
pub type End = Result<Summary, Error>;

/// A piece of an answer for a reader. Its tokens and text are in the buffers of the drain.
#[derive(Debug)]
pub struct Delivery<P = ()> {
    /// The reader.
    pub reader: ReaderId,
    /// Tokens appended to the buffer.
    pub num_tokens: usize,
    /// Bytes of text appended to the buffer.
    pub num_bytes: usize,
    /// Log-probabilities of these tokens.
    pub logprobs: Logprobs,
    /// How far the prompt has been read, if that is new and the reader wants to know. Comes before tokens.
    pub progress: Option<Progress>,
    /// The end, once everything else is delivered. The reader is removed with it.
    pub end: Option<(End, Arc<AnswerLog>)>,
    /// What the request has used, if it failed after its generation had started.
    pub spent: Option<Usage>,
    /// The parser of the answer, if the reader has one. The drain runs it after the lock of the readers is released.
    pub parser: Option<Arc<Mutex<P>>>,
}

/// What a request has used so far.
#[derive(Debug)]
pub struct Spent<P> {
    /// Token counts, without reasoning.
    pub usage: Usage,
    /// The answer so far.
    pub log: Arc<AnswerLog>,
    /// The parser of the answer, if the reader has one.
    pub parser: Option<Arc<Mutex<P>>>,
}

/// How far the request of a reader is on its way to the engine thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A text thread prepares the prompt.
    Preparing,
    /// A text thread hands the request to the engine thread. A command for the engine thread must wait until that is done,
    /// or it would arrive before the request.
    Submitting,
    /// The engine thread has the request.
    Submitted,
}

/// What to do with a request whose prompt is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptReady {
    /// Submit it. [`Readers::end_submit`](super::Readers::end_submit) follows if the engine thread gets it.
    Submit,
    /// End it: the caller has cancelled it.
    Cancelled,
    /// Drop it: the reader has left.
    Left,
}

/// What a caller wanted while its request was handed to the engine thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The answer ends with the tokens that it has.
    Cancel,
    /// The reader has left.
    Abandon,
}

/// Whether the answer of a reader could start again, after its generation was lost.
#[derive(Debug, Clone)]
pub enum Restart {
    /// Nothing was delivered, and the reader reads the new log.
    Restarted,
    /// A part of the answer was delivered, or it may not start again for another reason.
    Impossible,
    /// The answer has ended. The end is not delivered yet.
    Ended(Close),
    /// The caller has cancelled the request.
    Cancelled,
    /// The reader has left.
    Left,
}

/// The progress report for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingProgress {
    /// The reader wants no reports.
    Unwanted,
    /// No report is pending.
    Reported,
    /// The next drain delivers this report.
    Pending(Progress),
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent: each combination occurs")]
pub(super) struct Reader<P> {
    pub(super) log: Arc<AnswerLog>,
    /// The end for this reader alone, if it left a generation that others still read.
    pub(super) end: Option<Close>,
    pub(super) context: ReaderContext,
    cursor: Cursor,
    /// Whether the reader gets text as it comes. Otherwise it gets only the end.
    pub(super) streams: bool,
    progress: PendingProgress,
    /// The furthest position that was reported: a generation that starts again reads earlier ones once more.
    num_reported: usize,
    /// Tokens that the consumer took.
    num_consumed: usize,
    /// Whether the engine knows that this reader is behind.
    pub(super) is_behind: bool,
    /// Whether the reader is in the list of those with something to deliver.
    pub(super) is_notified: bool,
    pub(super) stage: Stage,
    is_cancelled: bool,
    parser: Option<Arc<Mutex<P>>>,
}

impl<P> Delivery<P> {
    /// A delivery without content.
    pub fn of(reader: ReaderId, parser: Option<&Arc<Mutex<P>>>) -> Self {
        Self {
            reader,
            num_tokens: 0,
            num_bytes: 0,
            logprobs: Logprobs::default(),
            progress: None,
            end: None,
            spent: None,
            parser: parser.map(Arc::clone),
        }
    }
}

impl<P> Reader<P> {
    pub(super) fn new(log: Arc<AnswerLog>, context: ReaderContext) -> Self {
        Self {
            log,
            end: None,
            context,
            cursor: Cursor::default(),
            streams: false,
            progress: PendingProgress::Unwanted,
            num_reported: 0,
            num_consumed: 0,
            is_behind: false,
            is_notified: false,
            stage: Stage::Preparing,
            is_cancelled: false,
            parser: None,
        }
    }

    /// The prompt is ready: decides what happens to the request.
    pub(super) fn begin_submit(&mut self, parser: Option<P>) -> PromptReady {
        if self.is_cancelled {
            return PromptReady::Cancelled;
        }
        self.stage = Stage::Submitting;
        self.parser = parser.map(|parser| Arc::new(Mutex::new(parser)));
        PromptReady::Submit
    }

    /// The engine thread has the request. Returns what the caller wanted meanwhile.
    pub(super) fn end_submit(&mut self) -> Option<Wanted> {
        self.stage = Stage::Submitted;
        self.is_cancelled.then_some(Wanted::Cancel)
    }

    /// The caller wants the end. Returns whether the engine thread has the request, and must be asked for the end: once,
    /// because the commands of a reader bound the engine thread's mailbox.
    pub(super) fn cancel(&mut self) -> bool {
        !std::mem::replace(&mut self.is_cancelled, true) && self.stage == Stage::Submitted
    }

    /// Restarts the reader at the beginning of `log`, unless its answer has ended, its request is cancelled, it has read
    /// something, or `may` is false.
    pub(super) fn restart(&mut self, log: Arc<AnswerLog>, may: bool) -> Restart {
        if let Some(end) = self.final_end() {
            return Restart::Ended(end);
        }
        if self.is_cancelled {
            return Restart::Cancelled;
        }
        if !may || self.cursor.has_moved() {
            return Restart::Impossible;
        }
        self.context.compute_again();
        (self.log, self.is_behind) = (log, false);
        Restart::Restarted
    }

    pub(super) fn want_progress(&mut self) {
        self.progress = PendingProgress::Reported;
    }

    pub(super) fn wants_progress(&self) -> bool {
        self.progress != PendingProgress::Unwanted
    }

    /// Sets the next report, if the reader wants reports.
    pub(super) fn report(&mut self, progress: Progress) {
        if self.wants_progress() && progress.processed >= self.num_reported {
            self.num_reported = progress.processed;
            self.progress = PendingProgress::Pending(progress);
        }
    }

    /// Whether a drain would deliver something.
    pub(super) fn has_news(&self) -> bool {
        self.streams || matches!(self.progress, PendingProgress::Pending(_)) || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.end.is_some() || self.log.has_ended()
    }

    fn final_end(&self) -> Option<Close> {
        self.end.clone().or_else(|| self.log.end())
    }

    pub(super) fn num_unconsumed(&self) -> usize {
        self.log.num_tokens().saturating_sub(self.num_consumed)
    }

    pub(super) fn consume(&mut self, num_tokens: usize) {
        self.num_consumed = self.num_consumed.saturating_add(num_tokens);
    }

    /// Delivers everything new, except the end. Returns the end, if there is one: the caller removes the reader, and calls
    /// [`deliver_end`](Self::deliver_end).
    pub(super) fn deliver(
        &mut self,
        id: ReaderId,
        tokens: &mut Vec<TokenId>,
        text: &mut String,
        out: &mut Vec<Delivery<P>>,
    ) -> Option<Close> {
        self.is_notified = false;
        if let PendingProgress::Pending(progress) = self.progress {
            self.progress = PendingProgress::Reported;
            out.push(Delivery { progress: Some(progress), ..Delivery::of(id, self.parser.as_ref()) });
        }
        // The end is read before the tokens. If the answer ends in between, the notification of its end delivers the rest.
        let end = self.final_end();
        while self.streams {
            let (tokens_before, bytes_before) = (tokens.len(), text.len());
            let Some(logprobs) = self.log.read(&mut self.cursor, DELIVERY_TOKENS, tokens, text) else { break };
            let (num_tokens, num_bytes) = (tokens.len() - tokens_before, text.len() - bytes_before);
            out.push(Delivery { num_tokens, num_bytes, logprobs, ..Delivery::of(id, self.parser.as_ref()) });
        }
        end
    }

    /// The delivery of the end.
    pub(super) fn deliver_end(self, id: ReaderId, end: Close) -> Delivery<P> {
        let spent = if end.is_err() { self.context.usage_so_far(&self.log) } else { None };
        let end = end.map(|finished| summarize(&finished, &self.log, self.context));
        Delivery { end: Some((end, self.log)), spent, ..Delivery::of(id, self.parser.as_ref()) }
    }

    /// What the request has used, and its answer and parser; `None` before its generation has started.
    pub(super) fn spent(&self) -> Option<Spent<P>> {
        let usage = self.context.usage_so_far(&self.log)?;
        Some(Spent { usage, log: Arc::clone(&self.log), parser: self.parser.clone() })
    }
}
