//! Detects changes of a file by its length and times. The system sets the change time whenever the content changes, and no
//! program can choose it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::{load_error, unreadable};
use crate::error::Result;

/// The coarsest resolution of file times. Two changes within it can have the same time.
const TIME_STEP: Duration = Duration::from_millis(10);

/// Properties of a file that change with its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    pub(super) len: u64,
    /// Device and inode.
    place: (u64, u64),
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: (i64, i64),
    /// The time of the last change of content or metadata, likewise.
    pub(super) changed: (i64, i64),
}

/// A weight file, with its state when its header was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
}

impl FileState {
    /// The state of an open file. If the file has just changed, the state is read again a moment later, so that every later
    /// change has another time.
    pub(super) fn settled(file: &File) -> io::Result<Self> {
        let state = Self::from(&file.metadata()?);
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(state.changed_at());
        if age >= TIME_STEP {
            return Ok(state);
        }
        sleep(TIME_STEP);
        file.metadata().map(|metadata| Self::from(&metadata))
    }

    fn changed_at(&self) -> Duration {
        let (seconds, nanos) = self.changed;
        Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
    }
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            place: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl WeightFile {
    /// Fails with `ModelLoadError`, naming the file, if its content may have changed since its header was read.
    pub fn check_unchanged(&self) -> Result<()> {
        let metadata = self.path.metadata().map_err(|error| unreadable(&self.path, error))?;
        if FileState::from(&metadata) == self.state {
            return Ok(());
        }
        let problem = "changed while the model was loaded: load the model again once the file is complete";
        Err(load_error(&self.path, problem))
    }
}
