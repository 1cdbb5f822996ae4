//! What is changed about logits before a token is drawn, for all rows of a step at once: biases, and penalties on tokens
//! that were said. The order is mlx-lm's: bias, repetition, presence and frequency.
//!
//! What was said is known on the host but for the token of a step that was launched and not read; that one is taken from
//! where it lies on the device.

use mlx_rs::Array;
use mlx_rs::ops::{add, divide, eq, lt, multiply, select, subtract};

use super::failure::Mlx;
use crate::request::{SamplingParams, TokenId};

/// What is changed about one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adjustment {
    /// Added to logits; no token twice.
    pub(super) bias: Vec<(TokenId, f32)>,
    /// The last tokens that are known, as far as they are recent; empty where repetition costs nothing.
    pub(super) recent: Vec<TokenId>,
    /// How often each token of the answer was said, as far as it is known.
    pub(super) said: Vec<(TokenId, u32)>,
    /// Whether another token was drawn that is not among them.
    pub(super) has_unread: bool,
    pub(super) params: SamplingParams,
}

impl Adjustment {
    /// Whether nothing is changed.
    pub(super) fn is_none(&self) -> bool {
        self.bias.is_empty() && !self.params.penalizes()
    }
}

/// The adjusted logits, [r, vocab] f32. `last` is [r, 1] u32: the token each row drew last, which counts where it is not
/// among those known; `None` where all are known.
pub(super) fn adjust(logits: &Array, rows: &[Adjustment], last: Option<&Array>) -> Mlx<Array> {
    let mut logits = logits.clone();
    if rows.iter().any(|row| !row.bias.is_empty()) {
        logits = add_pairs(&logits, rows, |row| row.bias.clone())?;
    }
    if rows.iter().any(|row| row.params.penalizes_repetition()) {
        logits = penalize_repetition(&logits, rows, last)?;
    }
    if rows.iter().any(|row| row.params.presence_penalty != 0.0 || row.params.frequency_penalty != 0.0) {
        logits = add_pairs(&logits, rows, costs_of_said)?;
        if let Some(last) = last {
            logits = penalize_unread(&logits, rows, last)?;
        }
    }
    Ok(logits)
}

/// What presence and frequency take from each token that was said.
fn costs_of_said(row: &Adjustment) -> Vec<(TokenId, f32)> {
    let SamplingParams { presence_penalty, frequency_penalty, .. } = row.params;
    row.said.iter().map(|&(token, times)| (token, -(presence_penalty + frequency_penalty * times as f32))).collect()
}

/// Adds a value to the logits of some tokens of each row.
fn add_pairs(logits: &Array, rows: &[Adjustment], pairs: impl Fn(&Adjustment) -> Vec<(TokenId, f32)>) -> Mlx<Array> {
    let pairs: Vec<_> = rows.iter().map(pairs).collect();
    // A row with fewer says its first again, which writes the same value; a row without adds nothing to token 0.
    let filling = |row: &Vec<(TokenId, f32)>| row.first().copied().unwrap_or((0, 0.0));
    let (filled, shape) = matrix(&pairs, |row, at| row.get(at).copied().unwrap_or_else(|| filling(row)));
    let (tokens, values): (Vec<TokenId>, Vec<f32>) = filled.into_iter().unzip();
    let (tokens, values) = (Array::from_slice(&tokens, &shape), Array::from_slice(&values, &shape));
    let changed = add(logits.take_along_axis(&tokens, 1)?, values)?;
    logits.put_along_axis(&tokens, changed, 1)
}

/// Positive logits of recent tokens are divided, negative ones multiplied (Keskar et al., 2019).
fn penalize_repetition(logits: &Array, rows: &[Adjustment], last: Option<&Array>) -> Mlx<Array> {
    let recent: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.recent.iter().map(|token| (*token, row.params.repetition_penalty)).collect())
        .collect();
    let filling = |row: &Vec<(TokenId, f32)>| row.first().copied().unwrap_or((0, 1.0));
    let (filled, shape) = matrix(&recent, |row, at| row.get(at).copied().unwrap_or_else(|| filling(row)));
    let mut logits = logits.clone();
    if !filled.is_empty() {
        let (tokens, penalties): (Vec<TokenId>, Vec<f32>) = filled.into_iter().unzip();
        let penalties = Array::from_slice(&penalties, &shape);
        logits = penalize_at(&logits, &Array::from_slice(&tokens, &shape), &penalties)?;
    }
    let Some(last) = last else { return Ok(logits) };
    // A token that is recent already was penalized with the others.
    let penalty = column(rows, |row| if row.has_unread { row.params.repetition_penalty } else { 1.0 });
    let known = among(last, &recent, |(token, _)| *token)?;
    penalize_at(&logits, last, &select(known, Array::from_f32(1.0), penalty)?)
}

fn penalize_at(logits: &Array, tokens: &Array, penalty: &Array) -> Mlx<Array> {
    let chosen = logits.take_along_axis(tokens, 1)?;
    let is_negative = lt(&chosen, Array::from_f32(0.0))?;
    let changed = select(is_negative, multiply(&chosen, penalty)?, divide(&chosen, penalty)?)?;
    logits.put_along_axis(tokens, changed, 1)
}

/// Presence and frequency of the token that nobody has read.
fn penalize_unread(logits: &Array, rows: &[Adjustment], last: &Array) -> Mlx<Array> {
    let counts = |row: &Adjustment, cost: f32| if row.has_unread { cost } else { 0.0 };
    let frequency = column(rows, |row| counts(row, row.params.frequency_penalty));
    let presence = column(rows, |row| counts(row, row.params.presence_penalty));
    let said: Vec<_> = rows.iter().map(|row| row.said.clone()).collect();
    let is_new = select(among(last, &said, |(token, _)| *token)?, Array::from_f32(0.0), presence)?;
    let changed = subtract(subtract(logits.take_along_axis(last, 1)?, frequency)?, is_new)?;
    logits.put_along_axis(last, changed, 1)
}

/// Whether each row's last token is one of its own in `rows`, [r, 1].
fn among<T>(last: &Array, rows: &[Vec<T>], token: impl Fn(&T) -> TokenId) -> Mlx<Array> {
    // No token has the largest number: a vocabulary is smaller. One column at least, so that there is something to ask.
    let width = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut tokens = Vec::with_capacity(rows.len() * width);
    for row in rows {
        tokens.extend((0..width).map(|at| row.get(at).map_or(TokenId::MAX, &token)));
    }
    eq(Array::from_slice(&tokens, &[rows_of(rows.len()), rows_of(width)]), last)?.any_axis(1, true)
}

/// The entries of a [r, longest] matrix and its shape; what stands where a row is shorter is the caller's to say.
fn matrix<T, E>(rows: &[Vec<T>], entry: impl Fn(&Vec<T>, usize) -> E) -> (Vec<E>, [i32; 2]) {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut entries = Vec::with_capacity(rows.len() * width);
    for row in rows {
        entries.extend((0..width).map(|at| entry(row, at)));
    }
    (entries, [rows_of(rows.len()), rows_of(width)])
}

/// [r, 1]
fn column(rows: &[Adjustment], value: impl Fn(&Adjustment) -> f32) -> Array {
    let values: Vec<f32> = rows.iter().map(value).collect();
    Array::from_slice(&values, &[rows_of(values.len()), 1])
}

/// A number of rows or tokens as a dimension; both are bounded far below.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn rows_of(len: usize) -> i32 {
    len as i32
}
