//! Parses one value of a call's arguments: reads it one character at a time in the notation of a format and writes
//! compact JSON. The output is a prefix of valid JSON at any time; a character that does not fit is refused.

use serde_json::Number;

use super::notation::{Notation, ValueProgress};
use super::string::{StringParser, write_char};

/// Nesting of arguments, in levels. Messages have the same limit, so a caller can send a call back in a message.
const MAX_DEPTH: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Container {
    close: char,
    /// The character between a key and its value; `None` in a list.
    separator: Option<char>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Separator,
    CommaOrEnd,
}

#[derive(Debug)]
enum Lexeme {
    Nothing,
    /// A number, a constant, or a key without quotes.
    Word(String),
    String(StringParser),
}

/// The state of the parser within one value.
#[derive(Debug)]
pub(super) struct ValueParser {
    notation: Notation,
    containers: Vec<Container>,
    expect: Expect,
    lexeme: Lexeme,
    /// A comma was read. It is written before the next item, because a closing bracket may follow instead.
    has_comma: bool,
}

impl ValueParser {
    /// A parser of any value.
    pub(super) fn value(notation: Notation) -> Self {
        let (containers, expect) = (Vec::new(), Expect::Value);
        Self { notation, containers, expect, lexeme: Lexeme::Nothing, has_comma: false }
    }

    /// A parser of a call's arguments, after their opening bracket.
    pub(super) fn arguments(notation: Notation, out: &mut String) -> Self {
        let container = match notation {
            Notation::Python => Container { close: ')', separator: Some('=') },
            Notation::Json | Notation::Bare(_) => Container { close: '}', separator: Some(':') },
        };
        out.push('{');
        Self { containers: vec![container], expect: Expect::KeyOrEnd, ..Self::value(notation) }
    }

    /// Reads a character and appends the JSON that it completes to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> ValueProgress {
        match &mut self.lexeme {
            Lexeme::Nothing => self.structure(c, out),
            Lexeme::Word(word) if is_word(c) => {
                word.push(c);
                ValueProgress::Incomplete
            }
            Lexeme::Word(_) => self.end_word(c, out),
            Lexeme::String(text) => match text.push(c, out) {
                ValueProgress::Complete => {
                    out.push('"');
                    self.complete()
                }
                progress => progress,
            },
        }
    }

    fn structure(&mut self, c: char, out: &mut String) -> ValueProgress {
        if matches!(c, ' ' | '\n' | '\r' | '\t') {
            return ValueProgress::Incomplete;
        }
        let container = self.containers.last().copied();
        match self.expect {
            Expect::ValueOrEnd | Expect::KeyOrEnd | Expect::CommaOrEnd if container.is_some_and(|it| it.close == c) => {
                self.close(out)
            }
            Expect::Value | Expect::ValueOrEnd => self.begin_value(c, out),
            Expect::Key | Expect::KeyOrEnd => self.begin_key(c, out),
            Expect::Separator if container.and_then(|it| it.separator) == Some(c) => {
                out.push(':');
                self.expect = Expect::Value;
                ValueProgress::Incomplete
            }
            Expect::CommaOrEnd if c == ',' => self.comma(),
            Expect::Separator | Expect::CommaOrEnd => ValueProgress::Invalid,
        }
    }

    fn begin_value(&mut self, c: char, out: &mut String) -> ValueProgress {
        self.write_comma(out);
        match c {
            '{' => self.open(Container { close: '}', separator: Some(':') }, out),
            '[' => self.open(Container { close: ']', separator: None }, out),
            '(' if self.notation == Notation::Python => self.open(Container { close: ')', separator: None }, out),
            c => self.begin_lexeme(c, true, out),
        }
    }

    fn begin_key(&mut self, c: char, out: &mut String) -> ValueProgress {
        self.write_comma(out);
        let is_keyword = self.containers.last().is_some_and(|it| it.separator == Some('='));
        match self.notation {
            _ if is_keyword => self.begin_word(c),
            Notation::Bare(_) => self.begin_lexeme(c, true, out),
            Notation::Json | Notation::Python => self.begin_lexeme(c, false, out),
        }
    }

    /// Starts a string; `may_be_word` also allows a number or constant.
    fn begin_lexeme(&mut self, c: char, may_be_word: bool, out: &mut String) -> ValueProgress {
        if let Some(text) = StringParser::new(self.notation, c) {
            out.push('"');
            self.lexeme = Lexeme::String(text);
            return ValueProgress::Incomplete;
        }
        if may_be_word { self.begin_word(c) } else { ValueProgress::Invalid }
    }

    fn begin_word(&mut self, c: char) -> ValueProgress {
        if !is_word(c) {
            return ValueProgress::Invalid;
        }
        self.lexeme = Lexeme::Word(c.to_string());
        ValueProgress::Incomplete
    }

    /// A word ends at the first character that cannot belong to it.
    fn end_word(&mut self, next: char, out: &mut String) -> ValueProgress {
        let Lexeme::Word(word) = &self.lexeme else { return ValueProgress::Invalid };
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            out.push('"');
            word.chars().for_each(|c| write_char(c, out));
            out.push('"');
        } else {
            let Some(constant) = constant(word, self.notation) else { return ValueProgress::Invalid };
            out.push_str(constant);
        }
        match self.complete() {
            ValueProgress::Complete => ValueProgress::EndedBefore,
            _ => self.structure(next, out),
        }
    }

    fn open(&mut self, container: Container, out: &mut String) -> ValueProgress {
        if self.containers.len() == MAX_DEPTH {
            return ValueProgress::Invalid;
        }
        let is_list = container.separator.is_none();
        out.push(if is_list { '[' } else { '{' });
        self.expect = if is_list { Expect::ValueOrEnd } else { Expect::KeyOrEnd };
        self.containers.push(container);
        ValueProgress::Incomplete
    }

    fn close(&mut self, out: &mut String) -> ValueProgress {
        let is_list = self.containers.pop().is_some_and(|it| it.separator.is_none());
        out.push(if is_list { ']' } else { '}' });
        self.has_comma = false;
        self.expect = Expect::Value;
        self.complete()
    }

    fn comma(&mut self) -> ValueProgress {
        let is_list = self.containers.last().is_some_and(|it| it.separator.is_none());
        self.expect = match (is_list, self.notation) {
            (true, Notation::Python) => Expect::ValueOrEnd,
            (true, _) => Expect::Value,
            (false, Notation::Python) => Expect::KeyOrEnd,
            (false, _) => Expect::Key,
        };
        self.has_comma = true;
        ValueProgress::Incomplete
    }

    fn write_comma(&mut self, out: &mut String) {
        if std::mem::take(&mut self.has_comma) {
            out.push(',');
        }
    }

    /// A key or a value is complete.
    fn complete(&mut self) -> ValueProgress {
        self.lexeme = Lexeme::Nothing;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            self.expect = Expect::Separator;
            return ValueProgress::Incomplete;
        }
        self.expect = Expect::CommaOrEnd;
        if self.containers.is_empty() { ValueProgress::Complete } else { ValueProgress::Incomplete }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')
}

/// A number or constant in JSON; `None` if the word is neither.
fn constant(word: &str, notation: Notation) -> Option<&str> {
    match (word, notation) {
        ("true" | "false" | "null", _) => Some(word),
        ("True", Notation::Python) => Some("true"),
        ("False", Notation::Python) => Some("false"),
        ("None", Notation::Python) => Some("null"),
        _ => serde_json::from_str::<Number>(word).ok().map(|_| word),
    }
}
