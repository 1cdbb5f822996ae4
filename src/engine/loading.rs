//! How a model comes to an engine and leaves it. Files are read on a thread of their own; what happens on the device, the
//! engine thread does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use crate::error::{Code, Result};
use crate::hub;
use crate::lock::lock;
use crate::text::{LOAD_STACK_BYTES, ModelText};

use super::command::{Command, Loading, ModelKey, Opened, Reply};
use super::defaults;
use super::draft::ModelRules;
use super::guarded::guarded;
use super::{Engine, ModelInfo};

/// A model whose folder was read, on its way to the engine thread.
struct ReadModel {
    folder: hub::ModelFolder,
    text: Arc<ModelText>,
    files: [u8; 32],
}

impl Engine {
    /// Loads the model in a folder. Files are read on a thread of their own; the device part runs on the engine thread.
    pub fn load(self: &Arc<Self>, path: PathBuf, reply: Reply<ModelInfo>) {
        let engine = Arc::clone(self);
        let load = move || match engine.read_model(&path) {
            Ok(read) => engine.open_model(read, reply),
            Err(error) => reply.send(Err(error)),
        };
        // A reply is given also when the thread cannot be started: it is dropped with the closure.
        let thread = Builder::new().name("mlx-serving-load".into()).stack_size(LOAD_STACK_BYTES);
        drop(thread.spawn(load));
    }

    fn read_model(&self, path: &Path) -> Result<ReadModel> {
        self.check_open()?;
        guarded(Code::ModelLoadError, || {
            let folder = hub::open_folder(path)?;
            let text = Arc::new(ModelText::open(&folder)?);
            let files = hub::fingerprint(&folder)?;
            Ok(ReadModel { folder, text, files })
        })
    }

    fn open_model(self: Arc<Self>, read: ReadModel, reply: Reply<ModelInfo>) {
        let ReadModel { folder, text, files } = read;
        let key = ModelKey(self.next_model.fetch_add(1, Ordering::Relaxed));
        let (path, family, quantization) = (folder.path.clone(), folder.family(), folder.quantization());
        let (sampling, ignored) = defaults::read(&folder.generation_config);
        let warnings = [ignored.as_slice(), text.warnings()].concat();
        let rules_text = Arc::clone(&text);
        let engine = Arc::clone(&self);
        let coming = Arc::new(AtomicUsize::new(0));
        let of_lane = Arc::clone(&coming);
        let opened = Reply::new(move |opened: Result<Opened>| {
            reply.send(opened.map(|opened| {
                let rules = ModelRules::new(rules_text, sampling, opened, coming);
                lock(&engine.models).insert(key, Arc::new(rules));
                ModelInfo { key, path, family, limits: opened.limits, quantization, warnings }
            }));
        });
        let loading = Loading { key, folder, text, files, coming: of_lane, reply: opened };
        self.send(Command::Load(Box::new(loading)));
    }

    /// Refuses new requests for a model, lets running ones end, then drops it.
    pub fn unload(self: &Arc<Self>, model: ModelKey, reply: Reply<()>) {
        lock(&self.models).remove(&model);
        self.send_behind_accepted(Command::Unload(model, reply));
    }
}
