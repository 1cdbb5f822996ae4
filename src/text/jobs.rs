//! The queue of text jobs. Tenants take turns. Jobs of one tenant begin in the order of their arrival, except that
//! light jobs overtake a heavy job that waits for a free place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::panics;

/// Texts longer than this are detached at once: tokenizing this many bytes takes some 10 ms.
const LONG_BYTES: usize = 64 << 10;
/// Ten times the time that tokenizing a byte takes on an idle machine.
const TIME_PER_BYTE: Duration = Duration::from_micros(4);

/// The cost of a job, known before it begins.
#[derive(Debug, Clone)]
pub struct Load {
    /// Jobs of one tenant take turns with jobs of other tenants.
    pub tenant: Option<Arc<str>>,
    /// Bytes of its texts.
    pub num_bytes: usize,
    /// Whether it compiles a caller's template, grammar or schema. The time for that does not follow from the size.
    pub is_program: bool,
    /// The error code if it takes longer than its budget.
    pub late: Code,
}

impl Load {
    /// The load of a text without a template, grammar or schema.
    pub fn text(tenant: Option<Arc<str>>, num_bytes: usize) -> Self {
        Self { tenant, num_bytes, is_program: false, late: Code::TokenizerError }
    }

    /// Heavy jobs wait for one of a few places.
    pub(super) fn is_heavy(&self) -> bool {
        self.is_program || self.is_long()
    }

    pub(super) fn is_long(&self) -> bool {
        self.num_bytes > LONG_BYTES
    }

    /// The time that a long text gets on top of the budget. It delays only its own request.
    pub(super) fn extra_time(&self) -> Duration {
        if self.is_long() { TIME_PER_BYTE * u32::try_from(self.num_bytes).unwrap_or(u32::MAX) } else { Duration::ZERO }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::text(None, 0)
    }
}

/// A job and its caller's callback. The callback is called once: with the result or with a failure, whichever comes first.
pub(super) struct Job {
    /// Position in the order of acceptance.
    pub(super) number: u64,
    pub(super) load: Load,
    pub(super) run: Box<dyn FnOnce() + Send>,
    pub(super) fail: Box<dyn FnOnce(Error) + Send>,
}

impl Job {
    pub(super) fn new<T: Send + 'static>(
        number: u64,
        load: Load,
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let for_end = Arc::new(Mutex::new(Some(done)));
        let for_failure = Arc::clone(&for_end);
        let run = move || {
            let result = panics::catch(job).unwrap_or_else(|panic| {
                let message = format!("the text could not be processed: panic: {panic}");
                Err(Error::new(Code::TokenizerError, message))
            });
            let done = lock(&for_end).take();
            if let Some(done) = done {
                done(result);
            }
        };
        let fail = move |error| {
            let done = lock(&for_failure).take();
            if let Some(done) = done {
                done(Err(error));
            }
        };
        Self { number, load, run: Box::new(run), fail: Box::new(fail) }
    }
}

/// The waiting jobs.
#[derive(Default)]
pub(super) struct JobQueue {
    /// The tenant at the front is the next.
    tenants: VecDeque<TenantJobs>,
    len: usize,
    num_bytes: usize,
}

/// The waiting jobs of one tenant.
struct TenantJobs {
    tenant: Option<Arc<str>>,
    light: VecDeque<Job>,
    heavy: VecDeque<Job>,
}

impl JobQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all waiting texts.
    pub(super) fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    pub(super) fn push(&mut self, job: Job) {
        self.len += 1;
        self.num_bytes += job.load.num_bytes;
        let at = self.tenants.iter().position(|queue| queue.tenant == job.load.tenant).unwrap_or_else(|| {
            let tenant = job.load.tenant.clone();
            self.tenants.push_back(TenantJobs { tenant, light: VecDeque::new(), heavy: VecDeque::new() });
            self.tenants.len() - 1
        });
        self.tenants[at].jobs(job.load.is_heavy()).push_back(job);
    }

    /// Takes the next job that may begin; `has_place` returns whether a heavy job of a tenant may begin.
    pub(super) fn pop(&mut self, has_place: impl Fn(Option<&str>) -> bool) -> Option<Job> {
        for at in 0..self.tenants.len() {
            let queue = &mut self.tenants[at];
            let has_place = !queue.heavy.is_empty() && has_place(queue.tenant.as_deref());
            let Some(job) = queue.pop(has_place) else { continue };
            self.len -= 1;
            self.num_bytes -= job.load.num_bytes;
            // A tenant that had its turn goes to the end.
            let queue = self.tenants.remove(at).filter(|queue| !queue.is_empty());
            self.tenants.extend(queue);
            return Some(job);
        }
        None
    }

    /// Takes all waiting jobs with a matching load, in the order of acceptance.
    pub(super) fn drain(&mut self, is_concerned: impl Fn(&Load) -> bool) -> Vec<Job> {
        let all = std::mem::take(self).tenants.into_iter().flat_map(|queue| queue.light.into_iter().chain(queue.heavy));
        let (mut drained, kept): (Vec<_>, Vec<_>) = all.partition(|job| is_concerned(&job.load));
        for job in kept {
            self.push(job);
        }
        drained.sort_by_key(|job| job.number);
        drained
    }
}

impl TenantJobs {
    fn jobs(&mut self, is_heavy: bool) -> &mut VecDeque<Job> {
        if is_heavy { &mut self.heavy } else { &mut self.light }
    }

    fn pop(&mut self, has_place: bool) -> Option<Job> {
        let heavy = self.heavy.front().filter(|_| has_place).map(|job| job.number);
        let light = self.light.front().map(|job| job.number);
        let is_heavy = heavy.is_some_and(|heavy| light.is_none_or(|light| heavy < light));
        self.jobs(is_heavy).pop_front()
    }

    fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }
}
