//! Text jobs and the order in which they begin. Tenants take turns; the jobs of one tenant begin in the order in which
//! they came, unless a heavy one waits for a free place: light ones pass it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::lock::lock;

/// A longer text begins beside the jobs that run in order: tokenizing this many bytes takes some tens of milliseconds.
const LONG_BYTES: usize = 64 << 10;
/// Ten times what tokenizing a byte takes on a machine that does nothing else.
const TIME_PER_BYTE: Duration = Duration::from_micros(4);

/// What a pool must know of a job before it begins.
#[derive(Debug, Clone)]
pub struct Load {
    /// Jobs of one tenant take turns with those of others.
    pub tenant: Option<Arc<str>>,
    /// Bytes of its texts.
    pub num_bytes: usize,
    /// Whether it compiles a program of its caller: a template, a grammar, a schema. The time that takes cannot be foreseen
    /// from its size.
    pub is_program: bool,
    /// The code of its error if it takes longer than its budget.
    pub late: Code,
}

impl Load {
    /// Text without a program.
    pub fn text(tenant: Option<Arc<str>>, num_bytes: usize) -> Self {
        Self { tenant, num_bytes, is_program: false, late: Code::TokenizerError }
    }

    /// Heavy jobs wait for one of a few places, of which one tenant has not all.
    pub(super) fn is_heavy(&self) -> bool {
        self.is_program || self.is_long()
    }

    pub(super) fn is_long(&self) -> bool {
        self.num_bytes > LONG_BYTES
    }

    /// What a long text may take beyond the budget of others: it holds up its own request only.
    pub(super) fn extra_time(&self) -> Duration {
        if self.is_long() { TIME_PER_BYTE * u32::try_from(self.num_bytes).unwrap_or(u32::MAX) } else { Duration::ZERO }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::text(None, 0)
    }
}

/// A job with its caller's `done`, which either the end of the job or its failure takes.
pub(super) struct Job {
    /// In the order of acceptance.
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
            let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
                let message = format!("the text could not be processed: panic: {}", panic_message(panic.as_ref()));
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

/// What a panic said, if it said it in words.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

/// Jobs that wait.
#[derive(Default)]
pub(super) struct Turns {
    /// The tenant at the front is the next.
    lines: VecDeque<Line>,
    len: usize,
    num_bytes: usize,
}

/// The jobs of one tenant.
struct Line {
    tenant: Option<Arc<str>>,
    light: VecDeque<Job>,
    heavy: VecDeque<Job>,
}

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all texts that wait.
    pub(super) fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    pub(super) fn push(&mut self, job: Job) {
        self.len += 1;
        self.num_bytes += job.load.num_bytes;
        let at = self.lines.iter().position(|line| line.tenant == job.load.tenant).unwrap_or_else(|| {
            let tenant = job.load.tenant.clone();
            self.lines.push_back(Line { tenant, light: VecDeque::new(), heavy: VecDeque::new() });
            self.lines.len() - 1
        });
        self.lines[at].jobs(job.load.is_heavy()).push_back(job);
    }

    /// The next job that may begin; `has_place` says whether there is a place for a heavy job of a tenant.
    pub(super) fn pop(&mut self, has_place: impl Fn(Option<&str>) -> bool) -> Option<Job> {
        for at in 0..self.lines.len() {
            let line = &mut self.lines[at];
            let has_place = !line.heavy.is_empty() && has_place(line.tenant.as_deref());
            let Some(job) = line.pop(has_place) else { continue };
            self.len -= 1;
            self.num_bytes -= job.load.num_bytes;
            // A tenant that had its turn goes to the end.
            let line = self.lines.remove(at).filter(|line| !line.is_empty());
            self.lines.extend(line);
            return Some(job);
        }
        None
    }

    /// Every job that waits and is concerned, in the order of acceptance.
    pub(super) fn drain(&mut self, is_concerned: impl Fn(&Load) -> bool) -> Vec<Job> {
        let all = std::mem::take(self).lines.into_iter().flat_map(|line| line.light.into_iter().chain(line.heavy));
        let (mut drained, kept): (Vec<_>, Vec<_>) = all.partition(|job| is_concerned(&job.load));
        for job in kept {
            self.push(job);
        }
        drained.sort_by_key(|job| job.number);
        drained
    }
}

impl Line {
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
