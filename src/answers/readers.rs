//! The readers of all answers, and the one wake a step that tells their thread to drain. Owns cursors, credit and the
//! list of readers with something to read; who is generating what is the engine's business.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::error::Error;
use crate::request::{Progress, Served, Summary, TokenId};

use super::log::{AnswerLog, Close, Cursor, Logprobs};
use super::summary::{Sharer, summarize};
use super::sync::{AtomicBool, Mutex, MutexGuard};

/// How an answer ended for a reader.
pub type End = Result<Summary, Error>;

/// Tokens of one delivery: an answer that is there already is delivered in pieces, as one that is being made.
const PIECE_TOKENS: usize = 16;

/// One caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u32);

/// Called when there is something to drain, at most once between two drains. From any thread.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A piece of what a drain delivers to a reader; tokens and text were appended to the caller's buffers.
#[derive(Debug)]
pub struct Delivery {
    /// Whose.
    pub reader: ReaderId,
    /// Tokens appended.
    pub num_tokens: usize,
    /// Bytes of text appended.
    pub num_bytes: usize,
    /// Log-probabilities of these tokens.
    pub logprobs: Logprobs,
    /// How far the prompt of the answer has been read, where that is new and the reader wants to know. Comes before tokens.
    pub progress: Option<Progress>,
    /// Set once, when the answer has ended for the reader and all of it was delivered; the reader is gone then.
    pub end: Option<(End, Arc<AnswerLog>)>,
}

impl Delivery {
    /// Nothing, for a reader.
    fn of(reader: ReaderId) -> Self {
        Self { reader, num_tokens: 0, num_bytes: 0, logprobs: Logprobs::default(), progress: None, end: None }
    }
}

/// How far the readers of an answer are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Somebody keeps up, and will at least until this many more tokens have come.
    Room(usize),
    /// Every reader streams and has more unconsumed tokens than it may; told once, until credit comes back.
    Exceeded,
}

/// What a reader is to be told of how far its prompt has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It does not want to know.
    Unwanted,
    /// Nothing it was not told.
    Nothing,
    /// This.
    Of(Progress),
}

#[derive(Debug)]
struct Reader {
    log: Arc<AnswerLog>,
    /// Set where the answer ended for it alone.
    end: Option<Close>,
    sharer: Sharer,
    cursor: Cursor,
    /// Whether it wants text as it comes; else only the end.
    streams: bool,
    progress: News,
    /// Tokens its consumer took.
    num_consumed: usize,
    /// Whether the engine was told that this reader is behind.
    is_behind: bool,
    is_marked: bool,
}

#[derive(Debug, Default)]
struct Registry {
    readers: FxHashMap<ReaderId, Reader>,
    marked: Vec<ReaderId>,
    next_id: u32,
}

/// All readers of an engine.
pub struct Readers {
    registry: Mutex<Registry>,
    wake: Wake,
    is_wake_pending: AtomicBool,
    /// Tokens a streaming reader may leave unconsumed.
    window: usize,
}

impl Readers {
    /// No readers yet.
    pub fn new(window: usize, wake: Wake) -> Self {
        Self { registry: Mutex::default(), wake, is_wake_pending: AtomicBool::new(false), window }
    }

    /// Adds a reader at the beginning of the answer to a request of its own. It gets only the end until
    /// [`stream`](Self::stream).
    pub fn add(&self, log: Arc<AnswerLog>, submitted_at: Instant) -> ReaderId {
        let mut registry = self.lock();
        let id = registry.free_id();
        let reader = Reader {
            sharer: Sharer::alone(log.origin().clone(), submitted_at),
            log,
            end: None,
            cursor: Cursor::default(),
            streams: false,
            progress: News::Unwanted,
            num_consumed: 0,
            is_behind: false,
            is_marked: false,
        };
        registry.readers.insert(id, reader);
        id
    }

    /// Lets a reader have the text as it comes, from the beginning of the answer.
    pub fn stream(&self, id: ReaderId) {
        let has_begun = |reader: &mut Reader| {
            reader.streams = true;
            reader.log.num_tokens() > 0
        };
        if self.lock().readers.get_mut(&id).is_some_and(has_begun) {
            self.mark([id]);
            self.wake();
        }
    }

    /// From now on a reader is told how far its prompt has been read.
    pub fn want_progress(&self, id: ReaderId) {
        if let Some(reader) = self.lock().readers.get_mut(&id) {
            reader.progress = News::Nothing;
        }
    }

    /// Whether it is.
    pub fn wants_progress(&self, id: ReaderId) -> bool {
        self.lock().readers.get(&id).is_some_and(|reader| reader.progress != News::Unwanted)
    }

    /// Notes how far a reader's prompt has been read, if it wants to know. It is told with the next drain after it was
    /// marked; of several, the last.
    pub fn progress(&self, id: ReaderId, progress: Progress) {
        if let Some(reader) = self.lock().readers.get_mut(&id).filter(|reader| reader.progress != News::Unwanted) {
            reader.progress = News::Of(progress);
        }
    }

    /// Lets a reader that has read nothing yet have the answer to another request, from its beginning. `seed` is what it
    /// asked for, where it did. Without effect on a reader that left.
    pub fn share(&self, id: ReaderId, log: Arc<AnswerLog>, served: Served, since: Instant, seed: Option<u64>) {
        if let Some(reader) = self.lock().readers.get_mut(&id) {
            reader.sharer.share(served, since, seed);
            reader.log = log;
        }
    }

    /// Ends the answer for one reader; `log` holds what it may still read.
    pub fn cut(&self, id: ReaderId, log: Arc<AnswerLog>, end: Close) {
        if let Some(reader) = self.lock().readers.get_mut(&id) {
            (reader.log, reader.end) = (log, Some(end));
        }
    }

    /// Forgets a reader. Says whether it was there.
    pub fn remove(&self, id: ReaderId) -> bool {
        self.lock().readers.remove(&id).is_some()
    }

    /// The consumer of a reader took this many tokens. Says whether the engine was told that it is behind and is not any
    /// more: then the engine must be told that, too.
    pub fn credit(&self, id: ReaderId, num_tokens: usize) -> bool {
        let mut registry = self.lock();
        let Some(reader) = registry.readers.get_mut(&id) else { return false };
        reader.num_consumed = reader.num_consumed.saturating_add(num_tokens);
        let caught_up = reader.is_behind && reader.num_unconsumed() <= self.window / 2;
        reader.is_behind &= !caught_up;
        caught_up
    }

    /// Notes that the answers these readers follow have grown or ended. The caller wakes once for all of them. Readers
    /// that wait for the end are noted only then: nothing crosses to them in between.
    pub fn mark(&self, ids: impl IntoIterator<Item = ReaderId>) {
        let mut registry = self.lock();
        for id in ids {
            registry.mark(id);
        }
    }

    /// Whether every one of these readers of an answer is behind, with so many tokens that are under way. One that only awaits
    /// never is, but may begin to stream.
    pub fn backlog(&self, ids: impl Iterator<Item = ReaderId> + Clone, num_under_way: usize) -> Backlog {
        let mut registry = self.lock();
        let room = |reader: &Reader| {
            let num_ahead = if reader.streams { reader.num_unconsumed() + num_under_way } else { 0 };
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

    /// Wakes the draining thread, if there is anything to drain and it was not woken already.
    pub fn wake(&self) {
        if !self.lock().marked.is_empty() && !self.is_wake_pending.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Delivers everything new: tokens and text are appended to the buffers, reader after reader.
    ///
    /// The pending wake is cleared first: what is marked while this runs causes another one, so nothing is left behind.
    pub fn drain(&self, tokens: &mut Vec<TokenId>, text: &mut String) -> Vec<Delivery> {
        // Exchanged rather than stored, so that the next exchange, in `wake`, cannot find it as it was before.
        let _was_pending = self.is_wake_pending.swap(false, Ordering::AcqRel);
        let mut registry = self.lock();
        let mut deliveries = Vec::new();
        for id in std::mem::take(&mut registry.marked) {
            registry.deliver(id, tokens, text, &mut deliveries);
        }
        deliveries
    }

    /// Ends every answer that has not ended, when nobody is left who could.
    pub fn fail_all(&self, error: &Error) {
        let ids: Vec<_> = {
            let registry = self.lock();
            registry.readers.values().for_each(|reader| reader.log.close("", Err(error.clone())));
            registry.readers.keys().copied().collect()
        };
        self.mark(ids);
        self.wake();
    }

    /// Readers that have not been told their end.
    pub fn len(&self) -> usize {
        self.lock().readers.len()
    }

    /// Whether nobody reads.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Ids wrap after 2³² readers; by then the early ones are long gone, and those that are not are stepped over.
    fn free_id(&mut self) -> ReaderId {
        loop {
            let id = ReaderId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if !self.readers.contains_key(&id) {
                return id;
            }
        }
    }

    fn mark(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let has_news = matches!(reader.progress, News::Of(_));
        if !reader.is_marked && (reader.streams || has_news || reader.has_ended()) {
            reader.is_marked = true;
            self.marked.push(id);
        }
    }

    fn deliver(&mut self, id: ReaderId, tokens: &mut Vec<TokenId>, text: &mut String, out: &mut Vec<Delivery>) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.is_marked = false;
        if let News::Of(progress) = reader.progress {
            reader.progress = News::Nothing;
            out.push(Delivery { progress: Some(progress), ..Delivery::of(id) });
        }
        // The end is read first: an answer that ends in between is delivered whole by the mark that its end causes.
        let end = reader.end();
        loop {
            let (tokens_before, bytes_before) = (tokens.len(), text.len());
            if !reader.streams {
                break;
            }
            let Some(logprobs) = reader.log.read(&mut reader.cursor, PIECE_TOKENS, tokens, text) else { break };
            let (num_tokens, num_bytes) = (tokens.len() - tokens_before, text.len() - bytes_before);
            out.push(Delivery { num_tokens, num_bytes, logprobs, ..Delivery::of(id) });
        }
        if let Some(end) = end
            && let Some(reader) = self.readers.remove(&id)
        {
            let end = end.map(|finished| summarize(&finished, &reader.log, reader.sharer));
            out.push(Delivery { end: Some((end, reader.log)), ..Delivery::of(id) });
        }
    }
}

impl Reader {
    fn has_ended(&self) -> bool {
        self.end.is_some() || self.log.has_ended()
    }

    fn end(&self) -> Option<Close> {
        self.end.clone().or_else(|| self.log.end())
    }

    fn num_unconsumed(&self) -> usize {
        self.log.num_tokens().saturating_sub(self.num_consumed)
    }
}
