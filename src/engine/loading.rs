//! Loading and unloading of models. A separate thread reads files and weights. The engine thread does the part on the device,
//! in turns between steps of other models (`opening`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Code, Result};
use crate::executor::{LoadControl, Prepared};
use crate::hub;
use crate::lock::lock;
use crate::text::{ModelText, TextCapabilities, TextOptions};

use super::breaker::Circuit;
use super::budget::Reservation;
use super::command::{Command, Opened, Reply, UnloadedAnswers, Unloading, closed};
use super::defaults;
use super::guarded::guarded;
use super::ids::ModelKey;
use super::loads::ActiveLoad;
use super::model_rules::ModelRules;
use super::replicas;
use super::threads::LOADS;
use super::{Engine, ModelInfo};

/// A model whose folder and weights were read. Fields are dropped in this order.
struct ReadModel {
    id: String,
    prepared: Box<dyn Prepared>,
    reservation: Reservation,
    folder: hub::ModelFolder,
    text: Arc<ModelText>,
    capabilities: TextCapabilities,
    files: [u8; 32],
}

/// What to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// The model folder.
    pub path: PathBuf,
    /// The id of the model, which labels its metrics; by default the name of the folder.
    pub id: Option<String>,
    /// How its prompts differ from what the folder says.
    pub text: TextOptions,
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }
}

impl ModelSource {
    fn label(&self) -> String {
        let folder = || self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned();
        self.id.clone().unwrap_or_else(folder)
    }
}

impl Engine {
    /// Loads a model while other models run. `control` shows the progress, and aborts the load: it then releases its memory
    /// after the current part of its work, and replies.
    pub fn load(self: &Arc<Self>, source: ModelSource, control: LoadControl, reply: Reply<ModelInfo>) {
        let active = match self.check_open().and_then(|()| self.loads.begin(control)) {
            Ok(active) => active,
            Err(error) => return reply.send(Err(error)),
        };
        let (engine, began) = (Arc::clone(self), self.shared.clock.now());
        let load = move || match engine.read_model(&source, &active) {
            Ok(read) => engine.open_model(read, (active, began), reply),
            Err(error) => {
                drop(active);
                reply.send(Err(error));
            }
        };
        // If no thread can be started, the closure is dropped, and the reply with it, which replies with an error.
        drop(self.span.in_scope(|| LOADS.run(load)));
    }

    fn read_model(&self, source: &ModelSource, active: &ActiveLoad) -> Result<ReadModel> {
        let control = &active.control;
        guarded(Code::ModelLoadError, || {
            control.check()?;
            let folder = hub::open_folder(&source.path)?;
            control.expect_bytes(folder.weight_bytes);
            control.check()?;
            let text = Arc::new(ModelText::open_with(&folder, &source.text)?);
            let capabilities = text.capabilities();
            control.check()?;
            let files = hub::fingerprint(&folder)?;
            let weight_bytes = |free| self.backend.weight_bytes(&folder, free);
            let (reservation, free) = self.ledger.reserve(control, weight_bytes)?;
            active.enter_device()?;
            self.backend.enter_load_thread();
            let prepared = self.backend.prepare(&folder, free, control)?;
            Ok(ReadModel { id: source.label(), prepared, reservation, folder, text, capabilities, files })
        })
    }

    /// Hands a model that was read to the workers. Its load began at the given time.
    fn open_model(self: Arc<Self>, read: ReadModel, (active, began): (ActiveLoad, Instant), reply: Reply<ModelInfo>) {
        let ReadModel { id, prepared, reservation, folder, text, capabilities, files } = read;
        let label = self.shared.stats.label(&id);
        let key = ModelKey(self.next_model.fetch_add(1, Ordering::Relaxed));
        let (path, family, quantization) = (folder.path.clone(), folder.family(), folder.quantization());
        let file_bytes = folder.weight_bytes;
        let (sampling, ignored) = defaults::read(&folder.generation_config);
        let warnings = [ignored.as_slice(), text.warnings()].concat();
        let rules_text = Arc::clone(&text);
        let engine = Arc::clone(&self);
        let coming = Arc::new(AtomicUsize::new(0));
        let rules_coming = Arc::clone(&coming);
        let opened = Reply::new(move |opened: Result<Opened>| {
            if opened.is_err() {
                engine.replicas.remove(key);
                let how = Unloading { at: engine.shared.clock.now(), answers: UnloadedAnswers::Keep };
                engine.send(|| Command::Unload(key, how, Reply::new(|_| ())));
            }
            reply.send(opened.map(|opened| {
                let limits = opened.limits;
                let now = engine.shared.clock.now();
                engine.shared.stats.loaded(label, now.saturating_duration_since(began));
                let rules = ModelRules::new(rules_text, sampling, opened, rules_coming);
                lock(&engine.models).insert(key, Arc::new(rules));
                ModelInfo { key, path, family, limits, quantization, file_bytes, capabilities, warnings }
            }));
        });
        let (reservation, circuit) = (Arc::new(reservation), Circuit::new(self.shared.clock.now()));
        let model = replicas::Model { prepared, reservation, label, text, files, coming, circuit };
        let workers = self.workers.open_ids();
        if workers.is_empty() {
            return opened.send(Err(closed()));
        }
        let replies = opened.split(workers.len());
        for (worker, loading) in workers.into_iter().zip(self.replicas.add(key, model, active, replies)) {
            drop(self.workers.send(worker, Command::Load(Box::new(loading))));
        }
        self.alarm.busy();
    }

    /// Refuses new requests for a model, lets running requests end, then drops the model. Requests that still run after `drain`
    /// fail with `ModelNotLoaded`. A further call can shorten that time.
    pub fn unload(self: &Arc<Self>, model: ModelKey, drain: Duration, answers: UnloadedAnswers, reply: Reply<()>) {
        let rules = lock(&self.models).remove(&model);
        let unloaded = rules.map(|rules| (rules.label, rules.fingerprint));
        self.replicas.remove(model);
        let now = self.shared.clock.now();
        let at = now.checked_add(drain).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        let engine = Arc::clone(self);
        let ended = Reply::new(move |result| {
            if let Some((label, fingerprint)) = unloaded {
                engine.shared.stats.unloaded(label);
                // A worker does so as well, unless it was lost meanwhile.
                if answers == UnloadedAnswers::Remove {
                    engine.shared.answers.remove_model(fingerprint);
                }
            }
            reply.send(result);
        });
        self.send_behind_accepted(ended, move |reply| Command::Unload(model, Unloading { at, answers }, reply));
    }
}
