//! The names of blocks: hashes over everything that the numbers of a block depend on. The KV of a position depends on all tokens
//! before it, so each name covers the name of the block before.

use std::fmt;

use blake3::Hasher;

use crate::host_kv::KvLayout;
use crate::request::{PrefixScope, TokenId};

/// Contains the release, because another release may compute KV that differs in the last bit.
const CONTEXT: &str = concat!("mlx-serving ", env!("CARGO_PKG_VERSION"), " KV block 1");

/// What computes KV: a model, the device with its method of computation, and the layout of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin([u8; 32]);

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockKey(pub(super) [u8; 32]);

impl Origin {
    /// The origin of KV that a model with these files computes. `device` names the device and its method of computation.
    pub fn new(files: &[u8; 32], device: &str, layout: &KvLayout) -> Self {
        let mut hasher = Hasher::new_derive_key(CONTEXT);
        hasher.update(files);
        field(&mut hasher, device.as_bytes());
        // Libraries compute differently on other processors.
        field(&mut hasher, platform().as_bytes());
        field(&mut hasher, format!("{layout:?}").as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The names of the whole blocks of `tokens`, in order. Requests of different scopes have different names.
    pub fn keys(&self, scope: &PrefixScope, tokens: &[TokenId], block: usize) -> Vec<BlockKey> {
        let mut hasher = Hasher::new_keyed(&self.0);
        match &scope.0 {
            Some(salt) => field(&mut hasher, salt.as_bytes()),
            None => drop(hasher.update(b"no salt")),
        }
        let mut last = *hasher.finalize().as_bytes();
        let keys = tokens.chunks_exact(block.max(1)).map(|tokens| {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
            last = *blake3::keyed_hash(&last, &bytes).as_bytes();
            BlockKey(last)
        });
        keys.collect()
    }
}

fn platform() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Its length and its bytes. No field of this kind equals `no salt`, which is shorter than a length.
fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl BlockKey {
    /// The key that [`Display`](fmt::Display) shows as this text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
        let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().ok().filter(|_| rest.is_empty()).map(Self)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
