//! Which blocks the folder has, in the order of their last use. It is read and changed under the lock of the store, and never
//! waits for the disk.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::key::BlockKey;

/// The blocks of a folder.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: FxHashMap<BlockKey, Entry>,
    by_use: BTreeMap<u64, BlockKey>,
    num_uses: u64,
    num_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    num_bytes: u64,
    last_use: u64,
}

impl Index {
    /// Adds a block as the one that was used last.
    pub(super) fn insert(&mut self, key: BlockKey, num_bytes: u64) {
        self.remove(key);
        self.num_uses += 1;
        self.entries.insert(key, Entry { num_bytes, last_use: self.num_uses });
        self.by_use.insert(self.num_uses, key);
        self.num_bytes += num_bytes;
    }

    /// Removes a block. Returns whether it was there.
    pub(super) fn remove(&mut self, key: BlockKey) -> bool {
        let Some(entry) = self.entries.remove(&key) else { return false };
        self.by_use.remove(&entry.last_use);
        self.num_bytes -= entry.num_bytes;
        true
    }

    /// Counts a use of the leading blocks of a prompt. A block is of no use without those before it, so the first block becomes
    /// the most recently used one.
    pub(super) fn touch(&mut self, keys: &[BlockKey]) {
        for key in keys.iter().rev() {
            if let Some(entry) = self.entries.get(key).copied() {
                self.insert(*key, entry.num_bytes);
            }
        }
    }

    /// The block whose last use is longest ago.
    pub(super) fn oldest(&self) -> Option<BlockKey> {
        self.by_use.values().next().copied()
    }

    pub(super) fn has(&self, key: BlockKey) -> bool {
        self.entries.contains_key(&key)
    }

    /// Number of leading blocks that are there.
    pub(super) fn num_leading(&self, keys: &[BlockKey]) -> usize {
        keys.iter().take_while(|key| self.has(**key)).count()
    }

    /// Bytes of the files of some blocks.
    pub(super) fn bytes_of(&self, keys: &[BlockKey]) -> u64 {
        keys.iter().filter_map(|key| self.entries.get(key)).map(|entry| entry.num_bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn num_bytes(&self) -> u64 {
        self.num_bytes
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
        self.num_bytes = 0;
    }
}
