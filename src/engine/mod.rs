//! The handle to an engine, and the engine thread behind it. The handle may be used from any thread and never blocks:
//! it checks, takes a permit and sends; the engine thread decides, does, accounts and delivers.

mod command;
mod config;
mod core;
mod draft;
mod lane;
mod pace;
mod permit;
mod requests;
mod row;
mod stats;
mod thread;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::answers::{AnswerLog, Delivery, End, ReaderId, Readers, Wake};
use crate::clock::{Clock, RealClock};
use crate::error::{Code, Error, Result};
use crate::executor::Limits;
use crate::hub;
use crate::request::{FinishReason, Request, SequenceId, Served, Summary, Timings, TokenId, Usage};
use crate::text::{ModelText, TextThread};

use command::{Command, Loading, Opened, Submission, closed};
use draft::ModelRules;
use lane::Surroundings;
use permit::{Permit, Permits};
use requests::{Ready, Requests};
use thread::Line;

pub use command::{ModelKey, Reply};
pub use config::Config;
#[cfg(feature = "node")]
pub(crate) use draft::single;
pub use draft::{Draft, Prompt};
pub use pace::Totals;
pub use stats::{ModelStats, Snapshot, Stats};
pub use thread::OpenBackend;

/// What a caller may know of a loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Addresses the model.
    pub key: ModelKey,
    /// The folder it came from.
    pub path: PathBuf,
    /// `model_type` of its configuration.
    pub family: String,
    /// What the executor says of it.
    pub limits: Limits,
    /// Bits and group size, where the weights are quantized.
    pub quantization: Option<(u32, u32)>,
}

/// An LLM engine: load models, submit requests, drain answers.
///
/// Cheap to share behind an `Arc`. Dropping the last handle ends the engine thread.
pub struct Engine {
    line: Line,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Readers>,
    stats: Arc<Stats>,
    permits: Arc<Permits>,
    text: Arc<TextThread>,
    models: Mutex<HashMap<ModelKey, Arc<ModelRules>>>,
    requests: Requests,
    next_sequence: AtomicU64,
    next_model: AtomicU32,
    is_closed: AtomicBool,
}

impl Engine {
    /// Starts the engine thread and waits until its backend is ready. `wake` is called when there is something to drain.
    pub fn start(config: Config, open: OpenBackend, wake: Wake) -> Result<Arc<Self>> {
        let readers = Arc::new(Readers::new(config.buffer_tokens, wake));
        let stats = Arc::new(Stats::default());
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let around = Surroundings { clock, readers: Arc::clone(&readers), stats: Arc::clone(&stats) };
        let text = Arc::new(TextThread::start("mlx-serving-text", config.max_pending, config.text_budget)?);
        let (line, thread) = thread::start(&config, open, around)?;
        Ok(Arc::new(Self {
            line,
            thread: Mutex::new(Some(thread)),
            readers,
            stats,
            permits: Permits::new(config.max_pending, config.max_pending_tokens),
            text,
            models: Mutex::default(),
            requests: Requests::default(),
            next_sequence: AtomicU64::new(0),
            next_model: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Loads the model in a folder. Files are read on a thread of their own; the device part runs on the engine thread.
    pub fn load(self: &Arc<Self>, path: PathBuf, reply: Reply<ModelInfo>) {
        let engine = Arc::clone(self);
        let load = move || match engine.read_model(&path) {
            Ok((folder, text)) => engine.open_model(folder, text, reply),
            Err(error) => reply.send(Err(error)),
        };
        // A reply is given also when the thread cannot be started: it is dropped with the closure.
        drop(Builder::new().name("mlx-serving-load".into()).spawn(load));
    }

    fn read_model(&self, path: &std::path::Path) -> Result<(hub::ModelFolder, Arc<ModelText>)> {
        self.check_open()?;
        let read = || -> Result<_> {
            let folder = hub::open_folder(path)?;
            let text = Arc::new(ModelText::open(&folder)?);
            Ok((folder, text))
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
            .unwrap_or_else(|panic| Err(Error::new(Code::ModelLoadError, core::panic_message(&*panic))))
    }

    fn open_model(self: Arc<Self>, folder: hub::ModelFolder, text: Arc<ModelText>, reply: Reply<ModelInfo>) {
        let key = ModelKey(self.next_model.fetch_add(1, Ordering::Relaxed));
        let (path, family, quantization) = (folder.path.clone(), folder.family(), folder.quantization());
        let (generation_config, rules_text) = (folder.generation_config.clone(), Arc::clone(&text));
        let engine = Arc::clone(&self);
        let coming = Arc::new(AtomicUsize::new(0));
        let of_lane = Arc::clone(&coming);
        let opened = Reply::new(move |opened: Result<Opened>| {
            reply.send(opened.map(|opened| {
                let rules = ModelRules::new(rules_text, &generation_config, opened, coming);
                lock(&engine.models).insert(key, Arc::new(rules));
                ModelInfo { key, path, family, limits: opened.limits, quantization }
            }));
        });
        self.send(Command::Load(Box::new(Loading { key, folder, text, coming: of_lane, reply: opened })));
    }

    /// Refuses new requests for a model, lets running ones end, then drops it.
    pub fn unload(self: &Arc<Self>, model: ModelKey, reply: Reply<()>) {
        lock(&self.models).remove(&model);
        self.send_behind_accepted(Command::Unload(model, reply));
    }

    /// Accepts a request; its answer comes through [`drain`](Self::drain), errors of its prompt included.
    ///
    /// # Errors
    /// `EngineClosed`, `ModelNotLoaded`, and `Overloaded` with a time after which trying again has a chance.
    pub fn submit(self: &Arc<Self>, model: ModelKey, draft: Draft) -> Result<ReaderId> {
        self.check_open()?;
        let rules = self.rules(model)?;
        let permit = self.permits.try_take().ok_or_else(|| self.overloaded())?;
        let log = Arc::new(AnswerLog::default());
        let reader = self.readers.add(Arc::clone(&log));
        let sequence = SequenceId(self.next_sequence.fetch_add(1, Ordering::Relaxed));
        self.requests.add(reader, sequence);
        self.stats.accepted();
        let coming = Coming::announce(&rules.coming);
        let ticket = Ticket { model, sequence, reader, log, submitted_at: Instant::now(), permit, coming };
        let engine = Arc::clone(self);
        let queued = self.text.run(move || rules.apply(draft), move |request| engine.pass_on(ticket, request));
        if let Err(error) = queued {
            self.release(reader);
            return Err(error);
        }
        Ok(reader)
    }

    /// What comes off the text thread goes to the engine thread, or ends right here.
    fn pass_on(&self, mut ticket: Ticket, request: Result<Request>) {
        let reader = ticket.reader;
        let request = request.and_then(|request| self.extend(&mut ticket.permit, request));
        match request {
            Ok(request) => {
                let num_input_tokens = request.prompt.len();
                let seed = request.sampling.seed;
                let log = Arc::clone(&ticket.log);
                let submitted_at = ticket.submitted_at;
                let submit = || self.send(Command::Submit(Box::new(ticket.with(request))));
                match self.requests.ready(reader, submit) {
                    Ready::Submitted => {}
                    Ready::Cancelled => self.end(reader, &log, Ok(cancelled(num_input_tokens, seed, submitted_at))),
                    Ready::Abandoned => self.end(reader, &log, Err(Error::new(Code::Cancelled, "the reader left"))),
                }
            }
            Err(error) => self.end(reader, &ticket.log, Err(error)),
        }
    }

    /// Ends an answer that never reached the engine thread.
    fn end(&self, reader: ReaderId, log: &AnswerLog, end: End) {
        self.stats.ended(&end);
        log.close("", end);
        self.readers.mark([reader]);
        self.readers.wake();
    }

    /// From now on the reader gets text as it comes, from the beginning of its answer.
    pub fn stream(&self, reader: ReaderId) {
        self.readers.stream(reader);
    }

    /// The consumer of a stream took that many tokens.
    pub fn credit(&self, reader: ReaderId, num_tokens: usize) {
        if self.readers.credit(reader, num_tokens)
            && let Some(sequence) = self.requests.submitted(reader)
        {
            self.send(Command::Unpark(sequence));
        }
    }

    /// Ends the answer with what there is.
    pub fn cancel(&self, reader: ReaderId) {
        self.requests.cancel(reader, |sequence| self.send(Command::Cancel(sequence)));
    }

    /// Nobody reads: nothing more is delivered and the work ends within a step.
    pub fn release(&self, reader: ReaderId) {
        self.readers.remove(reader);
        self.requests.remove(reader, |sequence| self.send(Command::Abandon(sequence)));
    }

    /// Delivers everything new; tokens and text are appended to the buffers, reader after reader.
    pub fn drain(&self, tokens: &mut Vec<TokenId>, text: &mut String) -> Vec<Delivery> {
        let deliveries = self.readers.drain(tokens, text);
        for delivery in deliveries.iter().filter(|delivery| delivery.end.is_some()) {
            self.requests.remove(delivery.reader, drop);
        }
        deliveries
    }

    /// Runs work on the tokenizer of a model where it cannot hold up the caller, within the time budget.
    pub fn with_text<T: Send + 'static>(
        &self,
        model: ModelKey,
        job: impl FnOnce(&ModelText) -> Result<T> + Send + 'static,
        reply: Reply<T>,
    ) {
        let rules = match self.check_open().and_then(|()| self.rules(model)) {
            Ok(rules) => rules,
            Err(error) => return reply.send(Err(error)),
        };
        let reply = Arc::new(Mutex::new(Some(reply)));
        let on_text_thread = Arc::clone(&reply);
        let queued = self.text.run(move || job(&rules.text), move |result| give(&on_text_thread, result));
        if let Err(error) = queued {
            give(&reply, Err(error));
        }
    }

    /// Counters since the start.
    pub fn stats(&self) -> Snapshot {
        self.stats.snapshot()
    }

    /// How the scheduling of each loaded model stands.
    pub fn model_stats(&self) -> Vec<(ModelKey, ModelStats)> {
        self.stats.models()
    }

    /// Refuses new work at once; what runs may end within `drain`, then it ends with `EngineClosed`.
    pub fn shutdown(self: &Arc<Self>, drain: Duration, reply: Reply<()>) {
        self.is_closed.store(true, Ordering::Release);
        let now = Instant::now();
        let at = now.checked_add(drain).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        // A thread that is gone already is what was asked for: its dropped command replies as well.
        self.send_behind_accepted(Command::Shutdown(at, Reply::new(move |_| reply.send(Ok(())))));
    }

    /// Ends the engine thread within the step it is in, and waits for it. For a process that is exiting.
    pub fn stop(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.send(Command::Stop);
        if let Some(thread) = lock(&self.thread).take() {
            thread.join().ok();
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn rules(&self, model: ModelKey) -> Result<Arc<ModelRules>> {
        let missing = || Error::new(Code::ModelNotLoaded, "the model is not loaded; call loadModel() first");
        lock(&self.models).get(&model).cloned().ok_or_else(missing)
    }

    fn overloaded(&self) -> Error {
        let limit = self.permits.limit();
        let message = format!("{limit} requests are pending, as many as this engine accepts");
        Error::new(Code::Overloaded, message)
            .with_limit(limit as f64, (self.permits.num_taken() + 1) as f64)
            .with_retry_after(self.stats.retry_after(self.permits.num_refused()))
    }

    /// A prompt counts towards the pending tokens from the moment it is known.
    fn extend(&self, permit: &mut Permit, request: Request) -> Result<Request> {
        let pending = match permit.extend(request.prompt.len()) {
            Ok(()) => return Ok(request),
            Err(pending) => pending,
        };
        let limit = self.permits.token_limit();
        let message = format!("{pending} prompt tokens would be pending, this engine accepts {limit}");
        Err(Error::new(Code::Overloaded, message)
            .with_limit(limit as f64, pending as f64)
            .with_retry_after(self.stats.retry_after(1)))
    }

    /// Sends a command after every request accepted so far, some of which may still be on the text thread.
    fn send_behind_accepted(self: &Arc<Self>, command: Command) {
        let engine = Arc::clone(self);
        let command = Arc::new(Mutex::new(Some(command)));
        let on_text_thread = Arc::clone(&command);
        let queued = self.text.run(|| Ok(()), move |_| engine.send_once(&on_text_thread));
        if queued.is_err() {
            self.send_once(&command);
        }
    }

    fn send_once(&self, command: &Mutex<Option<Command>>) {
        if let Some(command) = lock(command).take() {
            self.send(command);
        }
    }

    /// The channel has room for what pending requests usually cause; a full one only delays the caller by a step. When
    /// the thread is gone, commands give their replies as they are dropped and open answers were ended by the thread.
    fn send(&self, command: Command) {
        for returned in self.line.send(command) {
            if let Command::Submit(submission) = returned {
                self.end(submission.reader, &submission.log, Err(closed()));
            }
        }
    }
}

/// A request on its way through the text thread.
struct Ticket {
    model: ModelKey,
    sequence: SequenceId,
    reader: ReaderId,
    log: Arc<AnswerLog>,
    submitted_at: Instant,
    permit: Permit,
    coming: Coming,
}

/// One request more that is coming, for those who consider waiting for it, until this is dropped.
struct Coming(Arc<AtomicUsize>);

impl Coming {
    fn announce(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticket {
    /// Before it is sent: who counts it twice might wait for nobody.
    fn with(self, request: Request) -> Submission {
        let Self { model, sequence, reader, log, submitted_at, permit, coming } = self;
        drop(coming);
        Submission { model, sequence, reader, request, log, submitted_at, permit }
    }
}

/// Gives a reply that two threads may come to give.
fn give<T>(reply: &Mutex<Option<Reply<T>>>, result: Result<T>) {
    if let Some(reply) = lock(reply).take() {
        reply.send(result);
    }
}

/// The end of a request that was cancelled before the engine thread had it.
fn cancelled(num_input_tokens: usize, seed: u64, submitted_at: Instant) -> Summary {
    let total = submitted_at.elapsed();
    Summary {
        finish_reason: FinishReason::Cancelled,
        usage: Usage { input_tokens: num_input_tokens, ..Usage::default() },
        timings: Timings { queue: total, total, ..Timings::default() },
        served: Served::Computed,
        seed,
    }
}

/// Nothing done under these locks can panic half-way, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
