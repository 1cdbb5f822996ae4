//! Answers in a file, between two lives of a process. The file begins with a head: a mark with the version of the format,
//! the length of the body and its checksum. The body is a list of answers. The file is only ever replaced as a whole, so it
//! is always complete. Only its owner can read it. A file of another kind is judged by its head, whatever its size, set
//! aside, and never a reason not to start. The checksum finds damage; a program that can write the file can write answers.

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

/// The last byte is the version of the format.
const MARK: &[u8; 8] = b"mlxansw\x03";
const PARAM: &str = "cache.promptCache.path";
const LENGTH_BYTES: usize = size_of::<u64>();
const HEAD_BYTES: usize = MARK.len() + LENGTH_BYTES + blake3::OUT_LEN;
/// Far more than the largest prompt cache that fits a machine.
const MAX_FILE_BYTES: u64 = 64 << 30;

/// One answer as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: [u8; 32],
    model: [u8; 32],
    /// Since 1970: the clock by which ages are told is another one in every process.
    ended_at: Duration,
    origin: String,
    is_cut_by_length: bool,
    num_input_tokens: usize,
    seed: u64,
    parts: Parts,
}

/// What a file held.
pub(super) enum Found {
    /// There was none.
    Nothing,
    /// Answers, oldest first.
    Answers(Vec<(Key, Entry)>),
    /// Something else, or damaged; the sentence says what was done with it.
    Foreign(String),
}

/// Reads the answers in a file. A file of another kind is renamed, so that it is neither lost nor in the way.
///
/// `ConfigError` where there is something else than a file, as a folder or a device: that is no place for one.
pub(super) fn load(path: &Path) -> Result<Found> {
    if path.symlink_metadata().is_err() {
        return Ok(Found::Nothing);
    }
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let message = format!("`{PARAM}` must name a file, and {} is none", path.display());
        return Err(Error::new(Code::ConfigError, message).with_param(PARAM));
    }
    let problem = match read(path) {
        Ok(Some(answers)) => return Ok(Found::Answers(answers)),
        Ok(None) => "holds no answers of this version, or is damaged".to_owned(),
        Err(error) => error.message().to_owned(),
    };
    let aside = free_name(path);
    let done = match fs::rename(path, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(error) => format!("it could not be renamed: {error}"),
    };
    Ok(Found::Foreign(format!("the prompt cache starts empty: {} {problem}; {done}", path.display())))
}

/// The answers in a file, `None` where its head or its body says that there are none.
fn read(path: &Path) -> Result<Option<Vec<(Key, Entry)>>> {
    let (mut file, len) = open_regular(path)?;
    let mut head = [0; HEAD_BYTES];
    let body_len = len.saturating_sub(HEAD_BYTES as u64);
    if file.read_exact(&mut head).is_err() || !head.starts_with(&beginning(body_len)) || len > MAX_FILE_BYTES {
        return Ok(None);
    }
    let mut body = Vec::new();
    let read = file.take(body_len).read_to_end(&mut body);
    read.map_err(|error| Error::new(Code::ConfigError, format!("cannot be read: {error}")).with_source(error))?;
    Ok(decode(&head, &body))
}

/// How the head of a file begins whose body is so long.
fn beginning(body_len: u64) -> [u8; MARK.len() + LENGTH_BYTES] {
    let mut bytes = [0; MARK.len() + LENGTH_BYTES];
    bytes[..MARK.len()].copy_from_slice(MARK);
    bytes[MARK.len()..].copy_from_slice(&body_len.to_le_bytes());
    bytes
}

/// A name for a file that is set aside; those of earlier ones are taken.
fn free_name(path: &Path) -> PathBuf {
    let names = (2..).map(|number| with_suffix(path, &format!(".set-aside-{number}")));
    let mut names = std::iter::once(with_suffix(path, ".set-aside")).chain(names);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| path.to_owned())
}

/// Whether a file can be written there, told without touching what is there.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let temporary = temporary(path);
    write(&temporary, &[])?;
    fs::remove_file(&temporary)
}

/// Replaces the file by one with these answers; until that is complete and on the disk, the old one stays.
pub(super) fn save(path: &Path, answers: &[(Key, Arc<Entry>)]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write(&temporary, &encode(answers)?).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
        return written;
    }
    // The new name is on the disk once its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// What is to become the file.
fn temporary(path: &Path) -> PathBuf {
    with_suffix(path, &format!(".{}.tmp", std::process::id()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a process of the same number left behind is nobody's.
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
    Ok([beginning(body.len() as u64).as_slice(), blake3::hash(&body).as_bytes(), &body].concat())
}

fn decode(head: &[u8; HEAD_BYTES], body: &[u8]) -> Option<Vec<(Key, Entry)>> {
    if !head.ends_with(blake3::hash(body).as_bytes()) {
        return None;
    }
    let mut records: Vec<Record> = postcard::from_bytes(body).ok()?;
    let (now, today) = (Instant::now(), since_1970());
    // Those from before the present clock began are too old for any lifetime.
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

    /// A clock that was set back makes an answer young, not impossible.
    fn age(&self, today: Duration) -> Duration {
        today.saturating_sub(self.ended_at)
    }

    /// `None` where it contradicts itself.
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
