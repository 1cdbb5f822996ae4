//! Reads from `config.json` which layers attend only to a window of positions.

use super::super::config::Fields;
use super::super::failure::{bad_model, unsupported};
use super::dims::Dims;
use crate::error::Result;

/// The window of each layer. `layer_types` lists the layers with a window; without it, `slides` decides.
pub(super) fn read(fields: &Fields<'_>, dims: &Dims, slides: impl Fn(usize) -> bool) -> Result<Vec<Option<i32>>> {
    let slides = match fields.texts("layer_types")? {
        Some(kinds) => listed(&kinds, dims.layers)?,
        None => (0..dims.layers).map(slides).collect(),
    };
    if !slides.contains(&true) {
        fields.ignore(&["sliding_window"]);
        return Ok(none(dims));
    }
    let window = fields.int("sliding_window", 1..=1 << 27)?;
    Ok(slides.into_iter().map(|slides| slides.then_some(window)).collect())
}

/// No layer has a window.
pub(super) fn none(dims: &Dims) -> Vec<Option<i32>> {
    vec![None; dims.layers]
}

fn listed(kinds: &[&str], layers: usize) -> Result<Vec<bool>> {
    if kinds.len() != layers {
        let message = format!("config.json: `layer_types` has {} entries, expected one for each layer", kinds.len());
        return Err(bad_model(format!("{message}: {layers}")).with_param("layer_types"));
    }
    let slides = |kind: &&str| match *kind {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => {
            let shown: String = other.chars().take(80).collect();
            let message = format!("layers of type `{shown}`; known types: full_attention, sliding_attention");
            Err(unsupported("layer_types", message))
        }
    };
    kinds.iter().map(slides).collect()
}
