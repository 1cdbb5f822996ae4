//! Writes the prompt cache to its file, some time after a change and at the end. Writing waits for the disk, so a thread of
//! its own does it. The thread sleeps while the cache does not change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{Code, Error, Result};
use crate::lock::lock;

use super::cache::AnswerCache;
use super::file::{self, Loaded};

/// Time from a change to the write, which covers all changes in this time. A crash loses the answers since the last write.
const WRITE_DELAY: Duration = Duration::from_secs(10);

/// Saves the prompt cache of an engine while the engine lives.
pub struct Saving {
    closing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Saving {
    /// Loads the answers of the file, if it exists, and starts the thread that writes it.
    ///
    /// `ConfigError` if the path is not a file, `BackendError` if the thread cannot be started.
    pub fn start(answers: &Arc<AnswerCache>, path: PathBuf) -> Result<Self> {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        match file::load(&path)? {
            Loaded::Missing => {}
            Loaded::Answers(loaded) => answers.restore(loaded),
            Loaded::SetAside(warning) => lock(&warnings).push(warning),
        }
        let (close, closed) = bounded(0);
        let checked = file::check(&path);
        let mut writer =
            Writer { answers: Arc::clone(answers), path, warnings: Arc::clone(&warnings), last_warning: String::new() };
        // A wrong path is reported at start, not when the answers are lost.
        writer.warn(checked);
        let changes = answers.watch();
        let thread = Builder::new()
            .name("mlx-serving-save".into())
            .spawn(move || writer.run(&changes, &closed))
            .map_err(|error| {
                Error::new(Code::BackendError, "the thread that saves the cache cannot be started").with_source(error)
            })?;
        Ok(Self { closing: Mutex::new(Some((close, thread))), warnings })
    }

    /// Writes the last changes and ends the thread. A second call has no effect.
    pub fn finish(&self) {
        let closing = lock(&self.closing).take();
        if let Some((close, thread)) = closing {
            drop(close);
            thread.join().ok();
        }
    }

    /// The problems since the last call, as sentences for users.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.warnings))
    }
}

struct Writer {
    answers: Arc<AnswerCache>,
    path: PathBuf,
    warnings: Arc<Mutex<Vec<String>>>,
    /// The last warning: a problem that happens several times in a row is reported once.
    last_warning: String,
}

impl Writer {
    fn run(&mut self, changes: &Receiver<()>, closed: &Receiver<()>) {
        loop {
            crossbeam_channel::select! {
                recv(changes) -> _ => {}
                recv(closed) -> _ => return self.save_if(changes.try_recv().is_ok()),
            }
            let is_closed = closed.recv_timeout(WRITE_DELAY) == Err(RecvTimeoutError::Disconnected);
            // Cleared before the write: a change during the write causes another write.
            changes.try_recv().ok();
            self.save_if(true);
            if is_closed {
                return;
            }
        }
    }

    fn save_if(&mut self, has_changed: bool) {
        if has_changed {
            let written = file::save(&self.path, &self.answers.reproducible());
            self.answers.written(written.is_ok());
            self.warn(written);
        }
    }

    fn warn(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        let warning = format!("the prompt cache could not be written to {}: {error}", self.path.display());
        if self.last_warning != warning {
            self.last_warning.clone_from(&warning);
            lock(&self.warnings).push(warning);
        }
    }
}
