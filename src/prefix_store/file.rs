//! The content of a block's file: a safetensors file with the tensors of the block, its key as metadata, and the checksum of all
//! bytes before it as the last tensor. A file is used only if its key, its tensors and its checksum are as expected. The checksum
//! detects damage, not forgery: a program that can write the folder can change answers.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::key::BlockKey;
use crate::host_kv::{KvBlock, KvElement, KvLayout};

const FORMAT: &str = "mlx-serving KV block 1";
const CHECKSUM: &str = "checksum";
const CHECKSUM_BYTES: usize = blake3::OUT_LEN;
/// Most bytes of a file beside its block: a header with the tensors of 4,096 layers takes less.
const MOST_EXTRA_BYTES: usize = 1 << 20;

/// The most bytes of a file with a block of this layout.
pub(super) fn most_bytes(layout: &KvLayout) -> u64 {
    (layout.block_bytes() + MOST_EXTRA_BYTES) as u64
}

/// The bytes of a file. `None` if the block is not of the layout.
pub(super) fn encode(key: BlockKey, layout: &KvLayout, block: &KvBlock) -> Option<Vec<u8>> {
    let dtype = dtype(layout.element);
    let blank = [0; CHECKSUM_BYTES];
    let view = |shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).ok();
    let mut tensors = Vec::new();
    for (tensor, range) in layout.ranges() {
        tensors.push((tensor.name.as_str(), view(&tensor.shape, block.0.get(range)?)?));
    }
    // The tensors of the smallest type come last.
    tensors.push((CHECKSUM, TensorView::new(Dtype::U8, vec![CHECKSUM_BYTES], &blank).ok()?));
    let metadata = HashMap::from([("format".into(), FORMAT.into()), ("key".into(), key.to_string())]);
    let mut bytes = serialize(tensors, Some(metadata)).ok()?;
    let (content, checksum) = bytes.split_last_chunk_mut::<CHECKSUM_BYTES>()?;
    *checksum = *blake3::hash(content).as_bytes();
    Some(bytes)
}

/// The block of a file. `None` if the file is damaged, or is not that of the key and the layout.
pub(super) fn decode(key: BlockKey, layout: &KvLayout, bytes: &[u8]) -> Option<KvBlock> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let (header_len, header) = SafeTensors::read_metadata(bytes).ok()?;
    let metadata = header.metadata().as_ref()?;
    let is_own = metadata.get("format").is_some_and(|format| format == FORMAT)
        && metadata.get("key").is_some_and(|own| *own == key.to_string());
    let file = SafeTensors::deserialize(bytes).ok().filter(|_| is_own)?;
    if file.len() != layout.tensors.len() + 1 {
        return None;
    }
    let data = bytes.get(size_of::<u64>() + header_len..)?;
    for (tensor, range) in layout.ranges() {
        let found = file.tensor(&tensor.name).ok()?;
        let is_there = data.get(range).is_some_and(|bytes| std::ptr::eq(bytes, found.data()));
        if found.dtype() != dtype(layout.element) || found.shape() != tensor.shape || !is_there {
            return None;
        }
    }
    data.get(..layout.block_bytes()).map(|bytes| KvBlock(bytes.to_vec()))
}

fn dtype(element: KvElement) -> Dtype {
    match element {
        KvElement::F32 => Dtype::F32,
        KvElement::F16 => Dtype::F16,
        KvElement::Bf16 => Dtype::BF16,
        KvElement::U32 => Dtype::U32,
    }
}
