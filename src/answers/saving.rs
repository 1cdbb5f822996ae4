//! Writes the prompt cache to its file: some time after it changed, and at the end. A thread of its own does it, which
//! sleeps while nothing changes: writing waits for a disk, and nothing else does.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{Code, Error, Result};
use crate::lock::lock;

use super::file::{self, Found};
use super::kept::Answers;

/// After a change, others are waited for so long: a crash costs at most the answers of this time.
const GATHERING: Duration = Duration::from_secs(10);

/// The file of an engine's prompt cache, as long as the engine lives.
pub struct Saving {
    closing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Saving {
    /// Takes up the answers in a file, if there are any, and writes it from now on.
    ///
    /// `ConfigError` where there is something else than a file, `BackendError` where the system gives no thread.
    pub fn start(answers: &Arc<Answers>, path: PathBuf) -> Result<Self> {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        match file::load(&path)? {
            Found::Nothing => {}
            Found::Answers(found) => answers.restore(found),
            Found::Foreign(warning) => lock(&warnings).push(warning),
        }
        let (close, closed) = bounded(0);
        let checked = file::check(&path);
        let mut writer =
            Writer { answers: Arc::clone(answers), path, warnings: Arc::clone(&warnings), said: String::new() };
        // Who has mistaken the folder learns it now, not when the answers are lost.
        writer.say(checked);
        let changes = answers.watch();
        let thread =
            Builder::new().name("mlx-serving-save".into()).spawn(move || writer.run(&changes, &closed)).map_err(
                |error| Error::new(Code::BackendError, "the system gives no thread to save with").with_source(error),
            )?;
        Ok(Self { closing: Mutex::new(Some((close, thread))), warnings })
    }

    /// Writes what has changed, and ends. Without effect the second time.
    pub fn finish(&self) {
        let closing = lock(&self.closing).take();
        if let Some((close, thread)) = closing {
            drop(close);
            thread.join().ok();
        }
    }

    /// What went wrong since the last time, each in a sentence for people.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.warnings))
    }
}

struct Writer {
    answers: Arc<Answers>,
    path: PathBuf,
    warnings: Arc<Mutex<Vec<String>>>,
    /// The last thing that was wrong. It is said once, however often it happens.
    said: String,
}

impl Writer {
    fn run(&mut self, changes: &Receiver<()>, closed: &Receiver<()>) {
        loop {
            crossbeam_channel::select! {
                recv(changes) -> _ => {}
                recv(closed) -> _ => return self.save_if(changes.try_recv().is_ok()),
            }
            let is_closed = closed.recv_timeout(GATHERING) == Err(RecvTimeoutError::Disconnected);
            // What changes while this is written is written the next time.
            changes.try_recv().ok();
            self.save_if(true);
            if is_closed {
                return;
            }
        }
    }

    fn save_if(&mut self, has_changed: bool) {
        if has_changed {
            self.say(file::save(&self.path, &self.answers.reproducible()));
        }
    }

    fn say(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        let warning = format!("the prompt cache could not be written to {}: {error}", self.path.display());
        if self.said != warning {
            self.said.clone_from(&warning);
            lock(&self.warnings).push(warning);
        }
    }
}
