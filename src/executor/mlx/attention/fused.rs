//! Attention as one operation per layer for all rows of a step, or as a stage of a chain of all layers, on the CPU in
//! float32. `mlx-ops` keeps the KV. There is no padding and no mask, and a row's bits are equal in every batch.

use std::collections::HashSet;

use mlx_ops::{Chain, KvShape, KvStore, Segment, Stage, Step};
use mlx_rs::Array;

use super::super::failure::Mlx;
use super::super::spec::AttentionSpec;
use super::rope::periods;
use super::{Attention, KV_BLOCK, QkNorm, Span, host};
use crate::executor::KvUnit;
use crate::host_kv::{KvBlock, KvElement, KvLayout};
use crate::request::SequenceId;
use crate::scheduler::plan::KvGrowth;

/// Fused attention with its KV.
pub(in super::super) struct Fused {
    store: KvStore,
    inverse_frequencies: Vec<f32>,
    /// Each layer as one operation.
    layers: Vec<Chain>,
    /// Sequences that exist in the store.
    created: HashSet<SequenceId>,
    step: Option<Step>,
    /// Result of the last layer of the last step. Once it is computed, the KV of all steps is written.
    last: Option<Array>,
}

/// Whether the operation supports these layers: equal specs with plain causal attention.
pub(in super::super) fn can_fuse(layers: &[AttentionSpec]) -> bool {
    let is_plain = |spec: &AttentionSpec| {
        let AttentionSpec { head_dim, softcap, window, rope, qk_norm, .. } = spec;
        softcap.is_none() && window.is_none() && qk_norm.is_none() && !rope.traditional && head_dim % 8 == 0
    };
    layers.first().is_some_and(|first| is_plain(first) && layers.iter().all(|spec| spec == first))
}

/// Shape and scale of the attention layers of a chain. The chain is made where its weights are read, and the KV store on the
/// engine thread.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct FusedLayers {
    shape: KvShape,
    scale: f32,
}

impl FusedLayers {
    /// For layers that [`can_fuse`].
    #[allow(clippy::cast_sign_loss)] // dimensions are positive
    pub(in super::super) fn new(layers: &[AttentionSpec], max_positions: i32) -> Mlx<Self> {
        let spec = layers.first().ok_or("attention without layers")?;
        let shape = KvShape {
            num_layers: layers.len(),
            num_kv_heads: spec.kv_heads as usize,
            head_dim: spec.head_dim as usize,
            max_positions: max_positions as usize,
        };
        Ok(Self { shape, scale: spec.scale })
    }

    /// A layer's attention as a stage of a chain.
    pub(in super::super) fn stage(self, layer: usize) -> Stage<'static> {
        Stage::Attention { layer, scale: self.scale, shape: self.shape }
    }
}

impl Fused {
    /// An empty store for layers that [`can_fuse`].
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)] // dimensions are positive; the device has f32
    pub(in super::super) fn new(specs: &[AttentionSpec], max_positions: i32) -> Mlx<Self> {
        let spec = specs.first().ok_or("attention without layers")?;
        let layers = FusedLayers::new(specs, max_positions)?;
        let width = spec.packed_width() as usize;
        let chains = (0..layers.shape.num_layers).map(|layer| Chain::new(width, &[layers.stage(layer)]));
        Ok(Self {
            store: KvStore::new(layers.shape)?,
            inverse_frequencies: periods(&spec.rope, spec.head_dim)
                .iter()
                .map(|period| (1.0 / period) as f32)
                .collect(),
            layers: chains.collect::<Mlx<_>>()?,
            created: HashSet::new(),
            step: None,
            last: None,
        })
    }

    /// Runs a chain on the rows of the current step.
    fn run_step(&self, chain: &Chain, x: &Array) -> Mlx<Array> {
        chain.run(x, Some(self.step.as_ref().ok_or("attention outside a step")?))
    }
}

impl Attention for Fused {
    fn admit(&mut self, sequence: SequenceId, _max_positions: i32) -> Mlx<()> {
        self.store.create(sequence.0)?;
        self.created.insert(sequence);
        Ok(())
    }

    fn copy(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        // `fork` reads KV, so the steps that write it must be complete.
        self.last.as_ref().map(Array::eval).transpose()?;
        self.store.drop_sequence(to.0)?;
        self.store.fork(from.0, to.0, num_positions.unsigned_abs() as usize)
    }

    /// A copy shares the KV until one of the sequences writes it, so a copy and a release move KV without copying memory.
    fn take_over(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        self.copy(from, num_positions, to)?;
        self.release(from)
    }

    fn retain(&mut self, _sequence: SequenceId) -> Mlx<()> {
        Ok(())
    }

    fn release(&mut self, sequence: SequenceId) -> Mlx<()> {
        if self.created.remove(&sequence) { self.store.drop_sequence(sequence.0) } else { Ok(()) }
    }

    fn layout(&self) -> KvLayout {
        let KvShape { num_layers, num_kv_heads, head_dim, .. } = self.store.shape();
        let shape = vec![num_kv_heads, KvStore::BLOCK, head_dim];
        let shapes = std::iter::repeat_n([shape.clone(), shape], num_layers);
        KvLayout::of_layers(KvStore::ARRANGEMENT, KvElement::F32, KvStore::BLOCK, shapes)
    }

    fn export(&mut self, sequence: SequenceId, block: usize) -> Mlx<Vec<u8>> {
        // The steps that write the block must be complete.
        self.last.as_ref().map(Array::eval).transpose()?;
        Ok(host::bytes_of_f32(&self.store.export_block(sequence.0, block)?))
    }

    fn import(&mut self, sequence: SequenceId, blocks: &[KvBlock]) -> Mlx<()> {
        self.admit(sequence, i32::MAX)?;
        blocks.iter().try_for_each(|block| self.store.import_block(sequence.0, &host::f32_of_bytes(&block.0)))
    }

    fn reset(&mut self) -> Mlx<()> {
        (self.step, self.last) = (None, None);
        self.created.clear();
        self.store = KvStore::new(self.store.shape())?;
        Ok(())
    }

    fn unit(&self) -> KvUnit {
        let KvShape { num_layers, num_kv_heads, head_dim, .. } = self.store.shape();
        let bytes_per_position = (2 * num_layers * num_kv_heads * head_dim * size_of::<f32>()) as u64;
        KvUnit { bytes_per_position, block: KV_BLOCK, growth: KvGrowth::default() }
    }

    fn bytes(&self) -> u64 {
        self.store.bytes() as u64
    }

    fn begin(&mut self, spans: Vec<Span>) -> Mlx<Vec<Span>> {
        #[allow(clippy::cast_sign_loss)] // spans are positive
        let segment =
            |span: &Span| Segment { sequence: span.sequence.0, start: span.start as usize, count: span.len as usize };
        let segments: Vec<Segment> = spans.iter().map(segment).collect();
        self.step = Some(self.store.step(&segments, &self.inverse_frequencies)?);
        Ok(spans)
    }

    fn attend(&mut self, layer: usize, qkv: &Array, _norms: Option<&QkNorm>) -> Mlx<Array> {
        let attended = self.run_step(self.layers.get(layer).ok_or("attention over an unknown layer")?, qkv)?;
        self.last = Some(attended.clone());
        Ok(attended)
    }

    fn run(&mut self, layers: &Chain, x: &Array) -> Mlx<Array> {
        let hidden = self.run_step(layers, x)?;
        self.last = Some(hidden.clone());
        Ok(hidden)
    }

    fn finish(&mut self) -> Vec<Array> {
        self.step = None;
        self.last.iter().cloned().collect()
    }
}
