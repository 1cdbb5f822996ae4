//! Reads rotary embeddings from `config.json`: `rope_theta` and `rope_scaling`, or both in `rope_parameters`, as newer
//! exporters write them.

use super::super::config::Fields;
use super::super::failure::{bad_model, unsupported};
use super::super::spec::{Rope, RopeScaling};
use crate::error::Result;

/// The rope of all layers. `base` is the default base frequency.
pub(super) fn read(fields: &Fields<'_>, base: f64) -> Result<Rope> {
    let mut rope = of_all(fields, theta(fields, "rope_theta")?, base)?;
    rope.traditional = fields.flag("rope_traditional", false)?;
    Ok(rope)
}

/// A rope that `rope_scaling`, `rope_parameters` or both describe, with a base frequency `beside` them. If both describe it,
/// they must agree.
pub(super) fn of_all(fields: &Fields<'_>, beside: Option<f64>, default: f64) -> Result<Rope> {
    let (older, newer) = (fields.object("rope_scaling")?, fields.object("rope_parameters")?);
    let (Some(older), Some(newer)) = (&older, &newer) else {
        return described_by(older.or(newer).as_ref(), beside, default);
    };
    let inside = [older, newer].map(|described| theta(described, "rope_theta"));
    let [older_theta, newer_theta] = inside;
    let base = beside.or(older_theta?).or(newer_theta?);
    let [rope, other] = [described_by(Some(older), base, default)?, described_by(Some(newer), base, default)?];
    if rope != other {
        let message = "config.json: `rope_parameters` describes another rope than `rope_scaling`";
        return Err(bad_model(message).with_param("rope_parameters"));
    }
    Ok(rope)
}

/// An optional base frequency.
pub(super) fn theta(fields: &Fields<'_>, name: &str) -> Result<Option<f64>> {
    fields.optional_float(name, 1e-3..=1e12)
}

/// A rope from the object that describes it and a base frequency outside that object.
pub(super) fn described_by(described: Option<&Fields<'_>>, beside: Option<f64>, default: f64) -> Result<Rope> {
    let inside = described.map(|fields| theta(fields, "rope_theta")).transpose()?.flatten();
    Ok(Rope {
        base: beside.or(inside).unwrap_or(default),
        scaling: described.map_or(Ok(RopeScaling::None), scaling)?,
        traditional: false,
    })
}

fn scaling(fields: &Fields<'_>) -> Result<RopeScaling> {
    let newer = fields.text("rope_type")?;
    let kind = fields.text("type")?.or(newer).unwrap_or("default");
    let scaling = match kind {
        "default" => {
            fields.ignore(&["factor"]);
            RopeScaling::None
        }
        "linear" => RopeScaling::Linear { factor: number(fields, "factor", None)? },
        "llama3" => llama3(fields)?,
        other => {
            let shown: String = other.chars().take(80).collect();
            let message = format!("rope scaling of type `{shown}`; known types: default, linear, llama3");
            return Err(unsupported(&fields.full("rope_type"), message));
        }
    };
    if fields.optional_float("partial_rotary_factor", 0.0..=1.0)?.is_some_and(|factor| factor < 1.0) {
        let message = "only heads that are rotated completely are supported";
        return Err(unsupported(&fields.full("partial_rotary_factor"), message));
    }
    // The other kinds do not use the original context length.
    fields.ignore(&["original_max_position_embeddings"]);
    fields.refuse_unread(|_| true)?;
    Ok(scaling)
}

fn llama3(fields: &Fields<'_>) -> Result<RopeScaling> {
    let (low, high) = (number(fields, "low_freq_factor", Some(1.0))?, number(fields, "high_freq_factor", Some(4.0))?);
    if low >= high {
        let field = fields.full("low_freq_factor");
        let message = format!("config.json: `{field}` ({low}) is not below `high_freq_factor` ({high})");
        return Err(bad_model(message).with_param(field));
    }
    let original = number(fields, "original_max_position_embeddings", Some(8192.0))?;
    Ok(RopeScaling::Llama3 { factor: number(fields, "factor", None)?, low, high, original })
}

fn number(fields: &Fields<'_>, name: &str, default: Option<f64>) -> Result<f64> {
    let range = 1e-6..=1e9;
    default.map_or_else(
        || fields.float(name, range.clone()),
        |default| Ok(fields.optional_float(name, range.clone())?.unwrap_or(default)),
    )
}
