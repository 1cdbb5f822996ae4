//! Draws a token from each row of logits, on the device, without the host reading anything.
//!
//! The rules are mlx-lm's: what is cut away is decided at temperature 1, then follows a draw at the row's temperature.
//! The draw adds Gumbel noise and takes the largest, which needs neither normalisation nor a running sum. The noise of
//! a token is a hash of (seed, position, token): no generator state, no neighbour and no batch can change it.

use mlx_ops::NO_TOKEN;
use mlx_rs::ops::indexing::{argmax_axis, take_axis};
use mlx_rs::ops::{
    add, concatenate, floor_divide, gt, log1p, lt, maximum, multiply, select, softmax_axis, sort_axis, subtract,
};
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

/// What a row asks of the sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The most probable token.
    Greedy,
    /// A draw from all tokens.
    Open,
    /// A draw from some of them.
    Cut,
}

impl Way {
    const ALL: [Self; 3] = [Self::Greedy, Self::Open, Self::Cut];
}

impl Draw {
    fn way(&self) -> Way {
        let SamplingParams { top_p, top_k, min_p, .. } = self.params;
        match top_p < 1.0 || top_k > 0 || min_p > 0.0 {
            _ if self.params.is_greedy() => Way::Greedy,
            true => Way::Cut,
            false => Way::Open,
        }
    }
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
    no_token: Array,
    /// Whether logits are checked in one operation, which exists on the CPU.
    checks_at_once: bool,
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
            no_token: word(NO_TOKEN),
            checks_at_once: false,
        }
    }

    /// Uses the operations that exist on the CPU alone.
    pub(super) fn on_cpu(self, is_on_cpu: bool) -> Self {
        Self { checks_at_once: is_on_cpu, ..self }
    }

    /// [s, vocab] f32 → [s] u32. Each row pays for what it asks for: an argmax where it is greedy, a sort only where its
    /// choice is cut.
    pub(super) fn sample(&self, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        let by_way = Way::ALL.map(|way| (0..draws.len()).filter(|row| draws[*row].way() == way).collect::<Vec<_>>());
        let mut parts = Vec::new();
        for (way, rows) in Way::ALL.into_iter().zip(&by_way).filter(|(_, rows)| !rows.is_empty()) {
            if rows.len() == draws.len() {
                return self.sample_by(way, logits, draws);
            }
            let of_rows: Vec<Draw> = rows.iter().map(|row| draws[*row]).collect();
            parts.push(self.sample_by(way, &take_axis(logits, indices(rows), 0)?, &of_rows)?);
        }
        // Where the token of each row is in the concatenation.
        let mut place = vec![0; draws.len()];
        for (at, row) in by_way.iter().flatten().enumerate() {
            place[*row] = at;
        }
        take_axis(concatenate(&parts, 0)?, indices(&place), 0)
    }

    /// What is read of the [s] tokens drawn from [s, vocab] logits, which are the model's own: as many, with [`NO_TOKEN`]
    /// where logits are NaN or positive infinity, or where the token drawn has no probability. A single logit of negative
    /// infinity is sound: its token is never drawn.
    pub(super) fn checked(&self, logits: &Array, tokens: &Array) -> Mlx<Array> {
        if self.checks_at_once {
            return mlx_ops::checked(logits, tokens);
        }
        let tokens = tokens.reshape(&[-1, 1])?;
        let chosen = logits.take_along_axis(&tokens, 1)?;
        // A sum, since it takes a third of what the largest and the smallest take, and far less than exponentials. It is NaN
        // or positive infinity for logits that are not sound. Negative infinity comes off a chosen logit as its opposite.
        let rest = subtract(chosen, logits.sum_axis(-1, true)?)?;
        select(gt(rest, &self.excluded)?, tokens, &self.no_token)
    }

    fn sample_by(&self, way: Way, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        match way {
            Way::Greedy => argmax_axis(logits, -1, false),
            Way::Open => self.draw(logits, draws),
            Way::Cut => self.draw(&self.cut(logits, draws)?, draws),
        }
    }

    fn draw(&self, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        // The largest logit becomes 0 first: a temperature close to 0 then overflows to -inf, never to NaN.
        let relative = subtract(logits, logits.max_axis(-1, true)?)?;
        let inverse = column(draws, |params| (1.0 / params.temperature).min(1e30));
        let scaled = multiply(relative, inverse)?;
        argmax_axis(subtract(scaled, self.log_waiting_times(draws)?)?, -1, false)
    }

    /// Excludes what `top_p`, `min_p` and `top_k` exclude, each judged by the probabilities at temperature 1 of all
    /// tokens. Tokens as probable as the last one kept are kept with it.
    fn cut(&self, logits: &Array, draws: &[Draw]) -> Mlx<Array> {
        let least_probable =
            column(draws, |params| if params.min_p > 0.0 { params.min_p.ln() } else { f32::NEG_INFINITY });
        let mut least = add(logits.max_axis(-1, true)?, least_probable)?;
        if draws.iter().any(|draw| draw.params.top_p < 1.0 || draw.params.top_k > 0) {
            let ascending = sort_axis(logits, -1)?;
            least = maximum(least, self.least_of_nucleus(&ascending, draws)?)?;
            least = maximum(least, least_of_top(&ascending, draws)?)?;
        }
        select(lt(logits, least)?, &self.excluded, logits)
    }

    /// The smallest logit of the smallest set of tokens whose probabilities reach `top_p`, [s, 1].
    fn least_of_nucleus(&self, ascending: &Array, draws: &[Draw]) -> Mlx<Array> {
        // A row that keeps everything must not lose its tail to rounding because a neighbour has a nucleus.
        let top_p = column(draws, |params| if params.top_p < 1.0 { params.top_p } else { f32::INFINITY });
        let mass_above = softmax_axis(ascending, -1, true)?.cumsum(-1, true, false)?;
        select(lt(&mass_above, top_p)?, ascending, &self.included)?.min_axis(-1, true)
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

/// The smallest logit of the `top_k` largest, [s, 1]; of all where a row keeps all.
fn least_of_top(ascending: &Array, draws: &[Draw]) -> Mlx<Array> {
    let vocab = ascending.dim(1).unsigned_abs();
    let place = |draw: &Draw| if draw.params.top_k == 0 { 0 } else { vocab.saturating_sub(draw.params.top_k) };
    let places: Vec<u32> = draws.iter().map(place).collect();
    ascending.take_along_axis(Array::from_slice(&places, &[rows(places.len()), 1]), 1)
}

/// A number of each row, [s, 1].
fn column(draws: &[Draw], value: impl Fn(&SamplingParams) -> f32) -> Array {
    let values: Vec<f32> = draws.iter().map(|draw| value(&draw.params)).collect();
    Array::from_slice(&values, &[rows(values.len()), 1])
}

/// The rows of `x` at `places` replaced by what `change` makes of them.
pub(super) fn replace_rows(x: &Array, places: &[usize], change: impl FnOnce(&Array) -> Mlx<Array>) -> Mlx<Array> {
    let num_rows = usize::try_from(x.dim(0)).unwrap_or_default();
    if places.len() == num_rows {
        return change(x);
    }
    let changed = change(&take_axis(x, indices(places), 0)?)?;
    let mut order: Vec<usize> = (0..num_rows).collect();
    for (at, place) in places.iter().enumerate() {
        order[*place] = num_rows + at;
    }
    take_axis(concatenate(&[x, &changed], 0)?, indices(&order), 0)
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
