//! Grammars in Lark before they are compiled: the schemas inside them, and how deeply their rules can nest.

use serde_json::{Deserializer, Value};

use super::schema;

/// Lines that may define a rule. The compiler recurses from a rule to those that it names; a rule takes some 20 KiB of
/// stack in a debug build.
const MAX_RULES: usize = 1_000;
/// Brackets of a line with a condition, which nest without a bound of the compiler's own.
const MAX_CONDITION_BRACKETS: usize = 200;
const MARK: &str = "%json";

/// The grammar as it is compiled, or what is wrong with it, to follow the name of the param or to begin with another one.
pub(super) fn enforced(grammar: &str) -> Result<String, String> {
    check_depth(grammar)?;
    let mut out = String::with_capacity(grammar.len());
    let mut done = 0;
    for (at, _) in grammar.match_indices(MARK) {
        let begin = at + MARK.len();
        if at < done || !is_code(grammar, at) {
            continue;
        }
        let mut values = Deserializer::from_str(&grammar[begin..]).into_iter::<Value>();
        // What is no JSON is no schema: the compiler says so.
        let Some(Ok(Value::Object(schema))) = values.next() else { continue };
        let visited = schema::embedded(schema, "structured.grammar.%json")?;
        out.push_str(&grammar[done..begin]);
        out.push(' ');
        out.push_str(&visited.to_string());
        done = begin + values.byte_offset();
    }
    out.push_str(&grammar[done..]);
    Ok(out)
}

/// Counts without parsing, and rather too much: each definition begins a line, or stands behind `%lark {`.
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

/// Whether a place in a grammar is in none of its texts, regular expressions and comments. None of them goes beyond its
/// line, but for the JSON behind marks, which is looked at by itself.
fn is_code(grammar: &str, at: usize) -> bool {
    let line = grammar[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let mut chars = grammar[line..at].chars().peekable();
    while let Some(c) = chars.next() {
        let end = match c {
            '#' => return false,
            '/' if chars.peek() == Some(&'/') => return false,
            '"' | '/' => c,
            _ => continue,
        };
        loop {
            match chars.next() {
                None => return false,
                Some('\\') => drop(chars.next()),
                Some(c) if c == end => break,
                Some(_) => {}
            }
        }
    }
    true
}
