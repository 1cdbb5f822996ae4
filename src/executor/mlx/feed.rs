//! The tokens that a step feeds to the model, as one device array. Sampled tokens that the host has not read are taken from
//! the device; all others come from the host.

use std::rc::Rc;

use mlx_rs::Array;
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::take_axis;

use super::failure::{Mlx, bad_plan, device_error};
use super::rows::indices;
use super::sequences::{LastToken, Sequences};
use crate::error::Result;
use crate::request::TokenId;
use crate::scheduler::plan::{Feed, Row};

/// Consecutive tokens from one source.
enum TokenRun {
    Host(Vec<TokenId>),
    Device { tokens: Rc<Array>, rows: Vec<usize> },
}

/// All tokens of a plan's rows, in order, [n] u32. `sequences` has checked the plan.
pub(super) fn tokens(rows: &[Row], sequences: &Sequences) -> Result<Array> {
    let mut runs: Vec<TokenRun> = Vec::new();
    for row in rows {
        let sequence = sequences.get(row.sequence)?;
        match (row.feed, &sequence.sampled) {
            (Feed::Prompt { len }, _) => push_host(&mut runs, &sequence.prompt[row.start..row.start + len]),
            (Feed::Sampled, LastToken::Host(token)) => push_host(&mut runs, &[*token]),
            (Feed::Sampled, LastToken::Device { tokens, row, .. }) => push_device(&mut runs, tokens, *row),
            (Feed::Sampled, LastToken::Nothing | LastToken::Later) => {
                return Err(bad_plan("a token that was never sampled is fed"));
            }
        }
    }
    join(runs).map_err(|error| device_error("feeding tokens", error))
}

/// The last token of each row, [r] u32; `None` if the host has read all of them.
pub(super) fn last_tokens(last: &[LastToken]) -> Mlx<Option<Array>> {
    let mut runs: Vec<TokenRun> = Vec::new();
    for token in last {
        match token {
            LastToken::Device { tokens, row, .. } => push_device(&mut runs, tokens, *row),
            LastToken::Host(token) => push_host(&mut runs, &[*token]),
            LastToken::Nothing | LastToken::Later => push_host(&mut runs, &[0]),
        }
    }
    let is_read = runs.iter().all(|run| matches!(run, TokenRun::Host(_)));
    if is_read { Ok(None) } else { join(runs).map(Some) }
}

fn push_host(runs: &mut Vec<TokenRun>, more: &[TokenId]) {
    if let Some(TokenRun::Host(tokens)) = runs.last_mut() {
        tokens.extend_from_slice(more);
    } else {
        runs.push(TokenRun::Host(more.to_vec()));
    }
}

fn push_device(runs: &mut Vec<TokenRun>, from: &Rc<Array>, row: usize) {
    match runs.last_mut() {
        Some(TokenRun::Device { tokens, rows }) if Rc::ptr_eq(tokens, from) => rows.push(row),
        _ => runs.push(TokenRun::Device { tokens: Rc::clone(from), rows: vec![row] }),
    }
}

fn join(runs: Vec<TokenRun>) -> Mlx<Array> {
    let mut arrays = runs.into_iter().map(TokenRun::into_array).collect::<Mlx<Vec<_>>>()?;
    match arrays.len() {
        1 => Ok(arrays.remove(0)),
        _ => concatenate(&arrays, 0),
    }
}

impl TokenRun {
    fn into_array(self) -> Mlx<Array> {
        match self {
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // steps are bounded
            Self::Host(tokens) => Ok(Array::from_slice(&tokens, &[tokens.len() as i32])),
            // A usual step feeds exactly the tokens that the previous step sampled.
            Self::Device { tokens, rows } if rows.iter().copied().eq(0..tokens.size()) => Ok(tokens.as_ref().clone()),
            Self::Device { tokens, rows } => take_axis(tokens.as_ref(), indices(&rows), 0),
        }
    }
}
