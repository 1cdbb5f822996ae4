//! Limits how deeply the regular expressions of tokenizers nest. The libraries that parse, compile and drop them
//! recurse once a level, and a stack overflow ends the process. So the depth is checked before the libraries see a
//! text, and each thread that runs them has enough stack for the limit. Templates have their limits in `jinja/`,
//! schemas and grammars in `constraint/`; `serde_json` limits JSON to 128 levels.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Code, Error, Result};

/// The stack of a thread that loads models. Tokenizers at the limits below need less than 4 MiB of it in a debug build,
/// which has the largest frames. This is address space: memory is used only as far as the stack grows.
pub const LOAD_STACK_BYTES: usize = 64 << 20;

/// Brackets in one regular expression. Published tokenizers have fewer than 100.
pub(super) const MAX_REGEX_BRACKETS: usize = 1_000;
/// Levels of JSON in a part of a tokenizer. A sequence inside a sequence has six.
const MAX_PART_DEPTH: usize = 24;

/// The parts of a `tokenizer.json` that may contain regular expressions or nested parts.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
}

/// Rejects a tokenizer with parts or regular expressions that may nest too deeply.
pub(super) fn check_tokenizer(bytes: &[u8]) -> Result<()> {
    let parts: Parts = serde_json::from_slice(bytes).map_err(|error| broken(&format!("is broken: {error}")))?;
    let Parts { normalizer, pre_tokenizer, post_processor, decoder } = &parts;
    let named = [
        ("normalizer", normalizer),
        ("pre_tokenizer", pre_tokenizer),
        ("post_processor", post_processor),
        ("decoder", decoder),
    ];
    named.into_iter().try_for_each(|(name, part)| check_part(name, part, 0))
}

fn check_part(name: &str, value: &Value, depth: usize) -> Result<()> {
    if depth > MAX_PART_DEPTH {
        return Err(broken(&format!("its `{name}` is nested too deeply: at most {MAX_PART_DEPTH} levels are allowed")));
    }
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value {
            Value::String(regex) if key == "Regex" => check_regex(name, regex),
            value => check_part(name, value, depth + 1),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_part(name, item, depth + 1)),
        _ => Ok(()),
    }
}

/// Counts brackets without parsing, because the dialects of the engines differ.
fn check_regex(name: &str, regex: &str) -> Result<()> {
    let count = regex.chars().filter(|c| "([{".contains(*c)).count();
    if count <= MAX_REGEX_BRACKETS {
        return Ok(());
    }
    let message = format!(
        "a regular expression of its `{name}` opens {count} brackets; at most {MAX_REGEX_BRACKETS} are allowed"
    );
    Err(broken(&message))
}

fn broken(problem: &str) -> Error {
    Error::new(Code::TokenizerError, problem)
}
