//! Draws a token from each row of logits, on the device, without the host reading anything.
//!
//! The rules are mlx-lm's: nucleus first, on the probabilities at temperature 1, then a draw at the row's temperature.
//! The draw adds Gumbel noise and takes the largest, which needs neither normalisation nor a running sum. The noise of
//! a token is a hash of (seed, position, token): no generator state, no neighbour and no batch can change it.

use mlx_rs::ops::indexing::{argmax_axis, take_axis};
use mlx_rs::ops::{add, concatenate, floor_divide, log1p, lt, multiply, select, softmax_axis, sort_axis, subtract};
use mlx_rs::{Array, Dtype};

use super::failure::Mlx;
use crate::request::SamplingParams;

/// How the token of one row is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draw {
    pub(super) params: SamplingParams,
    /// The position the token will have in its sequence.
    pub(super) position: u64,
}

/// A sampler for one vocabulary.
pub(super) struct Sampler {
    /// [vocab] u32: a well-mixed number of each token.
    mixed: Array,
    half_word: Array,
    shift: Array,
    spread: [Array; 2],
    to_unit: Array,
    half: Array,
    excluded: Array,
    included: Array,
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
            // A little less than 2^-32: the largest word stays below 1 after rounding.
            to_unit: number(-(1.0 - 1.0 / 4_194_304.0) / 4_294_967_296.0),
            half: number(0.5),
            excluded: number(f32::NEG_INFINITY),
            included: number(f32::INFINITY),
        }
    }

    /// [s, vocab] f32 → [s] u32. Rows that are not drawn at random cost an argmax and nothing else.
    pub(super) fn sample(&self, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        let (greedy, random): (Vec<usize>, Vec<usize>) =
            (0..draws.len()).partition(|row| draws[*row].params.is_greedy());
        if random.is_empty() {
            return argmax_axis(logits, -1, false);
        }
        let warm: Vec<Draw> = random.iter().map(|row| draws[*row]).collect();
        if greedy.is_empty() {
            return self.draw(logits, &warm);
        }
        let greedy_tokens = argmax_axis(take_axis(logits, indices(&greedy), 0)?, -1, false)?;
        let drawn_tokens = self.draw(&take_axis(logits, indices(&random), 0)?, &warm)?;
        // Where the token of each row is in the concatenation.
        let mut place = vec![0; draws.len()];
        for (at, row) in greedy.iter().chain(&random).enumerate() {
            place[*row] = at;
        }
        take_axis(concatenate(&[greedy_tokens, drawn_tokens], 0)?, indices(&place), 0)
    }

    fn draw(&self, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        let column = |value: &dyn Fn(&Draw) -> f32| {
            let values: Vec<f32> = draws.iter().map(value).collect();
            Array::from_slice(&values, &[rows(draws.len()), 1])
        };
        let nucleus = draws.iter().any(|draw| draw.params.top_p < 1.0);
        // A row that keeps everything must not lose its tail to rounding because a neighbour has a nucleus.
        let top_p = |draw: &Draw| if draw.params.top_p < 1.0 { draw.params.top_p } else { f32::INFINITY };
        let kept = if nucleus { self.nucleus(logits, &column(&top_p))? } else { logits.clone() };
        // The largest logit becomes 0 first: a temperature close to 0 then overflows to -inf, never to NaN.
        let relative = subtract(&kept, logits.max_axis(-1, true)?)?;
        let inverse = |draw: &Draw| (1.0 / draw.params.temperature).min(1e30);
        let scaled = multiply(relative, column(&inverse))?;
        argmax_axis(subtract(scaled, self.log_waiting_times(draws)?)?, -1, false)
    }

    /// Excludes all but the smallest set of tokens whose probabilities reach `top_p` ([s, 1]). Tokens as probable as
    /// the last of the set belong to it.
    fn nucleus(&self, logits: &Array, top_p: &Array) -> Mlx<Array> {
        let ascending = sort_axis(logits, -1)?;
        let mass_above = softmax_axis(&ascending, -1, true)?.cumsum(-1, true, false)?;
        let inside = lt(&mass_above, top_p)?;
        let smallest = select(inside, &ascending, &self.included)?.min_axis(-1, true)?;
        select(lt(logits, smallest)?, &self.excluded, logits)
    }

    /// Logarithms of exponentially distributed waiting times, [s, vocab]: subtracting them from logits and taking the
    /// largest draws from the softmax (the Gumbel-max trick; the logarithm of a waiting time is negated Gumbel noise).
    fn log_waiting_times(&self, draws: &[Draw]) -> Mlx<Array> {
        let keys: Vec<u64> = draws.iter().map(|draw| mix(draw.params.seed ^ mix(draw.position))).collect();
        let column = |part: &dyn Fn(u64) -> u64| {
            #[allow(clippy::cast_possible_truncation)] // halves of a word
            let parts: Vec<u32> = keys.iter().map(|key| part(*key) as u32).collect();
            Array::from_slice(&parts, &[rows(parts.len()), 1])
        };
        // Odd, so that multiplication loses nothing.
        let keyed = add(multiply(&self.mixed, column(&|key| key | 1))?, column(&|key| key >> 32))?;
        let folded = fold(&keyed, &self.half_word)?;
        let folded = fold(&multiply(folded, &self.spread[0])?, &self.shift)?;
        let words = fold(&multiply(folded, &self.spread[1])?, &self.half_word)?;
        // Half a unit keeps 0 out; log1p keeps the small ones, which win, exact.
        let unit = multiply(add(words.as_dtype(Dtype::Float32)?, &self.half)?, &self.to_unit)?;
        log1p(unit)?.negative()?.log()
    }
}

/// Brings high bits down, as an xor with a shift does, out of operations that exist here.
fn fold(words: &Array, by: &Array) -> Mlx<Array> {
    add(words, floor_divide(words, by)?)
}

/// `SplitMix64`'s output function (Sebastiano Vigna, public domain) of the word after `word`.
fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Row numbers as an index array.
pub(super) fn indices(rows_of: &[usize]) -> Array {
    #[allow(clippy::cast_possible_truncation)] // a step has far fewer than 2^32 rows: `executor` checks
    let values: Vec<u32> = rows_of.iter().map(|row| *row as u32).collect();
    Array::from_slice(&values, &[rows(values.len())])
}

/// A number of rows as a dimension; `executor` has checked that steps are small.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn rows(len: usize) -> i32 {
    len as i32
}
