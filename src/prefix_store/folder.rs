//! The folder of the blocks. Each block is a file of its own, which is written under a temporary name and renamed. So a file is
//! complete, except after a crash of the system: then its checksum is wrong. A file is readable only by its owner. The folder may
//! hold other files, which are left alone; links are not followed.
//!
//! One process at a time writes. It locks the file `lock`; the system releases the lock when the process ends, also after a
//! crash. Other processes, and processes without permission to write the folder, only read.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::PARAM;
use super::key::BlockKey;
use crate::error::{Error, Result};

const SUFFIX: &str = ".kv.safetensors";
const TEMPORARY_SUFFIX: &str = ".kv.tmp";
const LOCK: &str = "lock";

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held while this process may write.
    lock: Option<File>,
    num_written: u64,
}

/// A block that a folder has when it is opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: BlockKey,
    pub(super) num_bytes: u64,
    last_use: SystemTime,
}

impl Folder {
    /// Opens a folder, which is made if it does not exist. Returns a warning if it can only be read.
    ///
    /// `ConfigError` if the path is not a folder, or cannot be made or read.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Option<String>)> {
        let refuse = |problem: String| Error::config(PARAM, problem);
        if path.metadata().is_ok_and(|there| !there.is_dir()) {
            return Err(refuse(format!("must name a folder, and {} is none", path.display())));
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| refuse(format!("names a folder that cannot be made: {}: {error}", path.display())))?;
        fs::read_dir(&path)
            .map_err(|error| refuse(format!("names a folder that cannot be read: {}: {error}", path.display())))?;
        let (lock, warning) = match lock(&path.join(LOCK)) {
            Ok(lock) => (Some(lock), None),
            Err(problem) => {
                let problem = format!("KV is only read from {}, and not written to it: {problem}", path.display());
                (None, Some(problem))
            }
        };
        Ok((Self { path, lock, num_written: 0 }, warning))
    }

    /// Whether this process may write.
    pub(super) fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// The blocks of the folder, least recently used first. Removes the temporary files of processes that ended during a write.
    pub(super) fn blocks(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let Ok(entry) = entry else { continue };
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str() else { continue };
            let Some(metadata) = path.symlink_metadata().ok().filter(fs::Metadata::is_file) else { continue };
            if let Some(key) = name.strip_suffix(SUFFIX).and_then(BlockKey::parse) {
                let last_use = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push(Found { key, num_bytes: metadata.len(), last_use });
            } else if self.is_writable() && name.ends_with(TEMPORARY_SUFFIX) {
                fs::remove_file(path).ok();
            }
        }
        found.sort_by_key(|found| found.last_use);
        Ok(found)
    }

    /// Reads a file of at most `most` bytes.
    pub(super) fn read(&self, key: BlockKey, most: u64) -> io::Result<Vec<u8>> {
        // A pipe in the place of the file must not be waited for.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.path_of(key))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "is no file of a block"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file. It is not synced: a file that a crash of the system damages is found by its checksum.
    pub(super) fn write(&mut self, key: BlockKey, bytes: &[u8]) -> io::Result<()> {
        self.num_written += 1;
        let temporary = self.path.join(format!("{}{TEMPORARY_SUFFIX}", self.num_written));
        let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, self.path_of(key)));
        if written.is_err() {
            fs::remove_file(&temporary).ok();
        }
        written
    }

    /// Removes the file of a block. It need not exist.
    pub(super) fn remove(&self, key: BlockKey) -> io::Result<()> {
        match fs::remove_file(self.path_of(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Records a use of the leading blocks of a prompt for later processes, as times of the files. As in
    /// [`Index::touch`](super::index::Index::touch), the first block is used last.
    pub(super) fn touch(&self, keys: &[BlockKey]) {
        for key in keys.iter().rev().filter(|_| self.is_writable()) {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().read(true).custom_flags(flags).open(self.path_of(*key));
            // Without the time the block only looks older than it is.
            file.and_then(|file| file.set_modified(SystemTime::now())).ok();
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn path_of(&self, key: BlockKey) -> PathBuf {
        self.path.join(format!("{key}{SUFFIX}"))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::remove_file(path).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Takes the lock of the folder. The error says why that is not possible.
fn lock(path: &Path) -> std::result::Result<File, String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|error| error.to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another engine writes to this folder".into()),
        Err(TryLockError::Error(error)) => Err(format!("the folder cannot be locked: {error}")),
    }
}
