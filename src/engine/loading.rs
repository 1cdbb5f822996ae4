//! Loading and unloading of models. A separate thread reads files and weights. The engine thread does the part on the device,
//! in turns between steps of other models (`opening`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Code, Result};
use crate::executor::{LoadControl, Prepared};
use crate::hub;
use crate::lock::lock;
use crate::text::{ModelText, TextCapabilities, TextOptions};

use super::budget::Reservation;
use super::command::{Command, Loading, ModelKey, Opened, Reply};
use super::defaults;
use super::guarded::guarded;
use super::loads::ActiveLoad;
use super::model_rules::ModelRules;
use super::threads::LOADS;
use super::{Engine, ModelInfo};

/// A model whose folder and weights were read. Fields are dropped in this order.
struct ReadModel {
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
    /// How its prompts differ from what the folder says.
    pub text: TextOptions,
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self { path, text: TextOptions::default() }
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
        let engine = Arc::clone(self);
        let load = move || match engine.read_model(&source, &active) {
            Ok(read) => engine.open_model(read, active, reply),
            Err(error) => {
                drop(active);
                reply.send(Err(error));
            }
        };
        // If no thread can be started, the closure is dropped, and the reply with it, which replies with an error.
        drop(LOADS.run(load));
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
            Ok(ReadModel { prepared, reservation, folder, text, capabilities, files })
        })
    }

    fn open_model(self: Arc<Self>, read: ReadModel, active: ActiveLoad, reply: Reply<ModelInfo>) {
        let ReadModel { prepared, reservation, folder, text, capabilities, files } = read;
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
            reply.send(opened.map(|opened| {
                let limits = opened.limits;
                let rules = ModelRules::new(rules_text, sampling, opened, rules_coming);
                lock(&engine.models).insert(key, Arc::new(rules));
                ModelInfo { key, path, family, limits, quantization, file_bytes, capabilities, warnings }
            }));
        });
        let loading = Loading { prepared, reservation, active, key, text, files, coming, reply: opened };
        self.send(Command::Load(Box::new(loading)));
    }

    /// Refuses new requests for a model, lets running requests end, then drops the model.
    pub fn unload(self: &Arc<Self>, model: ModelKey, reply: Reply<()>) {
        lock(&self.models).remove(&model);
        self.send_behind_accepted(Command::Unload(model, reply));
    }
}
