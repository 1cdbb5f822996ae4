//! Checks Lark grammars before they are compiled: the schemas inside them, and how deeply their rules nest.

use serde_json::{Deserializer, Value};

use super::schema;

/// Lines that may define a rule. The compiler recurses from a rule to the rules that it names; each takes about 20 KiB
/// of stack in a debug build.
const MAX_RULES: usize = 1_000;
/// Brackets in a line with a condition. The compiler does not limit their nesting.
const MAX_CONDITION_BRACKETS: usize = 200;
const MARK: &str = "%json";

/// The grammar with enforceable schemas. An error message continues the name of the param, or begins with another name
/// in backticks.
pub(super) fn enforced(grammar: &str) -> Result<String, String> {
    check_depth(grammar)?;
    let mut out = String::with_capacity(grammar.len());
    let (mut done, mut at) = (0, 0);
    while let Some(mark) = next_mark(grammar, at) {
        at = mark + MARK.len();
        let mut values = Deserializer::from_str(&grammar[at..]).into_iter::<Value>();
        // The compiler reports invalid JSON.
        let Some(Ok(Value::Object(schema))) = values.next() else { continue };
        let visited = schema::embedded(schema, "structured.grammar.%json")?;
        out.push_str(&grammar[done..at]);
        out.push(' ');
        out.push_str(&visited.to_string());
        at += values.byte_offset();
        done = at;
    }
    out.push_str(&grammar[done..]);
    Ok(out)
}

/// The next `%json` outside of strings, regular expressions and comments. `at` must be outside of them, too.
fn next_mark(grammar: &str, mut at: usize) -> Option<usize> {
    let bytes = grammar.as_bytes();
    while at < bytes.len() {
        at = match bytes[at] {
            b'%' if bytes[at..].starts_with(MARK.as_bytes()) => return Some(at),
            b'#' => end_of_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => end_of_line(bytes, at),
            quote @ (b'"' | b'/') => end_of_quoted(bytes, at + 1, quote),
            _ => at + 1,
        };
    }
    None
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |len| from + len)
}

/// The position after the closing quote, or the end of a line without one.
fn end_of_quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' => return at,
            byte if *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Counts the definitions without parsing: each begins a line or follows `%lark {`. The count may be too high.
fn check_depth(grammar: &str) -> Result<(), String> {
    let begins_rule =
        |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || "_?!".contains(c));
    let num_rules = grammar.lines().filter(begins_rule).count() + grammar.matches("%lark").count();
    if num_rules > MAX_RULES {
        return Err(format!("has {num_rules} lines that may define rules; at most {MAX_RULES} are allowed"));
    }
    let conditions = grammar.lines().filter(|line| line.contains("%if"));
    let num_brackets = conditions.map(|line| line.matches('(').count()).max().unwrap_or(0);
    if num_brackets > MAX_CONDITION_BRACKETS {
        return Err(format!(
            "has {num_brackets} brackets in a line with a condition; at most {MAX_CONDITION_BRACKETS} are allowed"
        ));
    }
    Ok(())
}
