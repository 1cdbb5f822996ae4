//! What the worker of a store has to do, and what it has measured. Reads go before writes, because requests wait for them. Both
//! are limited: a read belongs to a request that waits, and writes have a limit of bytes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Pending;
use super::counts::DiskCounts;
use super::index::Index;
use super::key::BlockKey;
use crate::host_kv::{KvBlock, KvLayout};

/// Most bytes of blocks that are queued to be written, unless a single block has more.
const MOST_QUEUED_BYTES: u64 = 64 << 20;
/// Bytes a second that are assumed before the first read: those of a common SSD.
const FIRST_SPEED: f64 = 500e6;
/// Time to open a file, beside the time of its bytes.
const OPENING: Duration = Duration::from_micros(50);
/// Warnings that are kept until they are taken.
const MOST_WARNINGS: usize = 16;

/// A read of the leading blocks of a prompt.
pub struct Read {
    /// The blocks, from the first one on.
    pub keys: Arc<[BlockKey]>,
    /// Their layout.
    pub layout: Arc<KvLayout>,
    /// Cleared when no request waits any more.
    pub is_wanted: Arc<AtomicBool>,
    /// Called with the blocks up to the first one that could not be read.
    pub done: Box<dyn FnOnce(ReadEnd) + Send>,
}

/// The blocks that were read.
pub type ReadEnd = Vec<KvBlock>;

impl Read {
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    pub(super) fn end(self, blocks: ReadEnd) {
        (self.done)(blocks);
    }
}

/// A block to write.
#[derive(Debug)]
pub struct Write {
    /// The blocks of its prompt up to this one.
    pub keys: Arc<[BlockKey]>,
    /// Its layout.
    pub layout: Arc<KvLayout>,
    /// The block.
    pub block: KvBlock,
}

impl Write {
    /// The key of the block.
    pub(super) fn key(&self) -> Option<BlockKey> {
        self.keys.last().copied()
    }

    fn num_bytes(&self) -> u64 {
        self.block.0.len() as u64
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is queued.
    Queued,
    /// It was dropped, because the store is closed or has no room.
    Dropped,
}

/// See the module.
#[derive(Default)]
pub(super) struct State {
    pub(super) index: Index,
    /// With the bytes of their files.
    reads: VecDeque<(Read, u64)>,
    writes: VecDeque<Write>,
    /// Blocks that are queued or being written.
    writing: HashSet<BlockKey>,
    queued_bytes: u64,
    /// Bytes of the reads that are queued.
    reading_bytes: u64,
    /// The most bytes of files.
    pub(super) max_bytes: u64,
    /// Whether there may be more than that.
    is_above: bool,
    /// Whether the files are to be removed.
    is_clearing: bool,
    /// Whether the worker has a job.
    pub(super) is_busy: bool,
    /// Number of times that the store was cleared.
    pub(super) epoch: u64,
    pub(super) closing: Option<Pending>,
    /// Bytes a second, once they were measured.
    speed: Option<f64>,
    pub(super) counts: DiskCounts,
    pub(super) warnings: Vec<String>,
}

/// What the worker does next.
pub(super) enum Job {
    Clear,
    /// Remove blocks until the rest keeps the limit.
    Shrink,
    Read(Read),
    Write(Write),
    /// A read that ends without blocks.
    Refuse(Read),
    Leave,
}

impl State {
    pub(super) fn push_read(&mut self, read: Read) {
        let num_bytes = self.index.bytes_of(&read.keys);
        self.reading_bytes += num_bytes;
        self.reads.push_back((read, num_bytes));
    }

    pub(super) fn push_write(&mut self, write: Write) -> Written {
        match write.key() {
            Some(key) if self.closing.is_none() && self.has_room() && self.writing.insert(key) => {
                self.queued_bytes += write.num_bytes();
                self.writes.push_back(write);
                Written::Queued
            }
            _ => Written::Dropped,
        }
    }

    pub(super) fn limit(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
        self.is_above = true;
    }

    pub(super) fn has_room(&self) -> bool {
        self.max_bytes > 0 && (self.writes.is_empty() || self.queued_bytes < MOST_QUEUED_BYTES)
    }

    pub(super) fn has_or_writes(&self, key: BlockKey) -> bool {
        self.index.has(key) || self.writing.contains(&key)
    }

    /// The time in which some blocks should be read, behind the reads that are queued.
    pub(super) fn read_time(&self, keys: &[BlockKey]) -> Duration {
        let bytes = (self.reading_bytes + self.index.bytes_of(keys)) as f64;
        let num_files = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        OPENING * num_files + Duration::from_secs_f64(bytes / self.speed.unwrap_or(FIRST_SPEED))
    }

    /// Forgets all blocks. Returns the writes that are dropped.
    pub(super) fn clear(&mut self, is_writable: bool) -> VecDeque<Write> {
        self.epoch += 1;
        self.index.clear();
        self.is_clearing |= is_writable;
        self.queued_bytes = 0;
        self.writing.clear();
        std::mem::take(&mut self.writes)
    }

    /// The next job, if there is one.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if std::mem::take(&mut self.is_clearing) {
            return Some(Job::Clear);
        }
        if std::mem::take(&mut self.is_above) {
            return Some(Job::Shrink);
        }
        if let Some((read, num_bytes)) = self.reads.pop_front() {
            self.reading_bytes -= num_bytes;
            let is_wanted = self.closing.is_none() && read.is_wanted();
            return Some(if is_wanted { Job::Read(read) } else { Job::Refuse(read) });
        }
        let may_write = match self.closing {
            None => true,
            Some(Pending::WriteUntil(at)) => Instant::now() < at,
            Some(Pending::Drop) => false,
        };
        if may_write && let Some(write) = self.writes.pop_front() {
            self.queued_bytes -= write.num_bytes();
            return Some(Job::Write(write));
        }
        self.closing.is_some().then_some(Job::Leave)
    }

    /// Accounts for a read of some bytes.
    pub(super) fn was_read(&mut self, num_bytes: u64, took: Duration) {
        // A pause of the thread or a cached file must not decide alone.
        if num_bytes > 0 {
            let speed = num_bytes as f64 / took.as_secs_f64().max(1e-6);
            self.speed = Some(self.speed.map_or(speed, |before| f64::midpoint(before, speed)));
        }
    }

    #[cfg(test)]
    pub(super) fn slow_down(&mut self, bytes_per_second: f64) {
        self.speed = Some(bytes_per_second);
    }

    pub(super) fn was_written(&mut self, key: BlockKey) {
        self.writing.remove(&key);
    }

    /// Whether nothing is queued or being written.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.writing.is_empty() && !self.is_clearing && !self.is_above && !self.is_busy
    }

    pub(super) fn counts(&self) -> DiskCounts {
        DiskCounts { num_blocks: self.index.len() as u64, num_bytes: self.index.num_bytes(), ..self.counts }
    }

    /// Keeps a warning, unless it is the last one again.
    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.last() != Some(&warning) && self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning);
        }
    }
}
