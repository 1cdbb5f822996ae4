//! Decides which worker runs a request, and keeps every request until it has ended, so that the requests of a lost worker can run
//! again. Identical requests go to one worker, where they share an answer. Requests whose prompts have the same beginning go to
//! the worker whose prefix cache has that beginning, unless it is busier than the others (`STICKY_SLACK`).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::answers::{Key, ReaderId};
use crate::config::{Routing, Workers as Config};
use crate::lock::lock;
use crate::request::Request;

use super::command::{Command, Submission};
use super::ids::WorkerId;
use super::permit::Permit;
use super::sample::WorkerLoad;

/// The first mark of a prompt is at this many tokens, and each further mark at twice as many tokens as the one before.
const FIRST_MARK: usize = 64;
/// At this many marks, `Homes::recent` replaces `Homes::older`. So at most twice as many marks are remembered.
const MOST_MARKS: usize = 8_192;
/// A worker gets a request whose beginning it has read, even if it has this many pending requests more than the least busy one.
const STICKY_SLACK: usize = 1;

/// A request that a worker has.
pub(super) struct Routed {
    worker: WorkerId,
    /// The request as it was sent.
    pub(super) submission: Submission,
    /// Absent once the request reads the answer of another one.
    pub(super) permit: Option<Permit>,
    /// Whether it was lost with a worker before.
    pub(super) was_lost: bool,
}

/// See the module.
pub(super) struct Router {
    config: Config,
    state: Mutex<State>,
}

struct State {
    loads: Vec<WorkerLoad>,
    requests: FxHashMap<ReaderId, Routed>,
    /// The worker of the pending requests with each key, and their number.
    keys: HashMap<Key, (WorkerId, usize)>,
    homes: Homes,
    /// The worker whose turn it is among equals.
    next: usize,
}

impl Router {
    pub(super) fn new(config: Config) -> Self {
        let loads = vec![WorkerLoad::default(); config.count.max(1)];
        let (requests, keys, homes) = Default::default();
        let state = State { loads, requests, keys, homes, next: 0 };
        Self { config, state: Mutex::new(state) }
    }

    /// Chooses a worker for a request and sends it there, under one lock: a request that is kept was sent. `send` returns a
    /// command that the worker does not take.
    pub(super) fn send(
        &self,
        submission: Submission,
        permit: Permit,
        send: impl FnOnce(WorkerId, Command) -> Result<(), Command>,
    ) -> Result<(), Command> {
        let marks = self.marks(&submission.request);
        let mut state = lock(&self.state);
        let worker = state.choose(&submission, &marks, self.config.routing);
        let kept = submission.clone();
        send(worker, Command::Submit(Box::new(submission)))?;
        state.next = worker.0 + 1;
        state.loads[worker.0].num_requests += 1;
        state.homes.set(&marks, worker);
        state.keep(Routed { worker, submission: kept, permit: Some(permit), was_lost: false });
        Ok(())
    }

    /// A request reads the answer of another one, and needs no permit any more.
    pub(super) fn joined(&self, reader: ReaderId) {
        let permit = lock(&self.state).requests.get_mut(&reader).and_then(|routed| routed.permit.take());
        drop(permit);
    }

    /// Forgets requests that have ended, and returns their permits.
    pub(super) fn ended(&self, readers: impl IntoIterator<Item = ReaderId>) {
        let mut state = lock(&self.state);
        let ended: SmallVec<[Option<Routed>; 4]> = readers.into_iter().map(|reader| state.remove(reader)).collect();
        drop(state);
        // A permit that is returned takes another lock.
        drop(ended);
    }

    /// Takes the requests of a worker that was lost, in order of submission, and forgets what it had read. `waiting` are
    /// the requests that wait in the worker's mailbox: they are not lost.
    pub(super) fn take_lost(&self, worker: WorkerId, waiting: impl FnOnce() -> Vec<ReaderId>) -> Vec<Routed> {
        let mut state = lock(&self.state);
        let mut waiting = waiting();
        waiting.sort_unstable();
        let is_lost = |(reader, routed): (&ReaderId, &Routed)| {
            (routed.worker == worker && waiting.binary_search(reader).is_err()).then_some(*reader)
        };
        let readers: Vec<_> = state.requests.iter().filter_map(is_lost).collect();
        let mut lost: Vec<_> = readers.into_iter().filter_map(|reader| state.remove(reader)).collect();
        state.homes.forget(worker);
        lost.sort_unstable_by_key(|routed| routed.submission.sequence);
        lost
    }

    /// Keeps a request that was lost and will run again on the same worker.
    pub(super) fn keep_again(&self, lost: Routed) {
        lock(&self.state).keep(Routed { was_lost: true, ..lost });
    }

    /// A worker gets no requests from now on. Returns whether it was open until now.
    pub(super) fn close(&self, worker: WorkerId) -> bool {
        let mut state = lock(&self.state);
        state.homes.forget(worker);
        !std::mem::replace(&mut state.loads[worker.0].is_closed, true)
    }

    /// What each worker has to do.
    pub(super) fn loads(&self) -> Vec<WorkerLoad> {
        lock(&self.state).loads.clone()
    }

    /// Whether no worker has a request.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.state).requests.is_empty()
    }

    fn marks(&self, request: &Request) -> SmallVec<[u64; 12]> {
        if self.config.count > 1 && self.config.sticky { marks_of(request) } else { SmallVec::new() }
    }
}

impl State {
    fn choose(&self, submission: &Submission, marks: &[u64], routing: Routing) -> WorkerId {
        if self.loads.len() == 1 {
            return WorkerId(0);
        }
        let is_open = |worker: &usize| !self.loads[*worker].is_closed;
        let with_key = submission.claim.and_then(|claim| self.keys.get(&claim.key));
        if let Some((worker, _)) = with_key.filter(|(worker, _)| is_open(&worker.0)) {
            return *worker;
        }
        let num_pending = |worker: usize| self.loads[worker].num_pending;
        let in_turn = || (0..self.loads.len()).map(|offset| (self.next + offset) % self.loads.len()).filter(is_open);
        let least = in_turn().map(num_pending).min().unwrap_or_default();
        if let Some(home) = self.homes.of(marks).filter(|home| num_pending(home.0) <= least + STICKY_SLACK) {
            return home;
        }
        let least_busy = in_turn().filter(|worker| num_pending(*worker) == least);
        let chosen = match routing {
            Routing::RoundRobin => in_turn().next(),
            Routing::LeastBusy => least_busy.min_by_key(|worker| self.loads[*worker].num_requests),
        };
        WorkerId(chosen.unwrap_or_default())
    }

    fn keep(&mut self, routed: Routed) {
        self.loads[routed.worker.0].num_pending += 1;
        if let Some(claim) = routed.submission.claim {
            self.keys.entry(claim.key).or_insert((routed.worker, 0)).1 += 1;
        }
        self.requests.insert(routed.submission.asked.reader, routed);
    }

    fn remove(&mut self, reader: ReaderId) -> Option<Routed> {
        let routed = self.requests.remove(&reader)?;
        self.loads[routed.worker.0].num_pending -= 1;
        if let Some(key) = routed.submission.claim.map(|claim| claim.key)
            && let Some((_, count)) = self.keys.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&key);
            }
        }
        Some(routed)
    }
}

/// Which worker has read the beginnings of prompts, found by their marks. The oldest ones are forgotten.
#[derive(Default)]
struct Homes {
    recent: FxHashMap<u64, WorkerId>,
    older: FxHashMap<u64, WorkerId>,
}

impl Homes {
    /// The worker that has read the longest of these beginnings.
    fn of(&self, marks: &[u64]) -> Option<WorkerId> {
        marks.iter().rev().find_map(|mark| self.recent.get(mark).or_else(|| self.older.get(mark))).copied()
    }

    fn set(&mut self, marks: &[u64], worker: WorkerId) {
        self.recent.extend(marks.iter().map(|mark| (*mark, worker)));
        if self.recent.len() >= MOST_MARKS {
            self.older = std::mem::take(&mut self.recent);
        }
    }

    fn forget(&mut self, worker: WorkerId) {
        self.recent.retain(|_, home| *home != worker);
        self.older.retain(|_, home| *home != worker);
    }
}

/// Hashes of the beginnings of a prompt, the shortest first. A beginning that two prompts have in common counts to the last mark
/// in it, so at least half of it is found again.
fn marks_of(request: &Request) -> SmallVec<[u64; 12]> {
    let mut marks = SmallVec::new();
    let Some(scope) = &request.prefix_scope else { return marks };
    let mut hasher = FxHasher::default();
    scope.hash(&mut hasher);
    let mut mark = FIRST_MARK;
    for (number, token) in (1_usize..).zip(&*request.prompt) {
        hasher.write_u32(*token);
        if number == mark {
            marks.push(hasher.finish());
            mark *= 2;
        }
    }
    marks
}
