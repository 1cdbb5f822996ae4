//! The file of the prompt cache, which keeps answers between processes. It starts with a head: magic bytes with the version
//! of the format, the length of the body, and the checksum of the body. The body is a list of answers.
//!
//! The file is replaced as a whole, so it is always complete. Only its owner can read it. A file of another kind is
//! recognized by its head, whatever its size. It is renamed, and the engine starts without it. The checksum detects damage,
//! not forgery: a program that can write the file can add answers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::hub::open_regular;
use crate::request::{FinishReason, RequestId};

use super::key::{Fingerprint, Key};
use super::log::{AnswerLog, Finished, Parts, Stamps};
use super::store::Entry;

/// The first bytes of the file. The last of them is the version of the format.
const MAGIC: &[u8; 8] = b"mlxansw\x03";
const PARAM: &str = "cache.promptCache.path";
const LENGTH_BYTES: usize = size_of::<u64>();
const HEAD_BYTES: usize = MAGIC.len() + LENGTH_BYTES + blake3::OUT_LEN;
/// The largest file that is read: 64 GiB, more than the memory for any prompt cache.
const MAX_FILE_BYTES: u64 = 64 << 30;

/// One answer in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: [u8; 32],
    model: [u8; 32],
    /// Time since 1970: an `Instant` has no meaning in another process.
    ended_at: Duration,
    origin: String,
    is_cut_by_length: bool,
    num_input_tokens: usize,
    seed: u64,
    parts: Parts,
}

/// The result of loading a file.
pub(super) enum Loaded {
    /// There is no file.
    Missing,
    /// The answers of the file, oldest first.
    Answers(Vec<(Key, Entry)>),
    /// The file is damaged or of another kind, and was renamed; with a warning for the user.
    SetAside(String),
}

/// Loads the answers of a file. A file of another kind is renamed, so that it is not overwritten.
///
/// `ConfigError` if the path is not a file, but for example a folder or a device.
pub(super) fn load(path: &Path) -> Result<Loaded> {
    if path.symlink_metadata().is_err() {
        return Ok(Loaded::Missing);
    }
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let message = format!("`{PARAM}` must name a file, and {} is none", path.display());
        return Err(Error::new(Code::ConfigError, message).with_param(PARAM));
    }
    let problem = match read(path) {
        Ok(Some(answers)) => return Ok(Loaded::Answers(answers)),
        Ok(None) => "holds no answers of this version, or is damaged".to_owned(),
        Err(error) => error.message().to_owned(),
    };
    let aside = free_name(path);
    let done = match fs::rename(path, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(error) => format!("it could not be renamed: {error}"),
    };
    Ok(Loaded::SetAside(format!("the prompt cache starts empty: {} {problem}; {done}", path.display())))
}

/// Reads the answers of a file; `None` if it is damaged or of another kind.
fn read(path: &Path) -> Result<Option<Vec<(Key, Entry)>>> {
    let (mut file, len) = open_regular(path)?;
    let mut head = [0; HEAD_BYTES];
    let body_len = len.saturating_sub(HEAD_BYTES as u64);
    if file.read_exact(&mut head).is_err() || !head.starts_with(&magic_and_length(body_len)) || len > MAX_FILE_BYTES {
        return Ok(None);
    }
    let mut body = Vec::new();
    let read = file.take(body_len).read_to_end(&mut body);
    read.map_err(|error| Error::new(Code::ConfigError, format!("cannot be read: {error}")).with_source(error))?;
    Ok(decode(&head, &body))
}

/// The first bytes of the head, for a body of this length.
fn magic_and_length(body_len: u64) -> [u8; MAGIC.len() + LENGTH_BYTES] {
    let mut bytes = [0; MAGIC.len() + LENGTH_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&body_len.to_le_bytes());
    bytes
}

/// An unused name for a file that is set aside.
fn free_name(path: &Path) -> PathBuf {
    let names = (2..).map(|number| with_suffix(path, &format!(".set-aside-{number}")));
    let mut names = std::iter::once(with_suffix(path, ".set-aside")).chain(names);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| path.to_owned())
}

/// Checks that the file can be written, without changing an existing one.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let temporary = temporary(path);
    write(&temporary, &[])?;
    fs::remove_file(&temporary)
}

/// Replaces the file by one with these answers. The old file stays until the new one is complete and on the disk.
pub(super) fn save(path: &Path, answers: &[(Key, Arc<Entry>)]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write(&temporary, &encode(answers)?).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
        return written;
    }
    // The rename is on the disk once the folder is synced.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The path of the temporary file that is renamed to the final one.
fn temporary(path: &Path) -> PathBuf {
    with_suffix(path, &format!(".{}.tmp", std::process::id()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // An earlier process with the same id may have left this file behind.
    fs::remove_file(path).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn encode(answers: &[(Key, Arc<Entry>)]) -> io::Result<Vec<u8>> {
    let (now, today) = (Instant::now(), since_1970());
    let record = |(key, entry): &(Key, Arc<Entry>)| {
        let age = now.saturating_duration_since(entry.ended_at);
        Record::of(key, entry, today.saturating_sub(age))
    };
    let records: Vec<_> = answers.iter().filter_map(record).collect();
    let body = postcard::to_stdvec(&records).map_err(io::Error::other)?;
    Ok([magic_and_length(body.len() as u64).as_slice(), blake3::hash(&body).as_bytes(), &body].concat())
}

fn decode(head: &[u8; HEAD_BYTES], body: &[u8]) -> Option<Vec<(Key, Entry)>> {
    if !head.ends_with(blake3::hash(body).as_bytes()) {
        return None;
    }
    let mut records: Vec<Record> = postcard::from_bytes(body).ok()?;
    let (now, today) = (Instant::now(), since_1970());
    // An answer that ended before the origin of the clock has no `Instant`, and has expired anyway.
    records.retain(|record| now.checked_sub(record.age(today)).is_some());
    records.into_iter().map(|record| record.restore(now, today)).collect()
}

impl Record {
    fn of(key: &Key, entry: &Entry, ended_at: Duration) -> Option<Self> {
        let finished = entry.log.end()?.ok()?;
        Some(Self {
            key: key.0,
            model: entry.model.0,
            ended_at,
            origin: entry.log.origin().0.to_string(),
            is_cut_by_length: finished.finish_reason == FinishReason::Length,
            num_input_tokens: finished.num_input_tokens,
            seed: finished.seed,
            parts: entry.log.parts(),
        })
    }

    /// The age of the answer. It is zero if the system clock was set back.
    fn age(&self, today: Duration) -> Duration {
        today.saturating_sub(self.ended_at)
    }

    /// The cached answer; `None` if the record is inconsistent.
    fn restore(self, now: Instant, today: Duration) -> Option<(Key, Entry)> {
        let ended_at = now.checked_sub(self.age(today))?;
        let finish_reason = if self.is_cut_by_length { FinishReason::Length } else { FinishReason::Stop };
        let (num_input_tokens, seed) = (self.num_input_tokens, self.seed);
        let stamps = Stamps::default();
        let finished = Finished { finish_reason, num_input_tokens, num_cached_tokens: 0, seed, stamps };
        let origin = RequestId(self.origin.into());
        let log = AnswerLog::restore(origin, self.parts, finished)?;
        Some((Key(self.key), Entry::new(Arc::new(log), Fingerprint(self.model), true, ended_at)))
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
