//! Logits processors: change logits before sampling, for all rows of a step at once, by biases and by penalties on tokens
//! of prompt and answer. The order is that of mlx-lm: bias, repetition, presence and frequency. `mask` comes after it,
//! `sampler` samples.
//!
//! The host knows a row's tokens except one: the token of a step that was launched and not yet read. That token is taken
//! from the device.

use mlx_rs::Array;
use mlx_rs::ops::{add, divide, eq, lt, multiply, select, subtract};

use super::failure::Mlx;
use super::rows::{column, dim};
use crate::request::{SamplingParams, TokenId};

/// Tokens of a row with a value for each.
type Pairs = Vec<(TokenId, f32)>;

/// The processing of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LogitsProcessor {
    /// Added to logits; each token appears once.
    pub(super) bias: Pairs,
    /// The last known tokens within `repetition_context`; empty without a repetition penalty.
    pub(super) recent: Vec<TokenId>,
    /// The known tokens of the answer, with the number of occurrences.
    pub(super) token_counts: Vec<(TokenId, u32)>,
    /// Whether the last sampled token is not yet known to the host.
    pub(super) has_unread: bool,
    pub(super) params: SamplingParams,
}

/// The processed logits, [r, vocab] f32. `last` is [r, 1] u32: the last token of each row, used for rows with
/// `has_unread`. It is `None` if no row has one.
pub(super) fn process_logits(logits: &Array, rows: &[LogitsProcessor], last: Option<&Array>) -> Mlx<Array> {
    let mut logits = logits.clone();
    if rows.iter().any(|row| !row.bias.is_empty()) {
        logits = add_pairs(&logits, rows, |row| row.bias.clone())?;
    }
    if rows.iter().any(|row| row.params.penalizes_repetition()) {
        logits = penalize_repetition(&logits, rows, last)?;
    }
    if rows.iter().any(|row| row.params.presence_penalty != 0.0 || row.params.frequency_penalty != 0.0) {
        logits = add_pairs(&logits, rows, penalties_of_read_tokens)?;
        if let Some(last) = last {
            logits = penalize_unread(&logits, rows, last)?;
        }
    }
    Ok(logits)
}

/// Presence and frequency penalties of the known tokens.
fn penalties_of_read_tokens(row: &LogitsProcessor) -> Pairs {
    let SamplingParams { presence_penalty, frequency_penalty, .. } = row.params;
    row.token_counts
        .iter()
        .map(|&(token, times)| (token, -(presence_penalty + frequency_penalty * times as f32)))
        .collect()
}

/// Adds a value to the logits of some tokens of each row.
fn add_pairs(logits: &Array, rows: &[LogitsProcessor], pairs: impl Fn(&LogitsProcessor) -> Pairs) -> Mlx<Array> {
    let pairs: Vec<_> = rows.iter().map(pairs).collect();
    let Some((tokens, values)) = columns(&pairs, 0.0) else { return Ok(logits.clone()) };
    let changed = add(logits.take_along_axis(&tokens, 1)?, values)?;
    logits.put_along_axis(&tokens, changed, 1)
}

/// Divides positive logits of recent tokens by the penalty, and multiplies negative ones (Keskar et al., 2019).
fn penalize_repetition(logits: &Array, rows: &[LogitsProcessor], last: Option<&Array>) -> Mlx<Array> {
    let of_row =
        |row: &LogitsProcessor| row.recent.iter().map(|token| (*token, row.params.repetition_penalty)).collect();
    let recent: Vec<Pairs> = rows.iter().map(of_row).collect();
    let logits = match columns(&recent, 1.0) {
        Some((tokens, penalties)) => penalize_at(logits, &tokens, &penalties)?,
        None => logits.clone(),
    };
    let Some(last) = last else { return Ok(logits) };
    // If the unread token is also among the known recent ones, its penalty is applied already.
    let penalty = column(rows, |row| if row.has_unread { row.params.repetition_penalty } else { 1.0 });
    let known = among(last, &recent)?;
    penalize_at(&logits, last, &select(known, Array::from_f32(1.0), penalty)?)
}

fn penalize_at(logits: &Array, tokens: &Array, penalty: &Array) -> Mlx<Array> {
    let chosen = logits.take_along_axis(tokens, 1)?;
    let is_negative = lt(&chosen, Array::from_f32(0.0))?;
    let changed = select(is_negative, multiply(&chosen, penalty)?, divide(&chosen, penalty)?)?;
    logits.put_along_axis(tokens, changed, 1)
}

/// Applies presence and frequency penalties of the unread token.
fn penalize_unread(logits: &Array, rows: &[LogitsProcessor], last: &Array) -> Mlx<Array> {
    let counts = |row: &LogitsProcessor, cost: f32| if row.has_unread { cost } else { 0.0 };
    let frequency = column(rows, |row| counts(row, row.params.frequency_penalty));
    let presence = column(rows, |row| counts(row, row.params.presence_penalty));
    let token_counts: Vec<_> = rows.iter().map(|row| row.token_counts.clone()).collect();
    let is_new = select(among(last, &token_counts)?, Array::from_f32(0.0), presence)?;
    let changed = subtract(subtract(logits.take_along_axis(last, 1)?, frequency)?, is_new)?;
    logits.put_along_axis(last, changed, 1)
}

/// Whether each row's last token is among the row's tokens in `rows`, [r, 1].
fn among<T>(last: &Array, rows: &[Vec<(TokenId, T)>]) -> Mlx<Array> {
    // Short rows are filled with the largest u32, which is no token id. At least one column, so that `any_axis` has input.
    let width = longest(rows).max(1);
    let tokens: Vec<TokenId> = filled(rows, width, |row, at| row.get(at).map_or(TokenId::MAX, |(token, _)| *token));
    eq(Array::from_slice(&tokens, &shape(rows, width)), last)?.any_axis(1, true)
}

/// Tokens and values as two [r, longest] matrices; `None` if all rows are empty. A short row repeats its first pair, which
/// writes the same value again. An empty row gets token 0 with the value `neutral`, which changes nothing.
fn columns(rows: &[Pairs], neutral: f32) -> Option<(Array, Array)> {
    let width = longest(rows);
    let pair = |row: &Pairs, at| row.get(at).or(row.first()).copied().unwrap_or((0, neutral));
    let (tokens, values): (Vec<TokenId>, Vec<f32>) = filled(rows, width, pair).into_iter().unzip();
    let array = shape(rows, width);
    (width > 0).then(|| (Array::from_slice(&tokens, &array), Array::from_slice(&values, &array)))
}

/// The entries of a matrix with `width` columns, row by row. `entry` also gives the values beyond the end of a row.
fn filled<T, E>(rows: &[Vec<T>], width: usize, entry: impl Fn(&Vec<T>, usize) -> E) -> Vec<E> {
    let entry = &entry;
    rows.iter().flat_map(|row| (0..width).map(move |at| entry(row, at))).collect()
}

fn longest<T>(rows: &[Vec<T>]) -> usize {
    rows.iter().map(Vec::len).max().unwrap_or(0)
}

fn shape<T>(rows: &[Vec<T>], width: usize) -> [i32; 2] {
    [dim(rows.len()), dim(width)]
}
