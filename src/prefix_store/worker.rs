//! The thread that reads and writes the files of a store. It sleeps while there is nothing to do. The lock of the store is never
//! held while the disk works.

use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::file;
use super::folder::Folder;
use super::key::BlockKey;
use super::queue::{Job, Read, State, Write};
use super::{Pending, Shared};
use crate::host_kv::{KvBlock, KvLayout};
use crate::lock::lock;
use crate::panics;

/// See the module.
pub(super) struct Worker {
    folder: Folder,
    shared: Arc<Shared>,
    /// Whether the last write failed: a failure that lasts is reported once.
    has_failed: Cell<bool>,
    /// The epoch of the store when the job was taken. If it has passed since, the result of the job is stale.
    epoch: Cell<u64>,
}

/// Why a block is not there.
enum Missing {
    /// Its file is gone, or cannot be read now.
    Unreadable(std::io::Error),
    /// Its file is damaged, or of another kind.
    Damaged,
}

impl Worker {
    pub(super) fn new(folder: Folder, shared: Arc<Shared>) -> Self {
        Self { folder, shared, has_failed: Cell::new(false), epoch: Cell::new(0) }
    }

    /// Works until the store is closed.
    pub(super) fn run(&mut self) {
        loop {
            match self.next_job() {
                Job::Clear => self.clear(),
                Job::Shrink => drop(self.shrink(0, &[])),
                Job::Read(read) => self.read(read),
                Job::Refuse(read) => self.end(read, Vec::new()),
                Job::Write(write) => self.write(&write),
                Job::Leave => return,
            }
        }
    }

    fn next_job(&self) -> Job {
        let mut state = self.state();
        loop {
            let job = state.next_job();
            state.is_busy = job.is_some();
            if let Some(job) = job {
                self.epoch.set(state.epoch);
                drop(state);
                self.shared.changed.notify_all();
                return job;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&mut self, read: Read) {
        let began = Instant::now();
        let (mut blocks, mut num_bytes, mut is_damaged) = (Vec::new(), 0, false);
        for &key in read.keys.iter() {
            let is_closing = self.state().closing.is_some();
            if is_closing || !read.is_wanted() {
                break;
            }
            match self.read_block(key, &read.layout) {
                Ok((block, len)) => {
                    num_bytes += len;
                    blocks.push(block);
                }
                Err(missing) => {
                    is_damaged = matches!(missing, Missing::Damaged);
                    self.lose(key, &missing);
                    break;
                }
            }
        }
        let took = began.elapsed();
        let mut state = self.state();
        state.was_read(num_bytes, took);
        state.counts.num_reads += blocks.len() as u64;
        state.counts.read_bytes += num_bytes;
        if state.epoch == self.epoch.get() {
            state.index.touch(&read.keys[..blocks.len()]);
        } else {
            blocks.clear();
        }
        drop(state);
        let (keys, layout, num_blocks) = (Arc::clone(&read.keys), Arc::clone(&read.layout), blocks.len());
        self.end(read, blocks);
        self.folder.touch(&keys[..num_blocks]);
        if is_damaged {
            // The blocks behind it would count as written, and may be damaged as well.
            keys[num_blocks + 1..].iter().for_each(|key| self.check(*key, &layout));
        }
    }

    /// Removes a block whose file is damaged.
    fn check(&mut self, key: BlockKey, layout: &KvLayout) {
        if let Err(missing) = self.read_block(key, layout) {
            self.lose(key, &missing);
        }
    }

    fn read_block(&self, key: BlockKey, layout: &KvLayout) -> Result<(KvBlock, u64), Missing> {
        let bytes = self.folder.read(key, file::most_bytes(layout)).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Missing::Damaged,
            // A link stands in the place of the file.
            _ if error.raw_os_error() == Some(libc::ELOOP) => Missing::Damaged,
            _ => Missing::Unreadable(error),
        })?;
        let block = panics::catch(|| file::decode(key, layout, &bytes)).ok().flatten();
        block.map(|block| (block, bytes.len() as u64)).ok_or(Missing::Damaged)
    }

    /// Forgets a block that could not be read. A damaged file is removed. A missing file is not an error, because another process
    /// that writes may have removed it.
    fn lose(&mut self, key: BlockKey, missing: &Missing) {
        let removed = match missing {
            Missing::Damaged if self.folder.is_writable() => self.folder.remove(key).map(|()| "; it was removed"),
            _ => Ok(""),
        };
        let mut state = self.state();
        state.index.remove(key);
        let problem = match missing {
            Missing::Unreadable(error) if error.kind() == ErrorKind::NotFound => return,
            Missing::Unreadable(error) => format!("cannot be read: {error}"),
            Missing::Damaged => "is damaged or no file of KV".into(),
        };
        state.counts.num_errors += 1;
        let removed = removed.unwrap_or("; it cannot be removed");
        state.warn(format!("a file of the prefix cache in {} {problem}{removed}", self.folder.path().display()));
    }

    fn write(&mut self, write: &Write) {
        let Some((&key, before)) = write.keys.split_last() else { return };
        let bytes = file::encode(key, &write.layout, &write.block).filter(|bytes| self.shrink(bytes.len(), before));
        let written = bytes.map(|bytes| self.folder.write(key, &bytes).map(|()| bytes.len() as u64));
        let mut state = self.state();
        state.was_written(key);
        let is_stale = state.epoch != self.epoch.get();
        match written {
            Some(Ok(num_bytes)) if !is_stale => {
                self.has_failed.set(false);
                state.index.insert(key, num_bytes);
                // Blocks are of no use without those before them.
                state.index.touch(before);
                state.counts.num_writes += 1;
                state.counts.written_bytes += num_bytes;
            }
            Some(Err(error)) => {
                state.counts.num_errors += 1;
                if !self.has_failed.replace(true) {
                    let path = self.folder.path().display();
                    state.warn(format!("KV of the prefix cache could not be written to {path}: {error}"));
                }
            }
            Some(Ok(_)) | None => {}
        }
        drop(state);
        // A stale file is removed by the next job, which clears the folder.
        if !is_stale {
            // The time that the system gave the file may be some milliseconds old.
            self.folder.touch(&write.keys);
        }
        (self.shared.notify)();
    }

    /// Removes the least recently used blocks until `num_more` bytes fit. False if they do not fit beside the blocks that must
    /// stay.
    fn shrink(&mut self, num_more: usize, stay: &[BlockKey]) -> bool {
        while self.folder.is_writable() {
            let mut state = self.state();
            match state.max_bytes.checked_sub(num_more as u64) {
                Some(limit) if state.index.num_bytes() <= limit => break,
                None => return false,
                Some(_) => {}
            }
            let Some(oldest) = state.index.oldest().filter(|oldest| !stay.contains(oldest)) else { return false };
            state.index.remove(oldest);
            state.counts.num_evictions += 1;
            drop(state);
            if let Err(error) = self.folder.remove(oldest) {
                self.state().warn(format!("a file in {} cannot be removed: {error}", self.folder.path().display()));
            }
        }
        self.folder.is_writable()
    }

    /// Removes the files of all blocks, also of those that the index does not know.
    fn clear(&mut self) {
        let removed = self.folder.blocks().and_then(|found| {
            let removed = found.iter().map(|found| self.folder.remove(found.key));
            removed.fold(Ok(()), Result::and)
        });
        if let Err(error) = removed {
            let mut state = self.state();
            state.counts.num_errors += 1;
            state.warn(format!("the KV in {} could not be removed: {error}", self.folder.path().display()));
        }
    }

    fn end(&self, read: Read, blocks: Vec<KvBlock>) {
        read.end(blocks);
        (self.shared.notify)();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

/// Ends what is queued, also after a panic, so that no request waits for it.
impl Drop for Worker {
    fn drop(&mut self) {
        let mut left = Vec::new();
        let mut state = self.state();
        state.closing = Some(Pending::Drop);
        while let Some(job) = state.next_job() {
            match job {
                Job::Read(read) | Job::Refuse(read) => left.push(read),
                Job::Clear | Job::Shrink | Job::Write(_) => {}
                Job::Leave => break,
            }
        }
        self.shared.has_left.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.changed.notify_all();
        for read in left {
            read.end(Vec::new());
        }
    }
}
