//! Parses JSON as Python writes it: Python's `json` module also writes `NaN`, `Infinity` and `-Infinity`, which are not JSON.
//! They become the strings `"NaN"`, `"Infinity"` and `"-Infinity"`. In an unused field they do no harm; for a field that must
//! be a number, the error shows the value of the file.

use serde_json::{Error, Value};

const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

pub(super) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).or_else(|error| match quoted(bytes) {
        Some(strict) => serde_json::from_slice(&strict),
        None => Err(error),
    })
}

/// The text with these words as strings; `None` if it has none of them.
fn quoted(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut taken, mut at, mut is_inside) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => is_inside = !is_inside,
            b'\\' => at += 1,
            b'N' | b'I' | b'-' if !is_inside => {
                if let Some(word) = WORDS.iter().find(|word| bytes[at..].starts_with(word)) {
                    out.extend_from_slice(&bytes[taken..at]);
                    out.extend([b"\"", *word, b"\""].concat());
                    at += word.len();
                    taken = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (taken > 0).then(|| [&out, &bytes[taken..]].concat())
}
