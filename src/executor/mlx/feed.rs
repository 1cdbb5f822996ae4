//! The tokens a step feeds to the model, as one device array. Tokens that were drawn but not read yet stay on the
//! device; all others come from the host.

use std::rc::Rc;

use mlx_rs::Array;
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::take_axis;

use super::failure::{Mlx, bad_plan, device_error};
use super::sampler::indices;
use super::sequences::{Drawn, Sequences};
use crate::error::Result;
use crate::request::TokenId;
use crate::scheduler::plan::{Feed, Plan};

/// A run of tokens from one place.
enum Piece {
    Host(Vec<TokenId>),
    Device { tokens: Rc<Array>, rows: Vec<usize> },
}

/// All tokens of the plan's rows, in their order, [n] u32. The plan has been checked.
pub(super) fn tokens(plan: &Plan, sequences: &Sequences) -> Result<Array> {
    let mut pieces: Vec<Piece> = Vec::new();
    for row in &plan.rows {
        let sequence = sequences.get(row.sequence)?;
        match (row.feed, &sequence.drawn) {
            (Feed::Prompt { len }, _) => push_host(&mut pieces, &sequence.prompt[row.start..row.start + len]),
            (Feed::Sampled, Drawn::Host(token)) => push_host(&mut pieces, &[*token]),
            (Feed::Sampled, Drawn::Device { tokens, row, .. }) => push_device(&mut pieces, tokens, *row),
            (Feed::Sampled, Drawn::Nothing | Drawn::Later) => {
                return Err(bad_plan("a token that was never drawn is fed"));
            }
        }
    }
    join(pieces).map_err(|error| device_error("feeding tokens", error))
}

/// The token that each of these drew last, [r] u32; `None` if the host has read them all.
pub(super) fn last_tokens(drawn: &[Drawn]) -> Mlx<Option<Array>> {
    let mut pieces: Vec<Piece> = Vec::new();
    for drawn in drawn {
        match drawn {
            Drawn::Device { tokens, row, .. } => push_device(&mut pieces, tokens, *row),
            Drawn::Host(token) => push_host(&mut pieces, &[*token]),
            Drawn::Nothing | Drawn::Later => push_host(&mut pieces, &[0]),
        }
    }
    let is_read = pieces.iter().all(|piece| matches!(piece, Piece::Host(_)));
    if is_read { Ok(None) } else { join(pieces).map(Some) }
}

fn push_host(pieces: &mut Vec<Piece>, more: &[TokenId]) {
    if let Some(Piece::Host(tokens)) = pieces.last_mut() {
        tokens.extend_from_slice(more);
    } else {
        pieces.push(Piece::Host(more.to_vec()));
    }
}

fn push_device(pieces: &mut Vec<Piece>, from: &Rc<Array>, row: usize) {
    match pieces.last_mut() {
        Some(Piece::Device { tokens, rows }) if Rc::ptr_eq(tokens, from) => rows.push(row),
        _ => pieces.push(Piece::Device { tokens: Rc::clone(from), rows: vec![row] }),
    }
}

fn join(pieces: Vec<Piece>) -> Mlx<Array> {
    let mut arrays = pieces.into_iter().map(Piece::into_array).collect::<Mlx<Vec<_>>>()?;
    match arrays.len() {
        1 => Ok(arrays.remove(0)),
        _ => concatenate(&arrays, 0),
    }
}

impl Piece {
    fn into_array(self) -> Mlx<Array> {
        match self {
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // steps are bounded
            Self::Host(tokens) => Ok(Array::from_slice(&tokens, &[tokens.len() as i32])),
            // The usual step feeds back exactly what the step before drew.
            Self::Device { tokens, rows } if rows.iter().copied().eq(0..tokens.size()) => Ok(tokens.as_ref().clone()),
            Self::Device { tokens, rows } => take_axis(tokens.as_ref(), indices(&rows), 0),
        }
    }
}
