//! The engine: a handle for any thread, and the engine thread behind it. The handle checks a request, takes its permits and
//! gives it to the text pool, which sends it to the engine thread. No call of the handle waits for room in its `mailbox`.
//! `core` and `runner` are the state of the engine thread; `loading` and `refusal` have more of the handle.

mod answer_parser;
mod budget;
mod census;
mod command;
mod config;
mod core;
mod defaults;
mod demand;
mod device;
mod draft;
mod guarded;
mod limits;
mod loading;
mod loads;
mod mailbox;
mod model_rules;
mod opening;
mod outbox;
mod passing;
mod pending;
mod permit;
mod progress;
mod refusal;
mod row;
mod rows;
mod runner;
mod scripted;
mod shared;
mod slots;
mod snapshot;
mod stats;
mod step_timing;
mod thread;
mod threads;
mod ticket;
mod turnover;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::answers::{AnswerCache, AnswerLog, ReaderId, Saving, Settings, Stage, Wake};
use crate::clock::{Clock, RealClock};
use crate::error::{Code, Error, Result};
use crate::executor::{Backend, Limits};
use crate::lock::lock;
use crate::request::{RequestId, SequenceId, TokenId, Usage};
use crate::text::{Load, ModelText, PoolLimits, TextCapabilities, TextPool};

use answer_parser::Readers;
use budget::{Budget, Ledger};
use command::{Command, closed};
use loads::Loads;
use mailbox::Mailbox;
use model_rules::ModelRules;
use permit::{Permit, Permits};
use refusal::refused_text;
use shared::SharedState;
use slots::SharedSlots;
use snapshot::Refusal;
use thread::Started;
use threads::Work;
use ticket::{Coming, Ticket};

pub use answer_parser::ParsedDelivery;
pub use command::{ModelKey, Reply};
pub use config::Config;
#[cfg(feature = "node")]
pub(crate) use draft::single;
pub use draft::{Draft, Prompt};
pub use limits::{MAX_PROMPT_BYTES, PromptLimits};
pub use loading::ModelSource;
pub use scripted::{Candidates, ScriptedAnswer, ScriptedAnswers, ScriptedEnd};
pub use snapshot::{Errors, Refusals, Snapshot};
pub use stats::{ModelStats, Stats};
pub use step_timing::{StepCount, Totals};
pub use thread::OpenBackend;

/// A loaded model, as the caller sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Identifies the model in later calls.
    pub key: ModelKey,
    /// The model folder.
    pub path: PathBuf,
    /// `model_type` of its `config.json`.
    pub family: String,
    /// Limits and memory of the loaded model.
    pub limits: Limits,
    /// Bits and group size, if the weights are quantized.
    pub quantization: Option<(u32, u32)>,
    /// Bytes of its tensors in the files.
    pub file_bytes: u64,
    /// What its prompts and answers may have.
    pub capabilities: TextCapabilities,
    /// Settings in the model's files that were ignored; each message names its file.
    pub warnings: Vec<String>,
}

/// An LLM engine: load models, submit requests, drain answers.
///
/// Cheap to share behind an `Arc`. Dropping the last handle ends the engine thread.
pub struct Engine {
    mailbox: Mailbox<Command>,
    thread: Work,
    backend: Arc<dyn Backend>,
    ledger: Arc<Ledger>,
    loads: Arc<Loads>,
    shared: SharedState,
    permits: Arc<Permits>,
    text: Arc<TextPool>,
    models: Mutex<HashMap<ModelKey, Arc<ModelRules>>>,
    next_sequence: AtomicU64,
    /// Prefix of generated request ids, random for each engine.
    name: String,
    next_model: AtomicU32,
    is_closed: AtomicBool,
    /// The file of the answer cache, once there is one.
    saving: Arc<OnceLock<Saving>>,
}

impl Engine {
    /// Starts the engine thread and waits until its backend is ready. `wake` is called when [`drain`](Self::drain) has
    /// something to deliver.
    pub fn start(config: Config, open: OpenBackend, wake: Wake) -> Result<Arc<Self>> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let shared = SharedState {
            clock,
            readers: Arc::new(Readers::new(config.buffer_tokens, wake)),
            answers: Arc::new(AnswerCache::new(config.answers)),
            stats: Arc::default(),
            slots: Arc::new(SharedSlots::new(config.max_pending, config.max_wait)),
        };
        let limits =
            PoolLimits { queue: config.max_pending, patience: config.text_patience, budget: config.text_budget };
        let slots = Arc::clone(&shared.slots);
        let text = Arc::new(TextPool::start("mlx-serving-text", limits)?);
        let ledger = Ledger::new(Budget::new(&config));
        let Started { mailbox, thread, backend } = thread::start(&config, Arc::clone(&ledger), open, shared.clone())?;
        Ok(Arc::new(Self {
            mailbox,
            thread,
            backend,
            ledger,
            loads: Arc::default(),
            shared,
            permits: Permits::new(config.max_pending, config.max_pending_tokens, slots),
            text,
            models: Mutex::default(),
            next_sequence: AtomicU64::new(0),
            name: format!("{:08x}", RandomState::new().hash_one(Instant::now()) >> 32),
            next_model: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            saving: Arc::default(),
        }))
    }

    /// Accepts a request and returns one reader for each of its answers, in order. [`drain`](Self::drain) delivers the answers,
    /// including errors of the prompt.
    ///
    /// # Errors
    /// `EngineClosed`, `ModelNotLoaded`, and `Overloaded` with a retry hint.
    pub fn submit(self: &Arc<Self>, model: ModelKey, mut draft: Draft) -> Result<Vec<ReaderId>> {
        self.check_open()?;
        let rules = self.rules(model)?;
        draft.logprobs = draft.logprobs.map(|count| rules.num_logprobs(count));
        let num_choices = draft.num_choices;
        let permits = self.take_permits(&draft)?;
        let tickets = self.tickets(model, &rules, &draft, permits);
        let readers: Vec<_> = tickets.iter().map(|ticket| ticket.reader).collect();
        // All answers have one prompt, and the first one reads it.
        if let Some(first) = readers.first().filter(|_| draft.wants_progress) {
            self.shared.readers.want_progress(*first);
        }
        let engine = Arc::clone(self);
        let queued = self.text.run(
            draft.load(),
            move || rules.apply(draft),
            move |prepared| engine.pass_all_on(tickets, prepared),
        );
        if let Err(refused) = queued {
            for reader in readers {
                self.release(reader);
            }
            self.shared.stats.refused(Refusal::Prompts, num_choices);
            return Err(refused_text(refused.error));
        }
        Ok(readers)
    }

    /// Limits on prompts of a model; [`PromptLimits::NONE`] if it is not loaded.
    pub fn prompt_limits(&self, model: ModelKey) -> PromptLimits {
        self.rules(model).map_or(PromptLimits::NONE, |rules| rules.limits)
    }

    fn tickets(&self, model: ModelKey, rules: &ModelRules, draft: &Draft, permits: Vec<Permit>) -> Vec<Ticket> {
        let first = self.next_sequence.fetch_add(permits.len() as u64, Ordering::Relaxed);
        let name = draft.id.clone().unwrap_or_else(|| format!("{}-{first}", self.name));
        let ticket = |(choice, permit): (u64, Permit)| {
            let id = if choice == 0 { name.clone() } else { format!("{name}#{choice}") };
            let log = Arc::new(AnswerLog::new(RequestId(id.into())).with_logprobs(draft.logprobs));
            let reader = self.shared.readers.add(Arc::clone(&log), self.shared.clock.now());
            let coming = Coming::announce(&rules.coming);
            Ticket { model, sequence: SequenceId(first + choice), reader, log, permit, coming }
        };
        (0..).zip(permits).map(ticket).collect()
    }

    /// Makes a reader a stream: it gets its answer from the start and as it grows.
    pub fn stream(&self, reader: ReaderId) {
        self.shared.readers.stream(reader);
    }

    /// Returns credit for tokens that the consumer of a stream took.
    pub fn credit(&self, reader: ReaderId, num_tokens: usize) {
        if self.shared.readers.credit(reader, num_tokens) {
            self.send(Command::Unpark(reader));
        }
    }

    /// What the request of a reader has used so far; `None` before its generation has started.
    pub fn usage(&self, reader: ReaderId) -> Option<Usage> {
        self.shared.readers.spent(reader).map(answer_parser::usage_of)
    }

    /// Ends an answer with the tokens so far.
    pub fn cancel(&self, reader: ReaderId) {
        if self.shared.readers.cancel(reader) {
            self.send(Command::Cancel(reader));
        }
    }

    /// Removes a reader: nothing more is delivered to it, and work without readers ends within a step.
    pub fn release(&self, reader: ReaderId) {
        if self.shared.readers.remove(reader) == Some(Stage::Submitted) {
            self.send(Command::Abandon(reader));
        }
    }

    /// Delivers everything new. Tokens and text are appended to the buffers, reader after reader.
    pub fn drain(&self, tokens: &mut Vec<TokenId>, text: &mut String) -> Vec<ParsedDelivery> {
        let mut raw = String::new();
        let deliveries = self.shared.readers.drain(tokens, &mut raw);
        answer_parser::parse(deliveries, &raw, text)
    }

    /// Which answers are shared.
    pub fn sharing(&self) -> Settings {
        self.shared.answers.settings()
    }

    /// Changes which answers are shared, from the next request on.
    pub fn configure_sharing(&self, settings: Settings) {
        self.shared.answers.configure(settings);
    }

    /// Empties the answer cache. Requests from now on do not join a running generation that started before.
    pub fn forget_answers(&self) {
        self.shared.answers.clear();
    }

    /// Runs work on a model's tokenizer in the text pool, within the time budget.
    pub fn with_text<T: Send + 'static>(
        &self,
        model: ModelKey,
        load: Load,
        job: impl FnOnce(&ModelText) -> Result<T> + Send + 'static,
        reply: Reply<T>,
    ) {
        let rules = match self.check_open().and_then(|()| self.rules(model)) {
            Ok(rules) => rules,
            Err(error) => return reply.send(Err(error)),
        };
        if let Err(refused) = self.text.run(load, move || job(&rules.text), move |result| reply.send(result)) {
            (refused.done)(Err(refused_text(refused.error)));
        }
    }

    /// Counters since the start.
    pub fn stats(&self) -> Snapshot {
        self.shared.stats.snapshot(&self.shared.answers)
    }

    /// Counters since the start and the statistics of each loaded model, at one moment.
    pub fn sample(&self) -> (Snapshot, Vec<(ModelKey, ModelStats)>) {
        self.shared.stats.sample(&self.shared.answers)
    }

    /// Bytes of KV that the sequences of all models may hold together now, if limited.
    pub fn kv_limit(&self) -> Option<u64> {
        self.ledger.kv()
    }

    /// Keeps reproducible answers in a file, and loads those that it has. An engine can do this once. A file that cannot be
    /// read is renamed, with a warning.
    pub fn keep_answers_in(&self, path: PathBuf) -> Result<()> {
        let saving = Saving::start(&self.shared.answers, path)?;
        self.saving.set(saving).map_err(|_| Error::new(Code::ConfigError, "answers are kept in another file already"))
    }

    /// Problems of background work since the last call, such as saving the cache; one sentence each.
    pub fn take_warnings(&self) -> Vec<String> {
        self.saving.get().map(Saving::take_warnings).unwrap_or_default()
    }

    /// Refuses new requests at once, and aborts loads. Running requests may end within `drain`, and then fail with
    /// `EngineClosed`.
    pub fn shutdown(self: &Arc<Self>, drain: Duration, reply: Reply<()>) {
        self.is_closed.store(true, Ordering::Release);
        self.loads.close(&closed());
        let now = Instant::now();
        let at = now.checked_add(drain).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        // If the thread has ended already, the dropped command replies with an error, which also means success here.
        let (saving, loads) = (Arc::clone(&self.saving), Arc::clone(&self.loads));
        let ended = move |_| {
            saving.get().inspect(|saving| saving.finish());
            loads.at_end(move || reply.send(Ok(())));
        };
        self.send_behind_accepted(Command::Shutdown(at, Reply::new(ended)));
    }

    /// Ends the engine thread, and waits for it, for the steps that were submitted, and for loads that read weights. For a
    /// process that is exiting.
    pub fn stop(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.loads.close(&closed());
        self.send(Command::Stop);
        self.thread.wait();
        self.loads.leave_device();
        self.saving.get().inspect(|saving| saving.finish());
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn rules(&self, model: ModelKey) -> Result<Arc<ModelRules>> {
        let missing = || Error::new(Code::ModelNotLoaded, "the model is not loaded; call loadModel() first");
        lock(&self.models).get(&model).cloned().ok_or_else(missing)
    }

    /// Sends a command after every request accepted so far, including those that the text pool is still preparing.
    fn send_behind_accepted(self: &Arc<Self>, command: Command) {
        let engine = Arc::clone(self);
        self.text.run_after_accepted(move || engine.send(command));
    }

    /// Sends a command; never blocks. After the thread has ended, dropped commands give their replies, and the thread has ended
    /// all open answers.
    fn send(&self, command: Command) {
        if let Err(Command::Submit(submission)) = self.mailbox.send(command) {
            self.shared.end(submission.reader, &submission.log, Err(closed()));
        }
    }
}
