//! The calls behind an opening mark, one character at a time. Says when a call is complete and when the calls are over; what
//! becomes of characters that do not fit is decided in `splitter`.

use super::envelope::Envelope;
use super::format::{Format, Shape};
use super::literal::{Literal, Notation, Step};

/// What was read of a call and not yet passed on.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) name: Option<String>,
    /// JSON text.
    pub(super) arguments: String,
}

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It belongs to the calls.
    More,
    /// It completes a call; more may follow.
    Called,
    /// It is the last of the calls.
    Closed,
    /// The calls were over before it.
    Over,
    /// It cannot stand there.
    Bad,
}

/// Calls while they are read.
#[derive(Debug)]
pub(super) struct Calls {
    format: &'static Format,
    stage: Stage,
    is_bare: bool,
    in_list: bool,
    /// Gemma likes to print what it calls.
    in_print: bool,
}

#[derive(Debug)]
enum Stage {
    /// Before a call.
    Lead,
    /// So many characters of what is before a name were read.
    Prefix(usize),
    Name(String),
    /// A mark between name and arguments, as far as it was read.
    Mark(String),
    /// The id that some models give to their calls.
    Id,
    /// Between name and arguments.
    Object,
    Envelope(Envelope),
    Arguments(Literal),
    /// Behind a call.
    Behind,
    /// Behind a list of calls.
    Tail,
    /// So many characters of the closing mark were read.
    Close(usize),
}

const PREFIX: &str = "call:";
/// The name under which Gemma knows what it is given.
const NAMESPACE: &str = "default_api.";

impl Calls {
    /// Behind an opening mark, or before what opens calls without one.
    pub(super) fn new(format: &'static Format, is_bare: bool) -> Self {
        Self { format, stage: Stage::Lead, is_bare, in_list: false, in_print: false }
    }

    /// Whether nothing but a closing mark may follow.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Tail)
    }

    /// Whether nothing is missing if the answer ends here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Behind | Stage::Tail | Stage::Close(_))
    }

    /// Takes a character; what it says of a call goes to `reading`.
    pub(super) fn push(&mut self, c: char, reading: &mut Reading) -> Progress {
        let step = match &mut self.stage {
            Stage::Envelope(envelope) => envelope.push(c, reading),
            Stage::Arguments(literal) => literal.push(c, &mut reading.arguments),
            _ => return self.between(c, reading),
        };
        match step {
            Step::More => Progress::More,
            Step::Done => {
                self.stage = Stage::Behind;
                Progress::Called
            }
            Step::Before | Step::Bad => Progress::Bad,
        }
    }

    fn between(&mut self, c: char, reading: &mut Reading) -> Progress {
        match &mut self.stage {
            Stage::Prefix(num_read) if PREFIX[*num_read..].starts_with(c) => {
                let num_read = *num_read + 1;
                let is_whole = num_read == PREFIX.len();
                self.go(if is_whole { Stage::Name(String::new()) } else { Stage::Prefix(num_read) })
            }
            Stage::Name(name) if is_name(c) => {
                name.push(c);
                Progress::More
            }
            Stage::Name(_) => self.end_name(c, reading),
            Stage::Mark(mark) => {
                mark.push(c);
                match mark.as_str() {
                    "[ARGS]" => self.go(Stage::Object),
                    "[CALL_ID]" => self.go(Stage::Id),
                    part if "[ARGS]".starts_with(part) || "[CALL_ID]".starts_with(part) => Progress::More,
                    _ => Progress::Bad,
                }
            }
            Stage::Id if c == '[' => self.go(Stage::Mark(c.to_string())),
            Stage::Id if is_name(c) => Progress::More,
            &mut Stage::Close(num_read) => self.closing_at(num_read, c).unwrap_or(Progress::Over),
            Stage::Lead | Stage::Object | Stage::Behind | Stage::Tail if c.is_whitespace() => Progress::More,
            Stage::Lead => self.lead(c),
            Stage::Object if c == '{' => self.arguments(Notation::Json, reading),
            Stage::Behind => self.behind(c),
            Stage::Tail => self.closing_at(0, c).unwrap_or(Progress::Over),
            _ => Progress::Bad,
        }
    }

    fn lead(&mut self, c: char) -> Progress {
        match (self.format.shape, c) {
            (Shape::Json | Shape::JsonSequence | Shape::JsonList | Shape::NamedJson, '{') => {
                self.go(Stage::Envelope(Envelope::new(self.is_bare)))
            }
            (Shape::JsonList | Shape::NamedJson | Shape::PythonList, '[') if !self.in_list => {
                self.in_list = true;
                Progress::More
            }
            (Shape::Bare(_), c) if PREFIX.starts_with(c) => self.go(Stage::Prefix(c.len_utf8())),
            (Shape::PythonList, c) if self.in_list && is_name(c) => self.go(Stage::Name(c.to_string())),
            (Shape::JsonList | Shape::NamedJson, c) if !self.in_list && is_name(c) => {
                self.go(Stage::Name(c.to_string()))
            }
            (Shape::PythonLines, c) if is_name(c) => self.go(Stage::Name(c.to_string())),
            _ => Progress::Bad,
        }
    }

    fn end_name(&mut self, c: char, reading: &mut Reading) -> Progress {
        let Stage::Name(name) = &mut self.stage else { return Progress::Bad };
        let name = std::mem::take(name);
        let shape = self.format.shape;
        if shape == Shape::PythonLines && name == "print" && c == '(' && !self.in_print {
            self.in_print = true;
            return self.go(Stage::Lead);
        }
        let name = match name.strip_prefix(NAMESPACE) {
            Some(name) if shape == Shape::PythonLines => name.to_owned(),
            _ => name,
        };
        reading.name = Some(name);
        match (shape, c) {
            (Shape::PythonList | Shape::PythonLines, '(') => self.arguments(Notation::Python, reading),
            (Shape::Bare(mark), '{') => self.arguments(Notation::Bare(mark), reading),
            (Shape::JsonList | Shape::NamedJson, '[') => self.go(Stage::Mark(c.to_string())),
            _ => Progress::Bad,
        }
    }

    fn arguments(&mut self, notation: Notation, reading: &mut Reading) -> Progress {
        self.go(Stage::Arguments(Literal::arguments(notation, &mut reading.arguments)))
    }

    fn behind(&mut self, c: char) -> Progress {
        match (self.format.shape, c) {
            _ if self.in_print => {
                self.in_print = false;
                if c == ')' { Progress::More } else { Progress::Bad }
            }
            _ if self.in_list => match c {
                ',' => self.go(Stage::Lead),
                ']' => {
                    self.in_list = false;
                    self.go(Stage::Tail)
                }
                _ => Progress::Bad,
            },
            (Shape::JsonSequence | Shape::PythonLines, ';') => self.go(Stage::Lead),
            (Shape::JsonSequence, '{') => self.lead(c),
            (Shape::PythonLines, c) if is_name(c) => self.lead(c),
            (Shape::JsonSequence | Shape::JsonList | Shape::NamedJson, _) => Progress::Over,
            (_, c) => self.closing_at(0, c).unwrap_or(Progress::Bad),
        }
    }

    /// Where `c` is the next character of the closing mark.
    fn closing_at(&mut self, num_read: usize, c: char) -> Option<Progress> {
        if !self.format.close[num_read..].starts_with(c) {
            return None;
        }
        let num_read = num_read + c.len_utf8();
        self.stage = Stage::Close(num_read);
        Some(if num_read == self.format.close.len() { Progress::Closed } else { Progress::More })
    }

    fn go(&mut self, stage: Stage) -> Progress {
        self.stage = stage;
        Progress::More
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}
