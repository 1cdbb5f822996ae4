//! KV of the simulated device on the host. Its numbers are the tokens of the positions, so the device notices KV that belongs to
//! other tokens.

use std::sync::Arc;

use crate::error::Result;
use crate::host_kv::{KvBlock, KvElement, KvLayout};
use crate::request::TokenId;
use crate::scheduler::plan::ImportedPrefix;

use super::script::Speaker;
use super::{KV_BLOCK, SimExecutor, SimSequence, bad_plan};

/// A layer with a head of one dimension.
pub(super) fn layout() -> KvLayout {
    let shape = vec![1, KV_BLOCK, 1];
    KvLayout::of_layers("tokens", KvElement::U32, KV_BLOCK, std::iter::once([shape.clone(), shape]))
}

/// A block of the positions of these tokens.
pub(super) fn export(tokens: &[TokenId], block: usize) -> Result<KvBlock> {
    let tokens = tokens.chunks_exact(KV_BLOCK).nth(block).ok_or_else(|| bad_plan("a block that is not computed"))?;
    Ok(block_of(tokens))
}

fn block_of(tokens: &[TokenId]) -> KvBlock {
    let both = tokens.iter().chain(tokens);
    KvBlock(both.flat_map(|token| token.to_le_bytes()).collect())
}

impl SimSequence {
    /// Whether it has read these tokens. `None` stands for tokens that do not exist.
    pub(super) fn begins_with(&self, tokens: Option<&[TokenId]>) -> bool {
        tokens.is_some_and(|tokens| self.tokens.starts_with(tokens))
    }
}

impl SimExecutor {
    pub(super) fn import(&mut self, ImportedPrefix { sequence, tokens, kv }: &ImportedPrefix) -> Result<()> {
        let expected = tokens.chunks(KV_BLOCK).map(block_of);
        if !expected.eq(kv.iter().cloned()) || self.sequences.contains_key(sequence) {
            return Err(bad_plan("KV is imported that is not that of its tokens"));
        }
        let tokens = Arc::clone(tokens);
        let imported = SimSequence {
            speaker: Speaker::new(&self.script, &tokens, 0),
            num_prompt: tokens.len(),
            num_fed: tokens.len(),
            may_end_at: 0,
            logprobs: None,
            constraint: None,
            scripted: None,
            tokens: tokens.to_vec(),
        };
        self.sequences.insert(*sequence, imported);
        Ok(())
    }
}
