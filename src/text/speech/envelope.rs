//! A call as one JSON object, `{"name": …, "arguments": {…}}`, as its characters arrive. The fields may come in any order,
//! and others beside them; Llama calls the arguments `parameters`.

use super::call::Reading;
use super::literal::{Literal, Notation, Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
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
        let fits = match field {
            Field::Name => c == '"' && reading.name.is_none(),
            Field::Arguments => c == '{' && !std::mem::replace(&mut self.has_arguments, true),
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
        if let At::InValue(Field::Name, _, text) = &self.at {
            reading.name = serde_json::from_str(text).ok();
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

fn field(key: &str) -> Field {
    match key {
        "\"name\"" => Field::Name,
        "\"arguments\"" | "\"parameters\"" => Field::Arguments,
        "\"type\"" | "\"id\"" => Field::Known,
        _ => Field::Other,
    }
}
