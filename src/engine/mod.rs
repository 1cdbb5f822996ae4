//! The engine: a handle for any thread, and the engine threads behind it, the workers. The handle checks a request, takes its
//! permits and gives it to the text pool, which sends it to a worker that `router` chooses. No call of the handle waits for room
//! in a `mailbox`. `core` and `runner` are the state of an engine thread, and `supervisor` replaces one that is lost; `loading`,
//! `refusal`, `sharing` and `ending` have more of the handle.

mod alarm;
mod answer_parser;
mod asked;
mod breaker;
mod budget;
mod census;
mod command;
mod comparison;
mod config;
mod core;
mod defaults;
mod demand;
mod device;
mod differing;
mod draft;
mod ending;
mod guarded;
mod health;
mod held;
mod ids;
mod keeping;
mod labels;
mod lease;
mod limits;
mod loading;
mod loads;
mod mailbox;
mod memory_use;
mod meter;
mod model_rules;
mod observe;
mod opening;
mod outbox;
mod passing;
mod pending;
mod permit;
mod progress;
mod refusal;
mod replicas;
mod router;
mod row;
mod rows;
mod runner;
mod sample;
mod scripted;
mod shared;
mod sharing;
mod slots;
mod snapshot;
mod stats;
mod step_timing;
mod supervisor;
mod threads;
mod ticket;
mod turnover;
mod watch;
mod worker;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::answers::{AnswerCache, AnswerLog, ReaderId, Saving, Stage, Wake};
use crate::clock::{Clock, RealClock};
use crate::error::{Code, Error, Result};
use crate::executor::{Backend, Limits};
use crate::lock::lock;
use crate::request::{TokenId, Usage};
use crate::text::{Load, ModelText, PoolLimits, TextCapabilities, TextPool};

use alarm::Alarm;
use answer_parser::Readers;
use asked::Asked;
use budget::{Budget, Ledger};
use command::{Command, closed};
use held::{HeldRequests, Leaving};
use loads::Loads;
use model_rules::ModelRules;
use permit::{Permit, Permits};
use refusal::refused_text;
use replicas::Replicas;
use router::Router;
use shared::SharedState;
use slots::SharedSlots;
use snapshot::Refusal;
use supervisor::Supervisor;
use ticket::{Coming, Ticket};
use workers::Workers;

pub use answer_parser::ParsedDelivery;
pub use breaker::CircuitState;
pub use command::{Reply, UnloadedAnswers};
pub use comparison::{Divergence, NotReused, PromptComparison};
pub use config::Config;
#[cfg(feature = "node")]
pub(crate) use draft::single;
pub use draft::{Draft, Prompt};
pub use health::{Health, HealthReason, HealthStatus};
pub use ids::{ModelKey, WorkerId};
pub use limits::{MAX_PROMPT_BYTES, PromptLimits};
pub use loading::ModelSource;
pub use memory_use::MemoryUse;
pub use meter::{Figures, Latency, Meter, StepKind};
pub use sample::{LabelStats, LoadedStats, ModelStats, PrefixMiss, Sample, Tally, WorkerLoad, WorkerStats};
pub use scripted::{Candidates, ScriptedAnswer, ScriptedAnswers, ScriptedEnd};
pub use snapshot::{Errors, Refusals, Snapshot};
pub use stats::Stats;
pub use step_timing::{StepCount, Totals};
pub use watch::RunningStep;
pub use workers::OpenBackend;

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
/// Cheap to share behind an `Arc`. Dropping the last handle ends the engine threads.
pub struct Engine {
    workers: Arc<Workers>,
    replicas: Arc<Replicas>,
    alarm: Alarm,
    backend: Arc<dyn Backend>,
    ledger: Arc<Ledger>,
    loads: Arc<Loads>,
    shared: SharedState,
    permits: Arc<Permits>,
    text: Arc<TextPool>,
    models: Mutex<HashMap<ModelKey, Arc<ModelRules>>>,
    /// The span in which the engine was started. Its threads run in it.
    span: tracing::Span,
    /// Requests that wait for their model.
    held: HeldRequests,
    next_sequence: AtomicU64,
    /// Prefix of generated request ids, random for each engine.
    name: String,
    next_model: AtomicU32,
    is_closed: AtomicBool,
    exports_metrics: bool,
    /// Saves the prompt cache to its file. Empty until `keep_answers_in` is called.
    saving: Arc<OnceLock<Saving>>,
}

impl Engine {
    /// Starts the engine threads and waits until the backend is ready. `wake` is called when [`drain`](Self::drain) has
    /// something to deliver.
    pub fn start(config: Config, open: OpenBackend, wake: Wake) -> Result<Arc<Self>> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let shared = SharedState {
            stats: Arc::new(Stats::new(clock.now(), config.stuck_after)),
            clock,
            readers: Arc::new(Readers::new(config.buffer_tokens, wake)),
            answers: Arc::new(AnswerCache::new(config.answers)),
            slots: Arc::new(SharedSlots::new(config.max_pending, config.max_wait)),
            router: Arc::new(Router::new(config.workers)),
            disk: Arc::default(),
        };
        let limits =
            PoolLimits { queue: config.max_pending, patience: config.text_patience, budget: config.text_budget };
        let slots = Arc::clone(&shared.slots);
        let text = Arc::new(TextPool::start("mlx-serving-text", limits)?);
        let ledger = Ledger::new(Budget::new(&config));
        let (alarm, heard) = Alarm::new();
        let (workers, backend) = Workers::start(&config, Arc::clone(&ledger), open, shared.clone(), alarm.clone())?;
        let replicas = Arc::<Replicas>::default();
        let supervisor = Supervisor {
            workers: Arc::clone(&workers),
            replicas: Arc::clone(&replicas),
            shared: shared.clone(),
            stuck_after: config.workers.replace_stuck.then_some(config.stuck_after),
        };
        supervisor.start(heard)?;
        Ok(Arc::new(Self {
            workers,
            replicas,
            alarm,
            backend,
            ledger,
            loads: Arc::default(),
            shared,
            permits: Permits::new(config.max_pending, config.max_pending_tokens, slots),
            text,
            models: Mutex::default(),
            span: tracing::Span::current(),
            held: HeldRequests::default(),
            next_sequence: AtomicU64::new(0),
            name: format!("{:08x}", RandomState::new().hash_one(Instant::now()) >> 32),
            next_model: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            exports_metrics: config.exports_metrics,
            saving: Arc::default(),
        }))
    }

    /// Accepts a request and returns one reader for each of its answers, in order. [`drain`](Self::drain) delivers the answers,
    /// including errors of the prompt.
    ///
    /// # Errors
    /// `EngineClosed` and `ModelNotLoaded`; `InvalidParams` if `n` is more than [`Config::max_pending`]; `Overloaded` and
    /// `CircuitOpen` with a retry hint.
    pub fn submit(self: &Arc<Self>, model: ModelKey, mut draft: Draft) -> Result<Vec<ReaderId>> {
        self.check_open()?;
        let rules = self.rules(model)?;
        draft.logprobs = draft.logprobs.map(|count| rules.num_logprobs(count));
        let (num_choices, label) = (draft.num_choices, rules.label);
        let permits = self.take_permits(&draft, label, Some(&rules.circuit))?;
        let tickets = self.tickets(model, &rules, &draft, permits);
        let readers: Vec<_> = tickets.iter().map(|ticket| ticket.asked.reader).collect();
        self.want_progress(&draft, &readers);
        if let Err(refused) = self.prepare(rules, draft, tickets) {
            for reader in readers {
                self.release(reader);
            }
            self.shared.stats.refused(label, Refusal::Prompts, num_choices);
            return Err(refused_text(refused));
        }
        Ok(readers)
    }

    /// Gives a draft to the text pool, which prepares its prompt and passes it on. An error if too many prompts wait.
    fn prepare(self: &Arc<Self>, rules: Arc<ModelRules>, draft: Draft, tickets: Vec<Ticket>) -> Result<()> {
        let engine = Arc::clone(self);
        let queued = self.text.run(
            draft.load(),
            move || rules.apply(draft),
            move |prepared| engine.pass_all_on(tickets, prepared),
        );
        queued.map_err(|refused| refused.error)
    }

    /// Requests progress reports for the first reader only: all answers have the same prompt.
    fn want_progress(&self, draft: &Draft, readers: &[ReaderId]) {
        if let Some(first) = readers.first().filter(|_| draft.wants_progress) {
            self.shared.readers.want_progress(*first);
        }
    }

    /// Limits on prompts of a model; [`PromptLimits::NONE`] if it is not loaded.
    pub fn prompt_limits(&self, model: ModelKey) -> PromptLimits {
        self.rules(model).map_or(PromptLimits::NONE, |rules| rules.limits)
    }

    fn tickets(&self, model: ModelKey, rules: &ModelRules, draft: &Draft, permits: Vec<Permit>) -> Vec<Ticket> {
        let now = self.shared.clock.now();
        let ticket = |((sequence, id), permit)| {
            let log = Arc::new(AnswerLog::new(id).with_logprobs(draft.logprobs));
            let asked = Asked { reader: self.shared.readers.add(Arc::clone(&log), now), label: rules.label, at: now };
            let coming = Coming::announce(&rules.coming);
            Ticket { model, sequence, asked, log, permit, coming }
        };
        self.names(draft, permits.len()).into_iter().zip(permits).map(ticket).collect()
    }

    /// Numbers for `count` sequences; returns the first.
    fn next_sequences(&self, count: usize) -> u64 {
        self.next_sequence.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Lets a reader stream: it gets its answer from the beginning, and new tokens as they are generated.
    pub fn stream(&self, reader: ReaderId) {
        self.shared.readers.stream(reader);
    }

    /// Returns credit for tokens that the consumer of a stream took.
    pub fn credit(&self, reader: ReaderId, num_tokens: usize) {
        if self.shared.readers.credit(reader, num_tokens) {
            self.send(|| Command::Unpark(reader));
        }
    }

    /// What the request of a reader has used so far; `None` before its generation has started.
    pub fn usage(&self, reader: ReaderId) -> Option<Usage> {
        self.shared.readers.spent(reader).map(answer_parser::usage_of)
    }

    /// Ends an answer with the tokens so far.
    pub fn cancel(&self, reader: ReaderId) {
        self.leave_held(reader, Leaving::Cancel);
        if self.shared.readers.cancel(reader) {
            self.send(|| Command::Cancel(reader));
        }
    }

    /// Removes a reader: nothing more is delivered to it, and work without readers ends within a step.
    pub fn release(&self, reader: ReaderId) {
        self.leave_held(reader, Leaving::Release);
        if self.shared.readers.remove(reader) == Some(Stage::Submitted) {
            self.send(|| Command::Abandon(reader));
        }
    }

    /// Delivers everything new. Tokens and text are appended to the buffers, reader after reader.
    pub fn drain(&self, tokens: &mut Vec<TokenId>, text: &mut String) -> Vec<ParsedDelivery> {
        let mut raw = String::new();
        let deliveries = self.shared.readers.drain(tokens, &mut raw);
        answer_parser::parse(deliveries, &raw, text)
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
        self.run_text(load, move || job(&rules.text), move |result| reply.send(result));
    }

    /// Runs a job in the text pool and calls `done` with its result. If too many jobs wait, the result is an error with a retry
    /// hint.
    fn run_text<T: Send + 'static>(
        &self,
        load: Load,
        job: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        if let Err(refused) = self.text.run(load, job, done) {
            (refused.done)(Err(refused_text(refused.error)));
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn rules(&self, model: ModelKey) -> Result<Arc<ModelRules>> {
        let missing = || Error::new(Code::ModelNotLoaded, "the model is not loaded; call loadModel() first");
        lock(&self.models).get(&model).cloned().ok_or_else(missing)
    }

    /// Sends a command to every worker. Workers that do not have the request ignore the command.
    fn send(&self, command: impl FnMut() -> Command) {
        self.workers.send_all(command);
    }
}
