//! Writes tool calls in the format of a model: the inverse of `parser`. `output::writer` writes the rest of the answer.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use super::format::{CallSyntax, ToolCallFormat};
use crate::text::jinja::Rendered;

/// A call to write: the name of a tool, and an object of arguments.
pub(in crate::text) type Call = (String, Value);

impl ToolCallFormat {
    /// Appends calls to an answer. `is_first` means that no text precedes them; after text, a format without an opening marker
    /// is an error. Markers may become special tokens; names and arguments stay text, even if they spell a marker.
    pub(in crate::text) fn write(&self, calls: &[Call], is_first: bool, answer: &mut Rendered) -> Result<(), String> {
        let open = self.opens.first().copied().unwrap_or_default();
        if open.is_empty() && !is_first {
            return Err("cannot follow text: this model writes calls only at the beginning of an answer".to_owned());
        }
        if !answer.text.is_empty() && !answer.text.ends_with('\n') {
            answer.own("\n");
        }
        match self.syntax {
            CallSyntax::Json => between(answer, calls, "\n", |answer, call| {
                answer.own(&format!("{open}\n"));
                json_call(answer, call, "arguments");
                answer.own(&format!("\n{}", self.close));
            }),
            CallSyntax::JsonList => {
                answer.own(&format!("{open} ["));
                between(answer, calls, ", ", |answer, call| json_call(answer, call, "arguments"));
                answer.own("]");
            }
            CallSyntax::JsonSequence => {
                answer.own(if is_first { "" } else { open });
                between(answer, calls, "; ", |answer, call| json_call(answer, call, "parameters"));
            }
            CallSyntax::NamedJson => between(answer, calls, "", |answer, (name, arguments)| {
                answer.own(open);
                answer.outside(name);
                answer.own("[ARGS]");
                answer.outside(&json(arguments));
            }),
            CallSyntax::PythonList => {
                answer.own(&format!("{open}["));
                between(answer, calls, ", ", |answer, call| answer.outside(&python_call(call)));
                answer.own(&format!("]{}", self.close));
            }
            CallSyntax::PythonLines => {
                answer.own(&format!("{open}\n"));
                between(answer, calls, "\n", |answer, call| answer.outside(&python_call(call)));
                answer.own(&format!("\n{}", self.close));
            }
            CallSyntax::Bare(quote) => between(answer, calls, "", |answer, (name, arguments)| {
                answer.own(&format!("{open}call:"));
                answer.outside(name);
                bare(answer, arguments, quote);
                answer.own(self.close);
            }),
        }
        Ok(())
    }
}

fn between(answer: &mut Rendered, calls: &[Call], separator: &str, write: impl Fn(&mut Rendered, &Call)) {
    for (index, call) in calls.iter().enumerate() {
        answer.own(if index == 0 { "" } else { separator });
        write(answer, call);
    }
}

fn json_call(answer: &mut Rendered, (name, arguments): &Call, field: &str) {
    answer.own("{\"name\": ");
    answer.outside(&json(&name.as_str().into()));
    answer.own(&format!(", \"{field}\": "));
    answer.outside(&json(arguments));
    answer.own("}");
}

/// A call with named arguments. Their values are JSON, which the parser accepts besides Python literals.
fn python_call((name, arguments): &Call) -> String {
    let fields = arguments.as_object().into_iter().flatten();
    let arguments: Vec<_> = fields.map(|(key, value)| format!("{key}={}", json(value))).collect();
    format!("{name}({})", arguments.join(", "))
}

/// A value in [`CallSyntax::Bare`]. `quote` stands around strings, and around keys that are not words.
fn bare(answer: &mut Rendered, value: &Value, quote: &str) {
    match value {
        Value::Object(fields) => {
            answer.own("{");
            for (index, (key, value)) in fields.iter().enumerate() {
                answer.own(if index == 0 { "" } else { "," });
                let is_word = !key.is_empty() && key.chars().all(|c| c == '_' || c.is_alphanumeric());
                if is_word {
                    answer.outside(key);
                } else {
                    quoted(answer, key, quote);
                }
                answer.own(":");
                bare(answer, value, quote);
            }
            answer.own("}");
        }
        Value::Array(items) => {
            answer.own("[");
            for (index, item) in items.iter().enumerate() {
                answer.own(if index == 0 { "" } else { "," });
                bare(answer, item, quote);
            }
            answer.own("]");
        }
        Value::String(text) => quoted(answer, text, quote),
        Value::Null | Value::Bool(_) | Value::Number(_) => answer.outside(&value.to_string()),
    }
}

fn quoted(answer: &mut Rendered, text: &str, quote: &str) {
    answer.own(quote);
    answer.outside(text);
    answer.own(quote);
}

/// JSON with a space after each comma and colon, as models write it.
fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced));
    written.ok().and_then(|()| String::from_utf8(bytes).ok()).unwrap_or_default()
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
