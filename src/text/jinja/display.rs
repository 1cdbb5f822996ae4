//! Formats values like Python's `str` and `repr`.

use super::text::{Text, Writer};
use super::value::{List, Value};

/// The value as `str` formats it.
pub(crate) fn text_of(value: &Value) -> Text {
    if let Value::Text(text) = value {
        return text.clone();
    }
    let mut out = Writer::default();
    write_text(&mut out, value);
    out.finish()
}

/// Writes the value as `str` formats it.
pub(crate) fn write_text(out: &mut Writer, value: &Value) {
    match value {
        Value::Text(text) => out.push(text),
        Value::Undefined => {}
        other => write_repr(out, other),
    }
}

/// Writes the value as `repr` formats it.
pub(crate) fn write_repr(out: &mut Writer, value: &Value) {
    match value {
        Value::Undefined => out.push_own("Undefined"),
        Value::None => out.push_own("None"),
        Value::Bool(is_true) => out.push_own(if *is_true { "True" } else { "False" }),
        Value::Int(number) => out.push_own(&number.to_string()),
        Value::Float(number) => out.push_own(&float(*number)),
        Value::Text(text) => quoted(out, text),
        Value::List(list) => items(out, list, ["[", "]"]),
        Value::Tuple(list) => items(out, list, ["(", if list.items.len() == 1 { ",)" } else { ")" }]),
        Value::Map(map) => {
            out.push_own("{");
            for (index, (key, value)) in map.entries.iter().enumerate() {
                out.push_own(if index == 0 { "" } else { ", " });
                write_repr(out, key);
                out.push_own(": ");
                write_repr(out, value);
            }
            out.push_own("}");
        }
        Value::Range(span) if span.step == 1 => out.push_own(&format!("range({}, {})", span.start, span.end)),
        Value::Range(span) => out.push_own(&format!("range({}, {}, {})", span.start, span.end, span.step)),
        other => out.push_own(&format!("<{}>", type_name(other))),
    }
}

fn items(out: &mut Writer, list: &List, [open, close]: [&str; 2]) {
    out.push_own(open);
    for (index, item) in list.items.iter().enumerate() {
        out.push_own(if index == 0 { "" } else { ", " });
        write_repr(out, item);
    }
    out.push_own(close);
}

/// A quoted text. It uses double quotes if the text contains single quotes and no double quotes.
fn quoted(out: &mut Writer, text: &Text) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote);
    for (at, c) in text.char_indices() {
        let escaped = match c {
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if c == quote => format!("\\{c}"),
            c if is_printable(c) => {
                out.push(&text.part(&text[at..at + c.len_utf8()]));
                continue;
            }
            c if c <= '\u{FF}' => format!("\\x{:02x}", u32::from(c)),
            c if c <= '\u{FFFF}' => format!("\\u{:04x}", u32::from(c)),
            c => format!("\\U{:08x}", u32::from(c)),
        };
        out.push_derived(text, &escaped);
    }
    out.push_char(quote);
}

/// Python's `isprintable`. Rust's debug format escapes the same characters, and also quotes.
pub(super) fn is_printable(c: char) -> bool {
    // Rust escapes a combining character only at the start of a text, so another character stands before it.
    matches!(c, '"' | '\'' | '\\') || format!("a{c}").escape_debug().nth(1) == Some(c)
}

/// A float as Python formats it: very large and very small numbers have an exponent of at least two digits.
pub(crate) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{number:?}"),
        exponent if exponent < 0 => format!("{digits}e-{:02}", -exponent),
        exponent => format!("{digits}e+{exponent:02}"),
    }
}

/// The type of a value, in error messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Undefined => "an undefined value",
        Value::None => "none",
        Value::Bool(_) => "a truth value",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Tuple(_) => "a tuple",
        Value::Iterator(_) => "an iterator",
        Value::Map(_) => "a mapping",
        Value::Range(_) => "a range",
        Value::Namespace(_) => "a namespace",
        Value::Loop(_) => "a loop",
        Value::Callable(_) => "a function",
    }
}
