//! Samples a token from each row of logits on the device; the host reads nothing. `logits_processors` and `mask` change the
//! logits before.
//!
//! The rules are those of mlx-lm: `top_p`, `top_k` and `min_p` select tokens at temperature 1, then a token is sampled at
//! the row's temperature. Sampling adds Gumbel noise and takes the largest value, which needs neither normalization nor a
//! cumulative sum. The noise of a token is a hash of (seed, position, token), so it does not depend on other rows or on the
//! state of a generator.

use mlx_ops::NO_TOKEN;
use mlx_rs::ops::indexing::{argmax_axis, take_axis};
use mlx_rs::ops::{
    add, concatenate, floor_divide, gt, log1p, lt, maximum, multiply, select, softmax_axis, sort_axis, subtract,
};
use mlx_rs::{Array, Dtype};

use super::failure::Mlx;
use super::rows::{column, dim, indices};
use crate::request::SamplingParams;

/// How the token of one row is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SampledRow {
    pub(super) params: SamplingParams,
    /// The position of the sampled token in its sequence.
    pub(super) position: u64,
}

/// The method of sampling that a row needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Takes the most probable token.
    Greedy,
    /// Samples from all tokens.
    Unfiltered,
    /// Samples from the tokens that `top_p`, `top_k` and `min_p` select.
    Filtered,
}

impl Method {
    const ALL: [Self; 3] = [Self::Greedy, Self::Unfiltered, Self::Filtered];
}

impl SampledRow {
    fn method(&self) -> Method {
        let SamplingParams { top_p, top_k, min_p, .. } = self.params;
        match top_p < 1.0 || top_k > 0 || min_p > 0.0 {
            _ if self.params.is_greedy() => Method::Greedy,
            true => Method::Filtered,
            false => Method::Unfiltered,
        }
    }
}

/// A sampler for one vocabulary.
pub(super) struct Sampler {
    /// [vocab] u32: a hash of each token.
    mixed: Array,
    half_word: Array,
    shift: Array,
    spread: [Array; 2],
    to_unit: Array,
    half: Array,
    excluded: Array,
    included: Array,
    no_token: Array,
    /// Whether logits are checked by one fused operation, which exists on the CPU only.
    has_fused_check: bool,
}

/// Multipliers of `MurmurHash3`'s 32-bit finalizer (Austin Appleby, public domain).
const SPREAD: [u32; 2] = [0x85eb_ca6b, 0xc2b2_ae35];

impl Sampler {
    pub(super) fn new(vocab: i32) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the low half of a mixed word; vocab ≥ 1
        let mixed: Vec<u32> = (0..vocab as u64).map(|token| mix(token) as u32).collect();
        let number = |value: f32| Array::from_f32(value);
        let word = |value: u32| Array::from_slice(&[value], &[]);
        Self {
            mixed: Array::from_slice(&mixed, &[vocab]),
            half_word: word(1 << 16),
            shift: word(1 << 13),
            spread: SPREAD.map(word),
            // Slightly less than 2^-32, so that the largest word stays below 1 after rounding.
            to_unit: number(-(1.0 - 1.0 / 4_194_304.0) / 4_294_967_296.0),
            half: number(0.5),
            excluded: number(f32::NEG_INFINITY),
            included: number(f32::INFINITY),
            no_token: word(NO_TOKEN),
            has_fused_check: false,
        }
    }

    /// Uses the operations that exist on the CPU only.
    pub(super) fn on_cpu(self, is_on_cpu: bool) -> Self {
        Self { has_fused_check: is_on_cpu, ..self }
    }

    /// [s, vocab] f32 → [s] u32. Rows are grouped by method, so that a greedy row costs an argmax and only filtered rows
    /// cost a sort.
    pub(super) fn sample(&self, logits: &Array, rows: &[SampledRow]) -> Mlx<Array> {
        let places_of = |method| (0..rows.len()).filter(|place| rows[*place].method() == method).collect::<Vec<_>>();
        let by_method = Method::ALL.map(places_of);
        let mut parts = Vec::new();
        for (method, places) in Method::ALL.into_iter().zip(&by_method).filter(|(_, places)| !places.is_empty()) {
            if places.len() == rows.len() {
                return self.sample_by(method, logits, rows);
            }
            let of_method: Vec<SampledRow> = places.iter().map(|place| rows[*place]).collect();
            parts.push(self.sample_by(method, &take_axis(logits, indices(places), 0)?, &of_method)?);
        }
        // The index of each row's token in the concatenation.
        let mut index = vec![0; rows.len()];
        for (at, place) in by_method.iter().flatten().enumerate() {
            index[*place] = at;
        }
        take_axis(concatenate(&parts, 0)?, indices(&index), 0)
    }

    /// The tokens as the host reads them, [s], for the model's own logits, [s, vocab]. A token is [`NO_TOKEN`] if a logit of
    /// its row is NaN or positive infinity, or if the token has probability 0. Logits of negative infinity are allowed:
    /// their tokens are never sampled.
    pub(super) fn checked(&self, logits: &Array, tokens: &Array) -> Mlx<Array> {
        if self.has_fused_check {
            return mlx_ops::checked(logits, tokens);
        }
        let tokens = tokens.reshape(&[-1, 1])?;
        let chosen = logits.take_along_axis(&tokens, 1)?;
        // The sum of a row is NaN or positive infinity if a logit is. It takes a third of the time of minimum and maximum,
        // and far less than exponentials. A sum of negative infinity makes the difference positive infinity, which passes.
        let rest = subtract(chosen, logits.sum_axis(-1, true)?)?;
        select(gt(rest, &self.excluded)?, tokens, &self.no_token)
    }

    fn sample_by(&self, method: Method, logits: &Array, rows: &[SampledRow]) -> Mlx<Array> {
        match method {
            Method::Greedy => argmax_axis(logits, -1, false),
            Method::Unfiltered => self.sample_softmax(logits, rows),
            Method::Filtered => self.sample_softmax(&self.filter(logits, rows)?, rows),
        }
    }

    /// Samples from the softmax of the logits at the temperature of each row.
    fn sample_softmax(&self, logits: &Array, rows: &[SampledRow]) -> Mlx<Array> {
        // The largest logit becomes 0, so that a temperature close to 0 overflows to -inf and never to NaN.
        let relative = subtract(logits, logits.max_axis(-1, true)?)?;
        let inverse = column(rows, |row| (1.0 / row.params.temperature).min(1e30));
        let scaled = multiply(relative, inverse)?;
        argmax_axis(subtract(scaled, self.log_waiting_times(rows)?)?, -1, false)
    }

    /// Sets the logits that `top_p`, `min_p` or `top_k` exclude to minus infinity. Each is computed from the probabilities of
    /// all tokens at temperature 1. Tokens as probable as the least probable one that is kept are kept as well.
    fn filter(&self, logits: &Array, rows: &[SampledRow]) -> Mlx<Array> {
        let least_probable =
            column(rows, |row| if row.params.min_p > 0.0 { row.params.min_p.ln() } else { f32::NEG_INFINITY });
        let mut least = add(logits.max_axis(-1, true)?, least_probable)?;
        if rows.iter().any(|row| row.params.top_p < 1.0 || row.params.top_k > 0) {
            let ascending = sort_axis(logits, -1)?;
            least = maximum(least, self.least_of_nucleus(&ascending, rows)?)?;
            least = maximum(least, least_of_top(&ascending, rows)?)?;
        }
        select(lt(logits, least)?, &self.excluded, logits)
    }

    /// The smallest logit of the smallest set of tokens whose probabilities reach `top_p`, [s, 1].
    fn least_of_nucleus(&self, ascending: &Array, rows: &[SampledRow]) -> Mlx<Array> {
        // Rows without `top_p` keep everything: rounding of the cumulative sum must not cut their tail.
        let top_p = column(rows, |row| if row.params.top_p < 1.0 { row.params.top_p } else { f32::INFINITY });
        let mass_above = softmax_axis(ascending, -1, true)?.cumsum(-1, true, false)?;
        select(lt(&mass_above, top_p)?, ascending, &self.included)?.min_axis(-1, true)
    }

    /// Logarithms of exponentially distributed waiting times, [s, vocab], which are negated Gumbel noise. The largest logit
    /// after subtracting them is a sample from the softmax (the Gumbel-max trick).
    fn log_waiting_times(&self, rows: &[SampledRow]) -> Mlx<Array> {
        let keys: Vec<u64> = rows.iter().map(|row| mix(row.params.seed ^ mix(row.position))).collect();
        let column = |part: &dyn Fn(u64) -> u64| {
            #[allow(clippy::cast_possible_truncation)] // halves of a word
            let parts: Vec<u32> = keys.iter().map(|key| part(*key) as u32).collect();
            Array::from_slice(&parts, &[dim(parts.len()), 1])
        };
        // The factor is odd, so that the multiplication is a bijection.
        let keyed = add(multiply(&self.mixed, column(&|key| key | 1))?, column(&|key| key >> 32))?;
        let folded = fold(&keyed, &self.half_word)?;
        let folded = fold(&multiply(folded, &self.spread[0])?, &self.shift)?;
        let words = fold(&multiply(folded, &self.spread[1])?, &self.half_word)?;
        // Half a unit excludes 0. `log1p` is exact for small values, which decide the largest sum.
        let unit = multiply(add(words.as_dtype(Dtype::Float32)?, &self.half)?, &self.to_unit)?;
        log1p(unit)?.negative()?.log()
    }
}

/// The smallest of the `top_k` largest logits, [s, 1]; the smallest of all for rows without `top_k`.
fn least_of_top(ascending: &Array, rows: &[SampledRow]) -> Mlx<Array> {
    let vocab = ascending.dim(1).unsigned_abs();
    let place = |row: &SampledRow| if row.params.top_k == 0 { 0 } else { vocab.saturating_sub(row.params.top_k) };
    let places: Vec<u32> = rows.iter().map(place).collect();
    ascending.take_along_axis(Array::from_slice(&places, &[dim(places.len()), 1]), 1)
}

/// Adds the high bits to the low ones, as `word ^ (word >> n)` would; mlx-rs has no shift or xor.
fn fold(words: &Array, by: &Array) -> Mlx<Array> {
    add(words, floor_divide(words, by)?)
}

/// The output function of `SplitMix64` (Sebastiano Vigna, public domain) for the state after `word`.
fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
