//! Parses a call that is one JSON object, `{"name": …, "arguments": {…}}`, one character at a time. The fields may come
//! in any order and among other fields; Llama names the arguments `parameters`. Arguments may also be `null`, which
//! means none, or a string of JSON, as in messages of the `OpenAI` API.

use super::notation::{Notation, ValueProgress};
use super::value::ValueParser;

/// The part of a call that was read and not yet passed on.
#[derive(Debug, Default)]
pub(in crate::text) struct PartialCall {
    pub(in crate::text) name: Option<String>,
    /// JSON.
    pub(in crate::text) arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    /// Arguments as an object, passed on while they arrive.
    Arguments,
    /// Arguments as `null` or a string, read when complete.
    QuotedArguments,
    /// Fields of calls in the `OpenAI` API: `type` and `id`.
    Known,
    Other,
}

#[derive(Debug)]
enum Expected {
    KeyOrEnd,
    Key,
    InKey(ValueParser, String),
    Colon(Field),
    Value(Field),
    InValue(Field, ValueParser, String),
    CommaOrEnd,
}

/// The state of the parser within one call.
#[derive(Debug)]
pub(super) struct JsonCallParser {
    expected: Expected,
    has_arguments: bool,
    has_others: bool,
    /// The call has no marker, so any object may stand here: only one without unknown fields is a call.
    is_bare: bool,
}

impl JsonCallParser {
    /// A parser after the opening bracket.
    pub(super) fn new(is_bare: bool) -> Self {
        Self { expected: Expected::KeyOrEnd, has_arguments: false, has_others: false, is_bare }
    }

    /// Reads a character and adds what it completes to `call`.
    pub(super) fn push(&mut self, c: char, call: &mut PartialCall) -> ValueProgress {
        match &mut self.expected {
            Expected::InKey(parser, key) => match parser.push(c, key) {
                ValueProgress::Complete => {
                    let field = field(key);
                    self.go(Expected::Colon(field))
                }
                progress => progress,
            },
            Expected::InValue(field, parser, text) => {
                let field = *field;
                let out = if field == Field::Arguments { &mut call.arguments } else { text };
                match parser.push(c, out) {
                    ValueProgress::Complete => self.end_value(call),
                    ValueProgress::EndedBefore => match self.end_value(call) {
                        ValueProgress::Incomplete => self.structure(c, call),
                        progress => progress,
                    },
                    progress => progress,
                }
            }
            _ if matches!(c, ' ' | '\n' | '\r' | '\t') => ValueProgress::Incomplete,
            _ => self.structure(c, call),
        }
    }

    fn structure(&mut self, c: char, call: &mut PartialCall) -> ValueProgress {
        match (&self.expected, c) {
            (Expected::KeyOrEnd | Expected::CommaOrEnd, '}') => self.end(call),
            (Expected::KeyOrEnd | Expected::Key, '"') => {
                let (mut parser, mut key) = (ValueParser::value(Notation::Json), String::new());
                parser.push(c, &mut key);
                self.go(Expected::InKey(parser, key))
            }
            (Expected::Colon(field), ':') => self.go(Expected::Value(*field)),
            (Expected::Value(field), c) => self.begin_value(*field, c, call),
            (Expected::CommaOrEnd, ',') => self.go(Expected::Key),
            (Expected::CommaOrEnd, ' ' | '\n' | '\r' | '\t') => ValueProgress::Incomplete,
            _ => ValueProgress::Invalid,
        }
    }

    fn begin_value(&mut self, field: Field, c: char, call: &mut PartialCall) -> ValueProgress {
        let field = if field == Field::Arguments && c != '{' { Field::QuotedArguments } else { field };
        let fits = match field {
            Field::Name => c == '"' && call.name.is_none(),
            Field::Arguments | Field::QuotedArguments => {
                matches!(c, '{' | '"' | 'n') && !std::mem::replace(&mut self.has_arguments, true)
            }
            Field::Known => true,
            Field::Other => {
                self.has_others = true;
                !self.is_bare
            }
        };
        if !fits {
            return ValueProgress::Invalid;
        }
        let (mut parser, mut text) = (ValueParser::value(Notation::Json), String::new());
        let out = if field == Field::Arguments { &mut call.arguments } else { &mut text };
        let progress = parser.push(c, out);
        self.expected = Expected::InValue(field, parser, text);
        progress
    }

    fn end_value(&mut self, call: &mut PartialCall) -> ValueProgress {
        match &self.expected {
            Expected::InValue(Field::Name, _, text) => call.name = serde_json::from_str(text).ok(),
            Expected::InValue(Field::QuotedArguments, _, text) => match object_in(text) {
                Some(arguments) => call.arguments.push_str(&arguments),
                None => return ValueProgress::Invalid,
            },
            _ => {}
        }
        self.go(Expected::CommaOrEnd)
    }

    fn end(&mut self, call: &mut PartialCall) -> ValueProgress {
        // Without arguments, an unknown field may be misnamed arguments.
        if call.name.is_none() || (self.has_others && !self.has_arguments) {
            return ValueProgress::Invalid;
        }
        if !self.has_arguments {
            call.arguments.push_str("{}");
        }
        ValueProgress::Complete
    }

    fn go(&mut self, expected: Expected) -> ValueProgress {
        self.expected = expected;
        ValueProgress::Incomplete
    }
}

/// The object of arguments that are `null` or a string of JSON. An empty string means no arguments.
fn object_in(value: &str) -> Option<String> {
    let text: Option<String> = serde_json::from_str(value).ok()?;
    let text = text.as_deref().map_or("", str::trim);
    if text.is_empty() || text == "null" {
        return Some("{}".to_owned());
    }
    let (mut parser, mut object) = (ValueParser::value(Notation::Json), String::new());
    let mut chars = text.chars();
    let last =
        chars.by_ref().map(|c| parser.push(c, &mut object)).find(|progress| *progress != ValueProgress::Incomplete);
    let is_whole = last == Some(ValueProgress::Complete) && chars.as_str().is_empty();
    (is_whole && object.starts_with('{')).then_some(object)
}

fn field(key: &str) -> Field {
    match key {
        "\"name\"" => Field::Name,
        "\"arguments\"" | "\"parameters\"" => Field::Arguments,
        "\"type\"" | "\"id\"" => Field::Known,
        _ => Field::Other,
    }
}
