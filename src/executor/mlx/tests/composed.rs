//! Composed attention compared with a plain computation in f64, while sequences join, grow, are copied and leave.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small numbers of the test's own making

use std::collections::BTreeMap;

use mlx_rs::{Array, Dtype};

use super::super::attention::{Attention, Composed, Grouping, QkNorm, Span};
use super::super::spec::{AttentionSpec, Rope, RopeScaling};
use crate::request::SequenceId;

const ROPE: Rope = Rope { base: 10_000.0, scaling: RopeScaling::None, traditional: false };
pub(super) const PLAIN: AttentionSpec = AttentionSpec {
    heads: 4,
    kv_heads: 2,
    head_dim: 8,
    scale: 0.35,
    softcap: None,
    window: None,
    rope: ROPE,
    qk_norm: None,
};

/// Pseudorandom numbers, equal in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn below(&mut self, limit: i32) -> i32 {
        i32::try_from(self.next() % u64::from(limit.unsigned_abs())).expect("below an i32")
    }

    /// `width` numbers from -1 to 1.
    fn row(seed: u64, width: usize) -> Vec<f32> {
        let mut noise = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        noise.next();
        (0..width).map(|_| (noise.next() as f64 / f64::from(1u32 << 30) - 1.0) as f32).collect()
    }
}

/// The seed of the input at each position of a sequence. A copy of the sequence has the same seeds.
pub(super) type Seeds = Vec<u64>;

pub(super) struct Harness {
    specs: Vec<AttentionSpec>,
    norms: QkNorm,
    norm_values: [Vec<f32>; 2],
    pub(super) attention: Composed,
    pub(super) sequences: BTreeMap<u64, Seeds>,
    pub(super) next_seed: u64,
}

impl Harness {
    pub(super) fn new(specs: Vec<AttentionSpec>) -> Self {
        let width = usize::try_from(specs[0].head_dim).expect("a width");
        let norm_values = [7, 8].map(|seed| Noise::row(seed, width));
        let [queries, keys] = norm_values.clone().map(|values| Array::from_slice(&values, &[specs[0].head_dim]));
        let attention = Composed::new(&specs, Dtype::Float32, Grouping::Shared).expect("attention");
        let norms = QkNorm { queries, keys };
        Self { specs, norms, norm_values, attention, sequences: BTreeMap::new(), next_seed: 1 }
    }

    pub(super) fn add(&mut self, id: u64) {
        self.attention.admit(SequenceId(id), 1 << 20).expect("admitted");
        self.sequences.insert(id, Vec::new());
    }

    pub(super) fn copy(&mut self, from: u64, num_positions: usize, to: u64) {
        self.add(to);
        let count = i32::try_from(num_positions).expect("few");
        self.attention.copy(SequenceId(from), count, SequenceId(to)).expect("a copy");
        let seeds = self.sequences[&from][..num_positions].to_vec();
        self.sequences.insert(to, seeds);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.attention.release(SequenceId(id)).expect("released");
        self.sequences.remove(&id);
    }

    /// Runs one step with (sequence, number of rows) and compares every row.
    pub(super) fn step(&mut self, rows: &[(u64, i32)]) {
        let (mut spans, mut offset) = (Vec::new(), 0);
        for &(id, len) in rows {
            let sequence = self.sequences.get_mut(&id).expect("a sequence");
            let start = i32::try_from(sequence.len()).expect("few");
            sequence.extend((0..len).map(|_| {
                self.next_seed += 1;
                self.next_seed
            }));
            spans.push(Span { row: spans.len(), sequence: SequenceId(id), start, len, offset, sampled: true });
            offset += len;
        }
        let spans = self.attention.begin(spans).expect("a step");
        for (layer, spec) in self.specs.iter().enumerate() {
            let width = usize::try_from(spec.packed_width()).expect("a width");
            let seeds = spans.iter().flat_map(|span| {
                let (start, len) = (span.start as usize, span.len as usize);
                self.sequences[&span.sequence.0][start..start + len].iter()
            });
            let packed: Vec<f32> = seeds.flat_map(|seed| Noise::row(seed * 100 + layer as u64, width)).collect();
            let qkv = Array::from_slice(&packed, &[offset, spec.packed_width()]);
            let norms = spec.qk_norm.map(|_| &self.norms);
            let attended = self.attention.attend(layer, &qkv, norms).expect("attention");
            attended.eval().expect("attention");
            let found = attended.as_slice::<f32>().to_vec();
            let mut found = found.chunks(usize::try_from(spec.heads * spec.head_dim).expect("a width"));
            for span in &spans {
                for position in span.start..span.start + span.len {
                    let expected = self.reference(layer, &self.sequences[&span.sequence.0], position as usize);
                    let found = found.next().expect("a row");
                    let far = found.iter().zip(&expected).find(|(a, b)| (f64::from(**a) - **b).abs() > 2e-5);
                    assert!(far.is_none(), "layer {layer}, {:?}, position {position}: {far:?}", span.sequence);
                }
            }
        }
        self.attention.finish();
    }

    /// The expected result at a position.
    fn reference(&self, layer: usize, seeds: &Seeds, position: usize) -> Vec<f64> {
        let spec = &self.specs[layer];
        let (heads, kv_heads, width) = (spec.heads as usize, spec.kv_heads as usize, spec.head_dim as usize);
        let row = |at: usize| Noise::row(seeds[at] * 100 + layer as u64, spec.packed_width() as usize);
        let first = spec.window.map_or(0, |window| (position + 1).saturating_sub(window as usize));
        let rows: Vec<_> = (first..=position).map(row).collect();
        let own = rows.last().expect("its own");
        let mut out = Vec::new();
        for head in 0..heads {
            let query = self.rotated(spec, &own[head * width..][..width], 0, position);
            let key_head = heads + head / (heads / kv_heads);
            let score = |(at, row): (usize, &Vec<f32>)| {
                let key = self.rotated(spec, &row[key_head * width..][..width], 1, first + at);
                let score = query.iter().zip(&key).map(|(a, b)| a * b).sum::<f64>() * f64::from(spec.scale);
                spec.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let scores: Vec<f64> = rows.iter().enumerate().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            for at in 0..width {
                let value = |row: &Vec<f32>| f64::from(row[(key_head + kv_heads) * width + at]);
                out.push(rows.iter().zip(&weights).map(|(row, weight)| weight / total * value(row)).sum());
            }
        }
        out
    }

    /// Normalizes if the model does, and rotates.
    fn rotated(&self, spec: &AttentionSpec, x: &[f32], side: usize, position: usize) -> Vec<f64> {
        let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        if let Some(eps) = spec.qk_norm {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let scale = (mean + f64::from(eps)).sqrt().recip();
            x.iter_mut().zip(&self.norm_values[side]).for_each(|(x, weight)| *x *= scale * f64::from(*weight));
        }
        let half = x.len() / 2;
        let mut out = x.clone();
        for pair in 0..half {
            let angle = position as f64 * spec.rope.base.powf(-(2.0 * pair as f64) / x.len() as f64);
            let (sin, cos) = angle.sin_cos();
            out[pair] = x[pair] * cos - x[half + pair] * sin;
            out[half + pair] = x[pair] * sin + x[half + pair] * cos;
        }
        out
    }
}

pub(super) fn windowed(window: i32) -> AttentionSpec {
    AttentionSpec { window: Some(window), ..PLAIN }
}

#[test]
fn prompts_and_single_rows_of_any_length_share_a_step() {
    let mut harness = Harness::new(vec![PLAIN, PLAIN]);
    (0..5).for_each(|id| harness.add(id));
    harness.step(&[(0, 3), (1, 40), (2, 300), (3, 1)]);
    harness.step(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 260)]);
    harness.step(&[(4, 1), (2, 1), (0, 1)]);
    harness.step(&[(0, 1), (1, 7), (2, 1), (3, 1), (4, 30)]);
}

/// A group is filled up behind its last rows; these rows were taken for results.
#[test]
fn pieces_of_different_lengths_are_one_group_in_any_order_of_their_lengths() {
    for lengths in [[11, 9, 10], [9, 10, 11], [10, 11, 9]] {
        let mut harness = Harness::new(vec![PLAIN, windowed(8)]);
        (0..3).for_each(|id| harness.add(id));
        harness.step(&[(0, 3), (1, 3), (2, 3)]);
        harness.step(&[(0, lengths[0]), (1, lengths[1]), (2, lengths[2])]);
        harness.step(&[(0, lengths[2]), (1, lengths[0]), (2, 1)]);
        harness.step(&[(0, 1), (1, 1), (2, 1)]);
    }
}

#[test]
fn a_sequence_that_outgrows_its_slot_keeps_its_kv() {
    let mut harness = Harness::new(vec![PLAIN]);
    (0..3).for_each(|id| harness.add(id));
    harness.step(&[(0, 254), (1, 255), (2, 250)]);
    for _ in 0..5 {
        harness.step(&[(0, 1), (1, 1), (2, 1)]);
    }
    harness.step(&[(0, 300), (1, 1), (2, 1)]);
    harness.step(&[(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn a_window_is_exact_at_its_border_in_batches_and_in_chunks() {
    for window in [1, 2, 7, 16, 300] {
        let mut harness = Harness::new(vec![windowed(window), PLAIN]);
        (0..4).for_each(|id| harness.add(id));
        harness.step(&[(0, window), (1, window + 1), (2, (window - 1).max(1)), (3, 2 * window + 3)]);
        for _ in 0..4 {
            harness.step(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
        }
        // Chunks that begin within the window, chunks that begin beyond it, and chunks longer than it.
        harness.step(&[(0, 3), (1, window), (2, 2 * window + 1), (3, 1)]);
        harness.step(&[(3, 5), (1, 1), (0, 1), (2, 2)]);
        for _ in 0..3 {
            harness.step(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
        }
    }
}

#[test]
fn a_prompt_is_copied_while_it_is_within_the_window_or_at_its_end() {
    let mut harness = Harness::new(vec![windowed(10), PLAIN]);
    harness.add(0);
    harness.step(&[(0, 8)]);
    harness.step(&[(0, 2)]);
    harness.copy(0, 5, 1);
    harness.step(&[(0, 7), (1, 1)]);
    harness.copy(0, 17, 2);
    harness.step(&[(0, 1), (1, 9), (2, 1)]);
    harness.step(&[(2, 1), (1, 1)]);
    let refused =
        harness.attention.copy(SequenceId(0), 17, SequenceId(3)).expect_err("the sequence has more positions");
    assert!(refused.what().contains("window"), "{}", refused.what());
}

#[test]
fn norms_come_before_rotation_and_caps_before_the_mask() {
    let capped = AttentionSpec { softcap: Some(0.5), window: Some(9), ..PLAIN };
    let normed = AttentionSpec { qk_norm: Some(1e-5), ..PLAIN };
    let mut harness = Harness::new(vec![capped, normed]);
    (0..3).for_each(|id| harness.add(id));
    harness.step(&[(0, 4), (1, 20), (2, 1)]);
    harness.step(&[(0, 1), (1, 1), (2, 12)]);
    harness.step(&[(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn sequences_that_join_and_leave_in_any_order_do_not_affect_each_other() {
    let mut harness = Harness::new(vec![PLAIN, windowed(40)]);
    let mut noise = Noise(77);
    let mut next = 0;
    for _ in 0..150 {
        let ids: Vec<u64> = harness.sequences.keys().copied().collect();
        match noise.below(8) {
            0 | 1 if ids.len() < 12 => {
                harness.add(next);
                harness.step(&[(next, 1 + noise.below(90))]);
                next += 1;
            }
            2 if !ids.is_empty() => harness.remove(ids[noise.below(i32::try_from(ids.len()).expect("few")) as usize]),
            3 if !ids.is_empty() => {
                let of = ids[noise.below(i32::try_from(ids.len()).expect("few")) as usize];
                let len = harness.sequences[&of].len();
                harness.copy(of, len, next);
                next += 1;
            }
            _ => {
                let mut rows: Vec<_> = ids.iter().filter(|_| noise.below(5) > 0).map(|id| (*id, 1)).collect();
                if let Some(row) = rows.first_mut() {
                    row.1 = if noise.below(3) == 0 { 1 + noise.below(60) } else { 1 };
                    let turn = noise.below(i32::try_from(rows.len()).expect("few")) as usize;
                    rows.rotate_left(turn);
                    harness.step(&rows);
                }
            }
        }
    }
    let ids: Vec<u64> = harness.sequences.keys().copied().collect();
    for id in ids {
        harness.remove(id);
    }
    assert_eq!(harness.attention.bytes(), 0);
}
