//! A call as one JSON object, `{"name": …, "arguments": {…}}`, as its characters arrive. The fields may come in any order,
//! and others beside them; Llama calls the arguments `parameters`. Arguments may be `null`, which is none, and a text of
//! JSON, as in messages of other APIs.

use super::call::Reading;
use super::literal::{Literal, Notation, Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    /// As an object, which is passed on while it is written.
    Arguments,
    /// As a constant or a text, which is read once it is complete.
    WrittenArguments,
    /// What other clients write beside them.
    Known,
    Other,
}

#[derive(Debug)]
enum At {
    KeyOrEnd,
    Key,
    InKey(Literal, String),
    Colon(Field),
    Value(Field),
    InValue(Field, Literal, String),
    CommaOrEnd,
}

/// A call while it is read.
#[derive(Debug)]
pub(super) struct Envelope {
    at: At,
    has_arguments: bool,
    has_others: bool,
    /// It may be any object: only one with nothing but known fields is a call.
    is_bare: bool,
}

impl Envelope {
    /// Behind the opening bracket.
    pub(super) fn new(is_bare: bool) -> Self {
        Self { at: At::KeyOrEnd, has_arguments: false, has_others: false, is_bare }
    }

    /// Takes a character; what it says of the call goes to `reading`.
    pub(super) fn push(&mut self, c: char, reading: &mut Reading) -> Step {
        match &mut self.at {
            At::InKey(literal, key) => match literal.push(c, key) {
                Step::Done => {
                    let field = field(key);
                    self.expect(At::Colon(field))
                }
                step => step,
            },
            At::InValue(field, literal, text) => {
                let field = *field;
                let out = if field == Field::Arguments { &mut reading.arguments } else { text };
                match literal.push(c, out) {
                    Step::Done => self.end_value(reading),
                    Step::Before => match self.end_value(reading) {
                        Step::More => self.structure(c, reading),
                        step => step,
                    },
                    step => step,
                }
            }
            _ if matches!(c, ' ' | '\n' | '\r' | '\t') => Step::More,
            _ => self.structure(c, reading),
        }
    }

    fn structure(&mut self, c: char, reading: &mut Reading) -> Step {
        match (&self.at, c) {
            (At::KeyOrEnd | At::CommaOrEnd, '}') => self.end(reading),
            (At::KeyOrEnd | At::Key, '"') => {
                let (mut literal, mut key) = (Literal::value(Notation::Json), String::new());
                literal.push(c, &mut key);
                self.expect(At::InKey(literal, key))
            }
            (At::Colon(field), ':') => self.expect(At::Value(*field)),
            (At::Value(field), c) => self.begin_value(*field, c, reading),
            (At::CommaOrEnd, ',') => self.expect(At::Key),
            (At::CommaOrEnd, ' ' | '\n' | '\r' | '\t') => Step::More,
            _ => Step::Bad,
        }
    }

    fn begin_value(&mut self, field: Field, c: char, reading: &mut Reading) -> Step {
        let field = if field == Field::Arguments && c != '{' { Field::WrittenArguments } else { field };
        let fits = match field {
            Field::Name => c == '"' && reading.name.is_none(),
            Field::Arguments | Field::WrittenArguments => {
                matches!(c, '{' | '"' | 'n') && !std::mem::replace(&mut self.has_arguments, true)
            }
            Field::Known => true,
            Field::Other => {
                self.has_others = true;
                !self.is_bare
            }
        };
        if !fits {
            return Step::Bad;
        }
        let (mut literal, mut text) = (Literal::value(Notation::Json), String::new());
        let out = if field == Field::Arguments { &mut reading.arguments } else { &mut text };
        let step = literal.push(c, out);
        self.at = At::InValue(field, literal, text);
        step
    }

    fn end_value(&mut self, reading: &mut Reading) -> Step {
        match &self.at {
            At::InValue(Field::Name, _, text) => reading.name = serde_json::from_str(text).ok(),
            At::InValue(Field::WrittenArguments, _, text) => match object_in(text) {
                Some(arguments) => reading.arguments.push_str(&arguments),
                None => return Step::Bad,
            },
            _ => {}
        }
        self.expect(At::CommaOrEnd)
    }

    fn end(&mut self, reading: &mut Reading) -> Step {
        // Without arguments, another field may be what was meant for them.
        if reading.name.is_none() || (self.has_others && !self.has_arguments) {
            return Step::Bad;
        }
        if !self.has_arguments {
            reading.arguments.push_str("{}");
        }
        Step::Done
    }

    fn expect(&mut self, at: At) -> Step {
        self.at = at;
        Step::More
    }
}

/// The arguments that are not written as an object, as one: `null`, or a text of JSON. A text of nothing is none as well.
fn object_in(value: &str) -> Option<String> {
    let text: Option<String> = serde_json::from_str(value).ok()?;
    let text = text.as_deref().map_or("", str::trim);
    if text.is_empty() || text == "null" {
        return Some("{}".to_owned());
    }
    let (mut literal, mut object) = (Literal::value(Notation::Json), String::new());
    let mut chars = text.chars();
    let last = chars.by_ref().map(|c| literal.push(c, &mut object)).find(|step| *step != Step::More);
    let is_whole = last == Some(Step::Done) && chars.as_str().is_empty();
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
