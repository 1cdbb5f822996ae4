//! All readers of an engine, the notified readers (those with something to deliver), and the wake of the draining thread,
//! at most one for each step. The lock is held for short operations only: the JavaScript thread, the text threads and the
//! engine thread all take it. Which sequence a reader follows is known to the engine thread alone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::error::Error;
use crate::request::{Progress, Served, TokenId};

use super::log::{AnswerLog, Close};
use super::reader::{Delivery, PromptReady, Reader, ReaderId, Restart, Spent, Stage, Wanted};
use super::summary::ReaderContext;
use super::sync::{AtomicBool, Mutex, MutexGuard};

/// Called when there is something to drain, at most once between two drains. From any thread.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// How far the readers of an answer are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// At least one reader keeps up. Its window has room for this many more tokens.
    Room(usize),
    /// Every reader streams, and its window has no room. [`Readers::credit`] reports once that a reader has caught up.
    Exceeded,
}

/// All readers of an engine. `P` parses the answers of readers that want more than text; this room does not look at it.
pub struct Readers<P = ()> {
    registry: Mutex<Registry<P>>,
    wake: Wake,
    is_wake_pending: AtomicBool,
    /// The most unconsumed tokens of a streaming reader.
    window: usize,
}

#[derive(Debug)]
struct Registry<P> {
    readers: FxHashMap<ReaderId, Reader<P>>,
    /// Readers with something to deliver.
    notified: Vec<ReaderId>,
    next_id: u32,
}

impl<P> Readers<P> {
    /// No readers yet.
    pub fn new(window: usize, wake: Wake) -> Self {
        let registry = Registry { readers: FxHashMap::default(), notified: Vec::new(), next_id: 0 };
        Self { registry: Mutex::new(registry), wake, is_wake_pending: AtomicBool::new(false), window }
    }

    /// Adds a reader of the answer to a request whose prompt is being prepared. It gets only the end until
    /// [`stream`](Self::stream).
    pub fn add(&self, log: Arc<AnswerLog>, submitted_at: Instant) -> ReaderId {
        let mut registry = self.lock();
        let id = registry.free_id();
        let context = ReaderContext::computed(log.origin().clone(), submitted_at);
        registry.readers.insert(id, Reader::new(log, context));
        id
    }

    /// The prompt of the request is ready, and the answer will be read with `parser`. Decides whether the request is
    /// submitted.
    pub fn begin_submit(&self, id: ReaderId, parser: Option<P>) -> PromptReady {
        self.with(id, |reader| reader.begin_submit(parser)).unwrap_or(PromptReady::Left)
    }

    /// The engine thread has the request. Returns what the caller wanted meanwhile: that command is sent after the request.
    pub fn end_submit(&self, id: ReaderId) -> Option<Wanted> {
        self.with(id, Reader::end_submit).unwrap_or(Some(Wanted::Abandon))
    }

    /// The caller wants the end of its answer. Returns whether the engine thread must be asked for it now.
    pub fn cancel(&self, id: ReaderId) -> bool {
        self.with(id, Reader::cancel).unwrap_or(false)
    }

    /// Removes a reader: its caller left. Returns how far its request was, or `None` if there is no such reader.
    pub fn remove(&self, id: ReaderId) -> Option<Stage> {
        self.lock().readers.remove(&id).map(|reader| reader.stage)
    }

    /// Delivers text to a reader as it comes, from the beginning of its answer.
    pub fn stream(&self, id: ReaderId) {
        let has_begun = |reader: &mut Reader<P>| {
            reader.streams = true;
            reader.log.num_tokens() > 0
        };
        if self.with(id, has_begun).unwrap_or(false) {
            self.notify([id]);
            self.wake();
        }
    }

    /// Reports to a reader how far its prompt has been read, from now on.
    pub fn want_progress(&self, id: ReaderId) {
        self.with(id, Reader::want_progress);
    }

    /// Whether the reader wants reports of progress.
    pub fn wants_progress(&self, id: ReaderId) -> bool {
        self.lock().readers.get(&id).is_some_and(Reader::wants_progress)
    }

    /// Sets how far a reader's prompt has been read, if the reader wants to know. The next drain after
    /// [`notify`](Self::notify) delivers the last report.
    pub fn progress(&self, id: ReaderId, progress: Progress) {
        self.with(id, |reader| reader.report(progress));
    }

    /// Gives a reader, which has read nothing yet, the answer to another request. `seed` is the seed to report, if it is not
    /// that of the answer. No effect on a reader that left.
    pub fn share(&self, id: ReaderId, log: Arc<AnswerLog>, served: Served, since: Instant, seed: Option<u64>) {
        self.with(id, |reader| {
            reader.context.share(served, since, seed);
            reader.log = log;
        });
    }

    /// Gives a reader, which has read nothing yet, another log of the same request.
    pub fn set_log(&self, id: ReaderId, log: Arc<AnswerLog>) {
        self.with(id, |reader| reader.log = log);
    }

    /// The generation of a reader's answer was lost: lets the reader read `log` from the beginning, if it may and if that is
    /// still possible.
    pub fn restart(&self, id: ReaderId, log: Arc<AnswerLog>, may: bool) -> Restart {
        self.with(id, |reader| reader.restart(log, may)).unwrap_or(Restart::Left)
    }

    /// Ends the answer for one reader only, with what it has.
    pub fn end(&self, id: ReaderId, end: Close) {
        self.with(id, |reader| reader.end = Some(end));
    }

    /// Ends the answer for one reader only; `log` holds what it may still read.
    pub fn cut(&self, id: ReaderId, log: Arc<AnswerLog>, end: Close) {
        self.with(id, |reader| (reader.log, reader.end) = (log, Some(end)));
    }

    /// What the request of a reader has used so far; `None` before its generation has started.
    pub fn spent(&self, id: ReaderId) -> Option<Spent<P>> {
        self.lock().readers.get(&id).and_then(Reader::spent)
    }

    /// The consumer of a reader took this many tokens. Returns whether the reader was behind and has caught up: the engine
    /// must be informed then.
    pub fn credit(&self, id: ReaderId, num_tokens: usize) -> bool {
        let credit = |reader: &mut Reader<P>| {
            reader.consume(num_tokens);
            let caught_up = reader.is_behind && reader.num_unconsumed() <= self.window / 2;
            reader.is_behind &= !caught_up;
            caught_up
        };
        self.with(id, credit).unwrap_or(false)
    }

    /// Lists these readers for the next drain, because their answers have grown or ended. The caller wakes once for all of
    /// them. A reader that only awaits the end is listed once there is an end.
    pub fn notify(&self, ids: impl IntoIterator<Item = ReaderId>) {
        let mut registry = self.lock();
        for id in ids {
            registry.notify(id);
        }
    }

    /// Whether all of these readers of one answer are behind, counting tokens of steps in flight. A reader that only awaits
    /// the end is never behind, but may start to stream.
    pub fn backlog(&self, ids: impl Iterator<Item = ReaderId> + Clone, num_in_flight: usize) -> Backlog {
        let mut registry = self.lock();
        let room = |reader: &Reader<P>| {
            let num_ahead = if reader.streams { reader.num_unconsumed() + num_in_flight } else { 0 };
            self.window.saturating_sub(num_ahead)
        };
        let most = ids.clone().filter_map(|id| registry.readers.get(&id)).map(room).max();
        match most {
            Some(0) => {}
            Some(room) => return Backlog::Room(room),
            None => return Backlog::Room(self.window),
        }
        for id in ids {
            if let Some(reader) = registry.readers.get_mut(&id) {
                reader.is_behind = true;
            }
        }
        Backlog::Exceeded
    }

    /// Wakes the draining thread, if there is something to drain and no wake is pending.
    pub fn wake(&self) {
        if !self.lock().notified.is_empty() && !self.is_wake_pending.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Delivers everything new. Tokens and text are appended to the buffers, reader after reader.
    ///
    /// The pending wake is cleared first: a notification during the drain causes another wake, so nothing is lost.
    pub fn drain(&self, tokens: &mut Vec<TokenId>, text: &mut String) -> Vec<Delivery<P>> {
        // A swap, not a store: the swap in `wake` must not see the value from before.
        let _was_pending = self.is_wake_pending.swap(false, Ordering::AcqRel);
        let mut registry = self.lock();
        let mut deliveries = Vec::new();
        for id in std::mem::take(&mut registry.notified) {
            registry.deliver(id, tokens, text, &mut deliveries);
        }
        deliveries
    }

    /// Ends every answer with an error, when the engine thread has ended.
    pub fn fail_all(&self, error: &Error) {
        let ids: Vec<_> = {
            let registry = self.lock();
            registry.readers.values().for_each(|reader| reader.log.close("", Err(error.clone())));
            registry.readers.keys().copied().collect()
        };
        self.notify(ids);
        self.wake();
    }

    /// Number of readers whose end was not delivered yet.
    pub fn len(&self) -> usize {
        self.lock().readers.len()
    }

    /// Whether there are no readers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, id: ReaderId, act: impl FnOnce(&mut Reader<P>) -> T) -> Option<T> {
        self.lock().readers.get_mut(&id).map(act)
    }

    fn lock(&self) -> MutexGuard<'_, Registry<P>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Registry<P> {
    /// Ids wrap after 2³² readers. An id that is still in use is skipped.
    fn free_id(&mut self) -> ReaderId {
        loop {
            let id = ReaderId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if !self.readers.contains_key(&id) {
                return id;
            }
        }
    }

    fn notify(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if !reader.is_notified && reader.has_news() {
            reader.is_notified = true;
            self.notified.push(id);
        }
    }

    fn deliver(&mut self, id: ReaderId, tokens: &mut Vec<TokenId>, text: &mut String, out: &mut Vec<Delivery<P>>) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if let Some(end) = reader.deliver(id, tokens, text, out)
            && let Some(reader) = self.readers.remove(&id)
        {
            out.push(reader.deliver_end(id, end));
        }
    }
}
