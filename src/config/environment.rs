//! Reads option values from environment variables. A switch is `on`, `off`, `true`, `false`, `1` or `0`, in any case. A
//! number has plain decimal digits. White space around a value is ignored. Any other text is an error, also an empty
//! variable (a script may have failed to fill it in), `1e3`, `0x10`, `1_000` and `NaN`.

use std::collections::HashMap;

use crate::error::{Error, Result};

use super::option::{EngineOption, Kind, Value};
use super::options::OPTIONS;

/// Variables with the prefix that are not options: the build and the tests of this package read them.
pub const TOOL_VARIABLES: [&str; 7] = [
    "MLX_SERVING_CACHE_DIR",
    "MLX_SERVING_LD64",
    "MLX_SERVING_LIBRARIES",
    "MLX_SERVING_MLX_DIR",
    "MLX_SERVING_REAL_MODEL",
    "MLX_SERVING_TOOLCHAIN",
    "MLX_SERVING_ZIG",
];

/// Error messages show at most this many characters of a value.
const MAX_SHOWN: usize = 40;

/// The options that the environment sets. Variables that are not in the table belong to other programs.
pub(super) fn read(environment: &HashMap<String, String>) -> Result<Vec<(&'static EngineOption, Value)>> {
    let set = OPTIONS.iter().filter_map(|option| Some((option, environment.get(option.variable?)?)));
    set.map(|(option, text)| Ok((option, parse(option, text).ok_or_else(|| refuse(option, text))?))).collect()
}

/// Parses a text for an option. The range of a number is checked later, as for numbers of every source.
fn parse(option: &EngineOption, text: &str) -> Option<Value> {
    let text = text.trim();
    match option.kind {
        Kind::Switch(_) => switch(text).map(Value::Switch),
        Kind::Choice(..) => option.name(&text.to_ascii_lowercase()),
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

fn refuse(option: &EngineOption, text: &str) -> Error {
    let name = option.variable.unwrap_or(option.path);
    let allowed = match option.kind {
        Kind::Switch(_) => "on, off, true, false, 1 or 0".into(),
        Kind::Choice(..) => option.allowed(),
        _ => format!("{}, in decimal digits", option.allowed()),
    };
    Error::config(name, format!("must be {allowed}, not {}", quoted(text)))
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("'{}{more}'", shown.escape_debug())
}
