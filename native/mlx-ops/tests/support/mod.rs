//! Reference attention in `f64`, and random numbers as its input.
//!
//! The references of the tests share no code with the code under test.

#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use mlx_ops::{Chain, KvShape, KvStore, Segment, Stage};
use mlx_rs::Array;
use mlx_rs::error::Result;

/// Sizes of one attention layer.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
}

impl Sizes {
    pub fn columns(&self) -> usize {
        (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
    }

    pub fn store(&self, max_positions: usize) -> Result<KvStore> {
        let (num_kv_heads, head_dim) = (self.num_kv_heads, self.head_dim);
        KvStore::new(KvShape { num_layers: 1, num_kv_heads, head_dim, max_positions })
    }

    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let dim = self.head_dim as f32;
        (0..self.head_dim / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / dim)).collect()
    }

    /// A chain with this layer only.
    pub fn stage(&self, store: &KvStore) -> Stage<'static> {
        Stage::Attention { layer: 0, scale: (self.head_dim as f32).powf(-0.5), shape: store.shape() }
    }

    pub fn chain(&self, store: &KvStore) -> Result<Chain> {
        Chain::new(self.columns(), &[self.stage(store)])
    }

    /// Queries, keys and values of `rows` positions, different for each `seed`.
    pub fn qkv(&self, seed: u32, rows: usize) -> Vec<f32> {
        noise(seed, rows * self.columns())
    }

    /// The rows of one step through the layer. `qkv` has all segments' rows, in order.
    pub fn attend(&self, store: &mut KvStore, segments: &[Segment], qkv: &[f32]) -> Result<Vec<f32>> {
        let step = store.step(segments, &self.inverse_frequencies())?;
        read(&self.chain(store)?.run(&matrix(qkv, qkv.len() / self.columns()), Some(&step))?)
    }

    /// The expected result for a whole sequence, row by row.
    pub fn reference(&self, qkv: &[f32]) -> Vec<f64> {
        let rows: Vec<&[f32]> = qkv.chunks(self.columns()).collect();
        let group = self.num_heads / self.num_kv_heads;
        let num_rotated = self.num_heads + self.num_kv_heads;
        let rotated: Vec<Vec<f64>> = (0..rows.len() * num_rotated)
            .map(|i| self.rotated(rows[i / num_rotated], i % num_rotated, i / num_rotated))
            .collect();
        let mut out = Vec::new();
        for position in 0..rows.len() {
            for head in 0..self.num_heads {
                let query = &rotated[position * num_rotated + head];
                let key_head = self.num_heads + head / group;
                let scores: Vec<f64> = (0..=position)
                    .map(|p| dot(query, &rotated[p * num_rotated + key_head]) / (self.head_dim as f64).sqrt())
                    .collect();
                let weights = softmax(&scores);
                let value_head = key_head + self.num_kv_heads;
                for d in 0..self.head_dim {
                    let value = |p: usize| f64::from(rows[p][value_head * self.head_dim + d]);
                    out.push(weights.iter().enumerate().map(|(p, weight)| weight * value(p)).sum());
                }
            }
        }
        out
    }

    fn rotated(&self, row: &[f32], head: usize, position: usize) -> Vec<f64> {
        let half = self.head_dim / 2;
        let x: Vec<f64> = row[head * self.head_dim..][..self.head_dim].iter().map(|&x| x.into()).collect();
        let mut out = vec![0.0; self.head_dim];
        for (i, &frequency) in self.inverse_frequencies().iter().enumerate() {
            let (sine, cosine) = (position as f64 * f64::from(frequency)).sin_cos();
            out[i] = x[i] * cosine - x[half + i] * sine;
            out[half + i] = x[i] * sine + x[half + i] * cosine;
        }
        out
    }
}

/// The result of a single stage.
#[track_caller]
pub fn one(stage: Stage<'_>, x: &Array) -> Result<Array> {
    let width = usize::try_from(x.dim(-1)).expect("a width");
    Chain::new(width, &[stage])?.run(x, None)
}

pub fn matrix(values: &[f32], rows: usize) -> Array {
    let size = |n: usize| i32::try_from(n).expect("few numbers");
    Array::from_slice(values, &[size(rows), size(values.len() / rows)])
}

pub fn read(array: &Array) -> Result<Vec<f32>> {
    array.eval()?;
    Ok(array.as_slice::<f32>().to_vec())
}

/// One segment.
pub fn rows(sequence: u64, start: usize, count: usize) -> Segment {
    Segment { sequence, start, count }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// Pseudo-random numbers between -2 and 2, the same in every run.
pub fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 * 4.0 - 2.0
    };
    (0..count).map(|_| next()).collect()
}

/// The largest absolute difference between the result and the expected values.
pub fn distance(computed: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(computed.len(), expected.len());
    let distances = computed.iter().zip(expected).map(|(&c, &e)| (f64::from(c) - e).abs());
    // A comparison with NaN is false, so NaN is checked first.
    distances.fold(0.0, |largest, distance| if distance <= largest { largest } else { distance })
}

/// The bits of floats, to compare exactly: `==` ignores the sign of zero and NaN.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
