//! One value of a call's arguments: read character by character in the notation of a format, written as compact JSON. What
//! is written is the beginning of valid JSON at any time, whatever is read: text that does not fit is refused instead.

use serde_json::Number;

use super::quoted::{Quoted, write_char};

/// As deep as messages may be nested: a call can be given back.
const MAX_DEPTH: usize = 48;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// JSON, but for line breaks in strings, which models forget to escape.
    Json,
    /// Python: two kinds of quotes, `True`, `None`, a comma before a closing bracket.
    Python,
    /// Names without quotes, and this around texts, which have no escapes.
    Bare(&'static str),
}

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is part of the value.
    More,
    /// It is the last of the value.
    Done,
    /// The value had ended before it.
    Before,
    /// It cannot stand there.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Container {
    close: char,
    /// What is between a key and its value; none in a list.
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
    Text(Quoted),
}

/// A value while it is read.
#[derive(Debug)]
pub(super) struct Literal {
    notation: Notation,
    containers: Vec<Container>,
    expect: Expect,
    lexeme: Lexeme,
    /// Written with what follows it, since nothing may.
    has_comma: bool,
}

impl Literal {
    /// Any value.
    pub(super) fn value(notation: Notation) -> Self {
        let (containers, expect) = (Vec::new(), Expect::Value);
        Self { notation, containers, expect, lexeme: Lexeme::Nothing, has_comma: false }
    }

    /// The arguments of a call, behind their opening bracket.
    pub(super) fn arguments(notation: Notation, out: &mut String) -> Self {
        let container = match notation {
            Notation::Python => Container { close: ')', separator: Some('=') },
            Notation::Json | Notation::Bare(_) => Container { close: '}', separator: Some(':') },
        };
        out.push('{');
        Self { containers: vec![container], expect: Expect::KeyOrEnd, ..Self::value(notation) }
    }

    /// Takes a character and appends to `out` what it settles.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> Step {
        match &mut self.lexeme {
            Lexeme::Nothing => self.structure(c, out),
            Lexeme::Word(word) if is_word(c) => {
                word.push(c);
                Step::More
            }
            Lexeme::Word(_) => self.end_word(c, out),
            Lexeme::Text(text) => match text.push(c, out) {
                Step::Done => {
                    out.push('"');
                    self.ended()
                }
                step => step,
            },
        }
    }

    fn structure(&mut self, c: char, out: &mut String) -> Step {
        if matches!(c, ' ' | '\n' | '\r' | '\t') {
            return Step::More;
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
                Step::More
            }
            Expect::CommaOrEnd if c == ',' => self.comma(),
            Expect::Separator | Expect::CommaOrEnd => Step::Bad,
        }
    }

    fn begin_value(&mut self, c: char, out: &mut String) -> Step {
        self.write_comma(out);
        match c {
            '{' => self.open(Container { close: '}', separator: Some(':') }, out),
            '[' => self.open(Container { close: ']', separator: None }, out),
            '(' if self.notation == Notation::Python => self.open(Container { close: ')', separator: None }, out),
            c => self.begin_lexeme(c, true, out),
        }
    }

    fn begin_key(&mut self, c: char, out: &mut String) -> Step {
        self.write_comma(out);
        let is_keyword = self.containers.last().is_some_and(|it| it.separator == Some('='));
        match self.notation {
            _ if is_keyword => self.begin_word(c),
            Notation::Bare(_) => self.begin_lexeme(c, true, out),
            Notation::Json | Notation::Python => self.begin_lexeme(c, false, out),
        }
    }

    /// A text, or a word where one may stand.
    fn begin_lexeme(&mut self, c: char, may_be_word: bool, out: &mut String) -> Step {
        if let Some(text) = Quoted::begin(self.notation, c) {
            out.push('"');
            self.lexeme = Lexeme::Text(text);
            return Step::More;
        }
        if may_be_word { self.begin_word(c) } else { Step::Bad }
    }

    fn begin_word(&mut self, c: char) -> Step {
        if !is_word(c) {
            return Step::Bad;
        }
        self.lexeme = Lexeme::Word(c.to_string());
        Step::More
    }

    /// A word is known to be over by what follows it.
    fn end_word(&mut self, next: char, out: &mut String) -> Step {
        let Lexeme::Word(word) = &self.lexeme else { return Step::Bad };
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            out.push('"');
            word.chars().for_each(|c| write_char(c, out));
            out.push('"');
        } else {
            let Some(constant) = constant(word, self.notation) else { return Step::Bad };
            out.push_str(constant);
        }
        match self.ended() {
            Step::Done => Step::Before,
            _ => self.structure(next, out),
        }
    }

    fn open(&mut self, container: Container, out: &mut String) -> Step {
        if self.containers.len() == MAX_DEPTH {
            return Step::Bad;
        }
        let is_list = container.separator.is_none();
        out.push(if is_list { '[' } else { '{' });
        self.expect = if is_list { Expect::ValueOrEnd } else { Expect::KeyOrEnd };
        self.containers.push(container);
        Step::More
    }

    fn close(&mut self, out: &mut String) -> Step {
        let is_list = self.containers.pop().is_some_and(|it| it.separator.is_none());
        out.push(if is_list { ']' } else { '}' });
        self.has_comma = false;
        self.expect = Expect::Value;
        self.ended()
    }

    fn comma(&mut self) -> Step {
        let is_list = self.containers.last().is_some_and(|it| it.separator.is_none());
        self.expect = match (is_list, self.notation) {
            (true, Notation::Python) => Expect::ValueOrEnd,
            (true, _) => Expect::Value,
            (false, Notation::Python) => Expect::KeyOrEnd,
            (false, _) => Expect::Key,
        };
        self.has_comma = true;
        Step::More
    }

    fn write_comma(&mut self, out: &mut String) {
        if std::mem::take(&mut self.has_comma) {
            out.push(',');
        }
    }

    /// A key or a value is complete.
    fn ended(&mut self) -> Step {
        self.lexeme = Lexeme::Nothing;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            self.expect = Expect::Separator;
            return Step::More;
        }
        self.expect = Expect::CommaOrEnd;
        if self.containers.is_empty() { Step::Done } else { Step::More }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')
}

/// A number or constant as JSON writes it.
fn constant(word: &str, notation: Notation) -> Option<&str> {
    match (word, notation) {
        ("true" | "false" | "null", _) => Some(word),
        ("True", Notation::Python) => Some("true"),
        ("False", Notation::Python) => Some("false"),
        ("None", Notation::Python) => Some("null"),
        _ => serde_json::from_str::<Number>(word).ok().map(|_| word),
    }
}
