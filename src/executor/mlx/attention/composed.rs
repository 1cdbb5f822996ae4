//! Attention composed of MLX's operations, a few per layer for any number of rows. KV is in slabs: `pool` assigns slots to
//! sequences, `layout` decides which rows of a step attend together, and `scores` computes. `mlx_ops::KvUpdate` writes keys
//! and values in place while the previous step may still run.

use mlx_rs::fast::rms_norm;
use mlx_rs::ops::indexing::{TryIndexOp, take_axis};
use mlx_rs::ops::{concatenate, multiply};
use mlx_rs::{Array, Device, DeviceType, Dtype};

use super::super::failure::Mlx;
use super::super::spec::AttentionSpec;
use super::layer_pool::{LayerPool, PoolShape, Slabs, Step};
use super::layout::{Group, Grouping, Pieces, arrange};
use super::pool::Pool;
use super::rope::Rotation;
use super::scores::{Scores, Visible, in_type};
use super::{Attention, KV_BLOCK, QkNorm, SPARE_SHARE, Span, host};
use crate::executor::KvUnit;
use crate::host_kv::{KvBlock, KvLayout};
use crate::request::SequenceId;
use crate::scheduler::plan::{KvGrowth, KvWindow};

/// Composed attention with its KV.
pub(in super::super) struct Composed {
    layers: Vec<Layer>,
    pools: Vec<LayerPool>,
    /// Keys that the last layer of the step reads. Once they are computed, all KV of the step is written.
    last: Option<Array>,
    /// Whether a row of the step samples a token.
    samples: bool,
}

struct Layer {
    spec: AttentionSpec,
    rotation: Rotation,
    pool: usize,
    /// Index among the layers of the pool.
    place: usize,
    /// Weights of the norms of queries and keys, [heads + kv heads, 1, head dim].
    norm: Option<Array>,
}

impl Composed {
    /// For layers whose activations have element type `dtype`, on MLX's default device. On a CPU, KV is float32: MLX would
    /// convert every key and value of half precision one by one in every step.
    pub(in super::super) fn new(specs: &[AttentionSpec], dtype: Dtype, grouping: Grouping) -> Mlx<Self> {
        let on_cpu = matches!(Device::try_default()?.get_type()?, DeviceType::Cpu);
        let kv_dtype = if on_cpu { Dtype::Float32 } else { dtype };
        let scores = |spec: &AttentionSpec| Scores { is_fused: !on_cpu && spec.softcap.is_none(), dtype, kv_dtype };
        let mut pools: Vec<LayerPool> = Vec::new();
        let mut layers = Vec::new();
        for spec in specs {
            let shape = PoolShape::of(spec, scores(spec), grouping);
            let pool = pools.iter().position(|pool| pool.shape == shape).unwrap_or_else(|| {
                pools.push(LayerPool::new(shape));
                pools.len() - 1
            });
            let place = pools[pool].num_layers.unsigned_abs() as usize;
            pools[pool].num_layers += 1;
            layers.push(Layer { spec: spec.clone(), rotation: Rotation::new(spec), pool, place, norm: None });
        }
        for pool in &mut pools {
            pool.pool = Pool::new(pool.shape.kind(), pool.bytes_per_position());
        }
        Ok(Self { layers, pools, last: None, samples: false })
    }
}

impl Attention for Composed {
    /// Does nothing: a sequence gets a slot with its first position.
    fn admit(&mut self, _sequence: SequenceId, _max_positions: i32) -> Mlx<()> {
        Ok(())
    }

    fn copy(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        self.pools.iter_mut().try_for_each(|pool| pool.copy(from, num_positions, to))
    }

    fn take_over(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        self.pools.iter_mut().try_for_each(|pool| pool.take_over(from, num_positions, to))
    }

    fn retain(&mut self, sequence: SequenceId) -> Mlx<()> {
        self.pools.iter_mut().try_for_each(|pool| pool.retain(sequence))
    }

    fn release(&mut self, sequence: SequenceId) -> Mlx<()> {
        self.pools.iter_mut().for_each(|pool| pool.pool.release(sequence));
        Ok(())
    }

    fn layout(&self) -> KvLayout {
        let shape = |layer: &Layer| {
            let heads = [layer.spec.kv_heads, layer.spec.head_dim].map(|size| size.unsigned_abs() as usize);
            vec![heads[0], KV_BLOCK, heads[1]]
        };
        let shapes = self.layers.iter().map(|layer| [shape(layer), shape(layer)]);
        let dtype = self.pools.first().map_or(Dtype::Float32, |pool| pool.shape.scores.kv_dtype);
        KvLayout::of_layers("[heads, positions, head dim]", host::element_of(dtype), KV_BLOCK, shapes)
    }

    fn export(&mut self, sequence: SequenceId, block: usize) -> Mlx<Vec<u8>> {
        let slots = self.pools.iter().map(|pool| pool.written_slot(sequence)).collect::<Mlx<Vec<_>>>()?;
        let of_layer = |layer: &Layer| {
            let slot = &slots[layer.pool];
            let [keys, values] = &slot.memory[layer.place];
            [(keys, slot.index), (values, slot.index)]
        };
        host::export(self.layers.iter().flat_map(of_layer), block)
    }

    fn import(&mut self, sequence: SequenceId, blocks: &[KvBlock]) -> Mlx<()> {
        let layout = self.layout();
        let parts: Vec<_> = layout.ranges().map(|(_, range)| range).collect();
        for (index, pool) in self.pools.iter_mut().enumerate() {
            let own = self.layers.iter().zip(parts.as_chunks::<2>().0).filter(|(layer, _)| layer.pool == index);
            pool.import(sequence, blocks, own.map(|(_, parts)| parts.clone()))?;
        }
        Ok(())
    }

    fn reset(&mut self) -> Mlx<()> {
        self.last = None;
        for pool in &mut self.pools {
            pool.pool.clear();
            pool.moves.clear();
            pool.step = None;
        }
        Ok(())
    }

    fn unit(&self) -> KvUnit {
        let windows = self.pools.iter().filter_map(|pool| pool.shape.window.map(|window| (window, pool)));
        let window = windows.fold(None, |seen: Option<KvWindow>, (window, pool)| {
            let window = window.unsigned_abs() as usize;
            let seen = seen.unwrap_or(KvWindow { positions: window, least: window, bytes_per_position: 0 });
            Some(KvWindow {
                positions: seen.positions.max(window),
                least: seen.least.min(window),
                bytes_per_position: seen.bytes_per_position + pool.bytes_per_position(),
            })
        });
        let bytes_per_position = self.pools.iter().map(LayerPool::bytes_per_position).sum();
        let growth = KvGrowth { doubles: true, window, spare_share: Some(SPARE_SHARE) };
        KvUnit { bytes_per_position, block: KV_BLOCK, growth }
    }

    fn set_kv_bytes(&mut self, bytes: u64) {
        let all: u64 = self.pools.iter().map(LayerPool::bytes_per_position).sum();
        for pool in &mut self.pools {
            let share =
                u128::from(bytes / SPARE_SHARE) * u128::from(pool.bytes_per_position()) / u128::from(all.max(1));
            pool.pool.set_spare_bytes(u64::try_from(share).unwrap_or(u64::MAX));
        }
    }

    fn bytes(&self) -> u64 {
        self.pools.iter().map(|pool| pool.pool.bytes()).sum()
    }

    /// Rows are packed in the order of the pool with most layers. Layers of other pools reorder them and restore the order.
    fn begin(&mut self, mut spans: Vec<Span>) -> Mlx<Vec<Span>> {
        self.samples = spans.iter().any(|span| span.sampled);
        self.pools.iter_mut().try_for_each(|pool| pool.make_room(&spans))?;
        if let Some(pool) = self.pools.iter().rev().max_by_key(|pool| pool.num_layers) {
            let mut placed = pool.placed(&spans, &mut Slabs::default())?;
            arrange(pool.pool.kind(), &mut placed);
            let mut offset = 0;
            for (span, placed) in spans.iter_mut().zip(placed) {
                *span = Span { offset, ..placed.span };
                offset += span.len;
            }
        }
        self.pools.iter_mut().try_for_each(|pool| pool.begin(&spans))?;
        Ok(spans)
    }

    fn attend(&mut self, layer: usize, qkv: &Array, norms: Option<&QkNorm>) -> Mlx<Array> {
        let layer = self.layers.get_mut(layer).ok_or("attention over an unknown layer")?;
        let pool = &self.pools[layer.pool];
        let (scores, step) = (pool.shape.scores, pool.step.as_ref().ok_or("attention outside a step")?);
        let [queries, keys, values] = layer.split(&taken(qkv, step.order.as_ref())?, norms, &step.positions)?;
        let (keys, values) = (in_type(&keys, scores.kv_dtype)?, in_type(&values, scores.kv_dtype)?);
        let slabs: Vec<_> = step.slabs.iter().map(|slab| slab[layer.place].clone()).collect();
        let reads = step.update.run(&slabs, &keys, &values)?;
        self.last = reads.first().map(|[keys, _]| keys.clone());
        let attended = layer.attend_groups(scores, step, &queries, &reads)?;
        in_type(&taken(&attended, step.back.as_ref())?, qkv.dtype())
    }

    fn finish(&mut self) -> Vec<Array> {
        for pool in &mut self.pools {
            pool.step = None;
        }
        // A sampled token depends on the last layer, and so on all KV of the step: evaluating the token is enough.
        self.last.take().filter(|_| !self.samples).into_iter().collect()
    }
}

impl Layer {
    /// Queries and keys, normalized and rotated, and values: [n, heads, 1, head dim] each. Every token is a batch row with
    /// its own position, so one operation rotates all tokens of all rows.
    fn split(&mut self, qkv: &Array, norms: Option<&QkNorm>, positions: &Array) -> Mlx<[Array; 3]> {
        let AttentionSpec { heads, kv_heads, head_dim, qk_norm, .. } = self.spec;
        let (num_tokens, rotated) = (qkv.dim(0), heads + kv_heads);
        let qkv = qkv.reshape(&[num_tokens, rotated + kv_heads, 1, head_dim])?;
        let values = qkv.try_index((.., rotated..))?;
        let mut queries_keys = qkv.try_index((.., ..rotated))?;
        if let (Some(eps), Some(norms)) = (qk_norm, norms) {
            let weight = self.norm_weight(norms)?;
            queries_keys = multiply(rms_norm(&queries_keys, None, eps)?, weight)?;
        }
        let rotated = self.rotation.apply(&queries_keys, positions)?;
        Ok([rotated.try_index((.., ..heads))?, rotated.try_index((.., heads..))?, values])
    }

    /// The weights of both norms, concatenated once.
    fn norm_weight(&mut self, norms: &QkNorm) -> Mlx<Array> {
        if let Some(norm) = &self.norm {
            return Ok(norm.clone());
        }
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.spec;
        let of_heads = |weight: &Array, heads| mlx_rs::ops::broadcast_to(weight, &[heads, 1, head_dim]);
        let norm = concatenate(&[of_heads(&norms.queries, heads)?, of_heads(&norms.keys, kv_heads)?], 0)?;
        norm.eval()?;
        Ok(self.norm.insert(norm).clone())
    }

    /// [q, heads · head dim]
    fn attend_groups(&self, scores: Scores, step: &Step, queries: &Array, reads: &[[Array; 2]]) -> Mlx<Array> {
        let queries = taken(&scores.prepare(&self.spec, queries)?, step.queries.as_ref())?;
        let attend = |((group, visible), kv): (&(Group, Visible), &[Array; 2])| match group {
            Group::Decode { first, num_visible } => {
                let queries = rows(&queries, *first, i32::try_from(num_visible.len()).unwrap_or_default())?;
                scores.decode(&self.spec, &queries, kv, visible)
            }
            Group::Pieces(Pieces { first, len, .. }) => {
                scores.pieces(&self.spec, &rows(&queries, *first, len * kv[0].dim(0))?, kv, visible)
            }
        };
        let mut attended = step.groups.iter().zip(reads).map(attend).collect::<Mlx<Vec<_>>>()?;
        if attended.len() == 1 { Ok(attended.remove(0)) } else { concatenate(&attended, 0) }
    }
}

/// Takes rows of [n, ..]; all of them if `rows` is `None`.
fn taken(x: &Array, rows: Option<&Array>) -> Mlx<Array> {
    rows.map_or_else(|| Ok(x.clone()), |rows| take_axis(x, rows, 0))
}

/// Consecutive rows of [n, ..]. Taking all rows is free.
fn rows(x: &Array, first: i32, count: i32) -> Mlx<Array> {
    if count == x.dim(0) { Ok(x.clone()) } else { x.try_index(first..first + count) }
}
