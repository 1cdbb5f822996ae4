//! The files and the store, without an engine.

mod files;
mod keys;
mod stores;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::host_kv::{KvBlock, KvElement, KvLayout};
use crate::request::{PrefixScope, TokenId};

/// Tokens of a block.
const BLOCK: usize = 4;
const PLENTY: u64 = 1 << 30;

fn layout() -> Arc<KvLayout> {
    let shapes = std::iter::repeat_n([vec![2, BLOCK, 3], vec![2, BLOCK, 3]], 2);
    Arc::new(KvLayout::of_layers("test", KvElement::F16, BLOCK, shapes))
}

fn block(number: u8) -> KvBlock {
    KvBlock(vec![number; layout().block_bytes()])
}

fn origin() -> Origin {
    Origin::new(&[7; 32], "a device", &layout())
}

fn salted(salt: Option<&str>) -> PrefixScope {
    PrefixScope(salt.map(Arc::from))
}

/// The keys of blocks whose tokens begin with `first` and count up.
fn keys(first: TokenId, num_blocks: usize) -> Vec<BlockKey> {
    let tokens: Vec<TokenId> = (first..).take(num_blocks * BLOCK).collect();
    origin().keys(&salted(None), &tokens, BLOCK)
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn open(folder: &TempDir, max_bytes: u64) -> Arc<PrefixStore> {
    PrefixStore::open(folder.path().join("kv"), max_bytes, Box::new(|| ())).expect("opens")
}

/// Writes the blocks of a prompt, numbered from 0.
fn write(store: &PrefixStore, keys: &[BlockKey]) {
    for (index, number) in (0..keys.len()).zip(0..) {
        let write = Write { keys: keys[..=index].into(), layout: layout(), block: block(number) };
        assert_eq!(store.write(write), Written::Queued);
    }
    settle(store);
}

/// Waits until nothing is queued or running.
fn settle(store: &PrefixStore) {
    let until = Instant::now() + Duration::from_secs(20);
    while !store.is_idle() {
        assert!(Instant::now() < until, "the store is still busy");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read(store: &PrefixStore, keys: &[BlockKey]) -> Vec<KvBlock> {
    read_as(store, keys, layout())
}

fn read_as(store: &PrefixStore, keys: &[BlockKey], layout: Arc<KvLayout>) -> Vec<KvBlock> {
    let (send, receive) = mpsc::channel();
    let done = Box::new(move |blocks| drop(send.send(blocks)));
    store.read(Read { keys: keys.into(), layout, is_wanted: Arc::new(AtomicBool::new(true)), done });
    receive.recv_timeout(Duration::from_secs(20)).expect("every read ends")
}
