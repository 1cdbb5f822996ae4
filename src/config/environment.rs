//! Environment variables are text. A switch is written on, off, true, false, 1 or 0, in any case; a number in plain
//! decimal digits. White space around either says nothing. All else is refused rather than guessed at: an empty
//! variable, where a script forgot to fill it in, just as `1e3`, `0x10`, `1_000` or `NaN`.

use std::collections::HashMap;

use crate::error::{Error, Result};

use super::knob::{Kind, Knob, Value, wrong};
use super::knobs::KNOBS;

/// Longer values are shown by their beginning.
const MAX_SHOWN: usize = 40;

/// The knobs that the environment sets. Variables that are not in the table belong to others.
pub(super) fn read(environment: &HashMap<String, String>) -> Result<Vec<(&'static Knob, Value)>> {
    let set = KNOBS.iter().filter_map(|knob| Some((knob, environment.get(knob.variable?)?)));
    set.map(|(knob, text)| Ok((knob, parse(knob, text).ok_or_else(|| refuse(knob, text))?))).collect()
}

/// What a text means to a knob; whether the number is in range is asked later, as for numbers from anywhere.
fn parse(knob: &Knob, text: &str) -> Option<Value> {
    let text = text.trim();
    match knob.kind {
        Kind::Switch(_) => switch(text).map(Value::Switch),
        Kind::Precision(_) => knob.name(&text.to_ascii_lowercase()),
        _ => decimal(text).map(Value::Number),
    }
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Some(true),
        "off" | "false" | "0" => Some(false),
        _ => None,
    }
}

fn decimal(text: &str) -> Option<f64> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain(text.strip_prefix('-').unwrap_or(text))
        .then(|| text.parse().ok())?
        .filter(|number: &f64| number.is_finite())
}

fn refuse(knob: &Knob, text: &str) -> Error {
    let name = knob.variable.unwrap_or(knob.path);
    let allowed = match knob.kind {
        Kind::Switch(_) => "on, off, true, false, 1 or 0".into(),
        Kind::Precision(_) => knob.allowed(),
        _ => format!("{}, in decimal digits", knob.allowed()),
    };
    wrong(name, &format!("must be {allowed}, not {}", quoted(text)))
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("'{}{more}'", shown.escape_debug())
}
