//! Replaces the threads of workers: one that ended by a panic, and one that waits too long for a step of the device. The KV of a
//! replaced thread is lost. A request runs again, at most once, if no part of its answer was delivered; other requests end with
//! an error. The supervisor has a thread, which wakes up regularly only while workers have something to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::answers::{AnswerLog, Close, Finished, Restart};
use crate::error::{Code, Error, Result};

use super::alarm::{Event, Heard};
use super::command::{Command, closed};
use super::ids::WorkerId;
use super::lease::Ended;
use super::replicas::Replicas;
use super::router::Routed;
use super::shared::SharedState;
use super::worker;
use super::workers::Workers;

/// Running steps are checked this many times within the time after which a step is stuck: two checks must find a step stuck.
const LOOKS: u32 = 4;
const SHORTEST_LOOK: Duration = Duration::from_millis(25);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// A thread that is replaced again within this time starts later: by 50 ms, then twice as much each time, up to 1.6 s.
const CALM: Duration = Duration::from_mins(1);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const MOST_DOUBLINGS: u32 = 5;
/// A worker is given up after this many threads in a row that did nothing on the device.
const MOST_USELESS: u32 = 6;

/// How a worker was replaced.
#[derive(Clone, Copy)]
struct Replaced {
    at: Instant,
    /// Threads in a row that did not last for [`CALM`].
    num_short: u32,
    /// Threads in a row that did nothing on the device.
    num_useless: u32,
}

/// See the module.
pub(super) struct Supervisor {
    pub(super) workers: Arc<Workers>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) shared: SharedState,
    /// The least time after which a step counts as stuck. `None` if stuck workers are not replaced.
    pub(super) stuck_after: Option<Duration>,
}

impl Supervisor {
    /// Starts the thread. It ends with [`Alarm::end`](super::alarm::Alarm::end).
    pub(super) fn start(self, heard: Heard) -> Result<()> {
        // The threads that it starts run in the span of their engine, too.
        let span = tracing::Span::current();
        let started =
            Builder::new().name("mlx-serving-supervisor".into()).spawn(move || span.in_scope(|| self.run(&heard)));
        let failed = |error| Error::new(Code::BackendError, "a thread could not be started").with_source(error);
        started.map(drop).map_err(failed)
    }

    fn run(&self, heard: &Heard) {
        let (mut suspects, mut replaced) = (HashMap::new(), HashMap::new());
        // Whether the workers got something to do after the last look: a worker may be between its mailbox and the device.
        let mut is_news = false;
        loop {
            match self.wait(heard, is_news) {
                Some(Event::Died(id)) => self.replace(id, &mut replaced),
                Some(Event::Busy) => is_news = true,
                Some(Event::End) => return,
                None => {
                    is_news = false;
                    for id in self.workers.ids() {
                        let stuck = self.stuck(id, &mut suspects);
                        if stuck.is_some_and(|lent| self.workers.depose(id, lent)) {
                            self.replace(id, &mut replaced);
                        }
                    }
                }
            }
        }
    }

    /// The next event; `None` when it is time to look at the steps.
    fn wait(&self, heard: &Heard, is_news: bool) -> Option<Event> {
        let Some(stuck_after) = self.stuck_after else { return Some(heard.events.recv().unwrap_or(Event::End)) };
        let is_idle = || !is_news && self.shared.router.is_idle() && self.workers.are_idle();
        if is_idle() {
            heard.is_asleep.store(true, Ordering::SeqCst);
            // What was sent before the flag was set is seen here, and what is sent later wakes this thread.
            if is_idle() {
                return Some(heard.events.recv().unwrap_or(Event::End));
            }
            heard.is_asleep.store(false, Ordering::SeqCst);
        }
        let look = (stuck_after / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        match heard.events.recv_timeout(look) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::End),
        }
    }

    /// The device call in which a worker is stuck, if two checks in a row have found it stuck there. One check is not enough:
    /// after the process was suspended, the first check finds every step stuck. A worker has at most one deposed thread,
    /// because another one would hang in the same way.
    fn stuck(&self, id: WorkerId, suspects: &mut HashMap<WorkerId, u64>) -> Option<u64> {
        let lent = self.workers.lease(id).lent();
        let is_stuck = self.shared.stats.is_stuck(id, self.shared.clock.now());
        let Some(lent) = lent.filter(|_| is_stuck && !self.workers.has_deposed(id)) else {
            suspects.remove(&id);
            return None;
        };
        (suspects.insert(id, lent) == Some(lent)).then_some(lent)
    }

    /// Replaces the thread of a worker, which has ended or was deposed.
    fn replace(&self, id: WorkerId, replaced: &mut HashMap<WorkerId, Replaced>) {
        let (now, lease) = (Instant::now(), self.workers.lease(id));
        let before = replaced.get(&id).filter(|last| now.saturating_duration_since(last.at) <= CALM);
        let num_short = before.map_or(0, |last| last.num_short + 1);
        let num_useless = replaced.get(&id).filter(|_| !lease.has_served()).map_or(0, |last| last.num_useless + 1);
        replaced.insert(id, Replaced { at: now, num_short, num_useless });
        if num_short > 0 {
            std::thread::sleep(FIRST_DELAY * 2_u32.pow((num_short - 1).min(MOST_DOUBLINGS)));
        }
        let num_again = self.recover(id);
        lease.fail_loads(&worker::ended());
        if num_useless < MOST_USELESS && self.workers.replace(id, || self.replicas.all()) {
            tracing::warn!(target: "mlx_serving::engine", worker = id.0, again = num_again, "worker replaced");
        } else {
            self.workers.give_up(id);
            // Its mailbox is closed, so nothing of it waits there.
            let error = if self.workers.is_ending() { closed() } else { worker::ended() };
            for left in self.shared.router.take_lost(id, Vec::new) {
                self.end(left, &Err(error.clone()));
            }
            tracing::error!(target: "mlx_serving::engine", worker = id.0, "worker given up");
        }
        self.shared.readers.wake();
        lease.reply(Ended::All);
    }

    /// Ends or sends again the requests of a worker that was lost, before its next thread runs. Returns how many run again.
    fn recover(&self, id: WorkerId) -> usize {
        self.shared.stats.lost(id);
        self.shared.slots.forget(|replica| replica.worker == id);
        let mailbox = self.workers.mailbox(id);
        let waiting = || {
            mailbox.queued(|command| match command {
                Command::Submit(submission) => Some(submission.asked.reader),
                _ => None,
            })
        };
        let lost = self.shared.router.take_lost(id, waiting);
        let again: Vec<_> = lost.into_iter().filter_map(|lost| self.restart(lost)).collect();
        let num_again = again.len();
        let submissions: Vec<_> = again.iter().map(|routed| routed.submission.clone()).collect();
        for routed in again {
            self.shared.router.keep_again(routed);
        }
        mailbox.put_first(submissions.into_iter().map(|submission| Command::Submit(Box::new(submission))));
        num_again
    }

    /// The request of a reader that may run again, with a new log; otherwise its end is counted and delivered.
    fn restart(&self, lost: Routed) -> Option<Routed> {
        let Routed { submission, was_lost, .. } = &lost;
        let reader = submission.asked.reader;
        let log = AnswerLog::new(submission.log.origin().clone()).with_logprobs(submission.request.logprobs);
        let log = Arc::new(log);
        let may = !was_lost && !self.workers.is_ending();
        let end = match self.shared.readers.restart(reader, Arc::clone(&log), may) {
            Restart::Restarted => {
                let mut lost = lost;
                lost.submission.log = log;
                return Some(lost);
            }
            Restart::Ended(end) => end,
            Restart::Cancelled => Ok(Finished::cancelled(0, submission.request.sampling.seed, self.shared.clock.now())),
            Restart::Left => Err(Error::new(Code::Cancelled, "the reader left")),
            Restart::Impossible => Err(lost_worker()),
        };
        self.end(lost, &end);
        None
    }

    /// Ends a request that no worker has.
    fn end(&self, lost: Routed, end: &Close) {
        let asked = lost.submission.asked;
        self.shared.stats.ended(asked.label, end);
        // The place is free before the caller learns of the end.
        drop(lost);
        self.shared.readers.end(asked.reader, end.clone());
        self.shared.readers.notify([asked.reader]);
    }
}

fn lost_worker() -> Error {
    let message = "the engine thread of this request hung or ended, and was replaced; a part of the answer was delivered, \
                   or the request was lost before";
    Error::new(Code::BackendError, message)
}
