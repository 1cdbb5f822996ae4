//! What an engine keeps on the disk: cached answers in a file, and KV in a folder.

use std::path::PathBuf;
use std::sync::Arc;

use crate::answers::Saving;
use crate::error::{Code, Error, Result};
use crate::prefix_store::PrefixStore;

use super::Engine;
use super::command::Command;

impl Engine {
    /// Keeps reproducible answers in a file, and loads those that it has. An engine can do this once. A file that cannot be
    /// read is renamed, with a warning.
    pub fn keep_answers_in(&self, path: PathBuf) -> Result<()> {
        let saving = Saving::start(&self.shared.answers, path)?;
        self.saving.set(saving).map_err(|_| Error::new(Code::ConfigError, "answers are kept in another file already"))
    }

    /// Keeps KV of prompts and answers in a folder, and uses what the folder has. An engine can do this once, before it loads a
    /// model.
    pub fn keep_prefixes_in(self: &Arc<Self>, path: PathBuf) -> Result<()> {
        let max_bytes = self.sharing().prefix_cache.max_disk_bytes as u64;
        let engine = Arc::downgrade(self);
        let notify = move || {
            engine.upgrade().inspect(|engine| engine.send(|| Command::DiskReady));
        };
        let store = PrefixStore::open(path, max_bytes, Box::new(notify))?;
        let set = self.shared.disk.set(store);
        set.map_err(|_| Error::new(Code::ConfigError, "KV is kept in another folder already"))
    }

    /// Problems of background work since the last call, such as saving the cache; one sentence each.
    pub fn take_warnings(&self) -> Vec<String> {
        let answers = self.saving.get().map(Saving::take_warnings).unwrap_or_default();
        let prefixes = self.shared.disk.get().map(|disk| disk.take_warnings()).unwrap_or_default();
        [answers, prefixes].concat()
    }
}
