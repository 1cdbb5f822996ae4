//! The tool-call parser: reads the calls after an opening marker, one character at a time, and reports when a call and
//! when the run of calls is complete. `output::streaming` decides what happens to characters that do not fit.

use super::format::{CallSyntax, ToolCallFormat};
use super::json_call::{JsonCallParser, PartialCall};
use super::notation::{Notation, ValueProgress};
use super::value::ValueParser;

/// The state of a run of calls after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum CallProgress {
    /// The current call, or the closing marker, needs more characters.
    Incomplete,
    /// The character completed a call; more calls may follow.
    CallComplete,
    /// The character completed the run of calls.
    Closed,
    /// The run of calls was complete before the character.
    EndedBefore,
    /// The character is not valid here.
    Invalid,
}

/// The state of the parser within one run of calls.
#[derive(Debug)]
pub(in crate::text) struct ToolCallParser {
    format: &'static ToolCallFormat,
    position: Position,
    is_bare: bool,
    in_list: bool,
    /// Gemma may wrap a call in `print(…)`.
    in_print: bool,
}

#[derive(Debug)]
enum Position {
    BeforeCall,
    /// This many bytes of [`PREFIX`] were read.
    Prefix(usize),
    Name(String),
    /// The part of a marker between name and arguments that was read.
    Marker(String),
    /// The id that some models write between name and arguments.
    Id,
    BeforeArguments,
    JsonCall(JsonCallParser),
    Arguments(ValueParser),
    AfterCall,
    AfterList,
    /// This many bytes of the closing marker were read.
    Close(usize),
}

/// Stands before each name in [`CallSyntax::Bare`].
const PREFIX: &str = "call:";
/// The module in which Gemma expects the tools.
const NAMESPACE: &str = "default_api.";

impl ToolCallParser {
    /// A parser after an opening marker, or at the first character of calls without one.
    pub(in crate::text) fn new(format: &'static ToolCallFormat, is_bare: bool) -> Self {
        Self { format, position: Position::BeforeCall, is_bare, in_list: false, in_print: false }
    }

    /// Whether only a closing marker may follow.
    pub(in crate::text) fn is_closed(&self) -> bool {
        matches!(self.position, Position::AfterList)
    }

    /// Whether the calls are complete if the answer ends here.
    pub(in crate::text) fn is_whole(&self) -> bool {
        matches!(self.position, Position::AfterCall | Position::AfterList | Position::Close(_))
    }

    /// Reads a character and adds what it completes of a call to `call`.
    pub(in crate::text) fn push(&mut self, c: char, call: &mut PartialCall) -> CallProgress {
        let progress = match &mut self.position {
            Position::JsonCall(parser) => parser.push(c, call),
            Position::Arguments(parser) => parser.push(c, &mut call.arguments),
            _ => return self.between(c, call),
        };
        match progress {
            ValueProgress::Incomplete => CallProgress::Incomplete,
            ValueProgress::Complete => {
                self.position = Position::AfterCall;
                CallProgress::CallComplete
            }
            ValueProgress::EndedBefore | ValueProgress::Invalid => CallProgress::Invalid,
        }
    }

    fn between(&mut self, c: char, call: &mut PartialCall) -> CallProgress {
        match &mut self.position {
            Position::Prefix(num_read) if PREFIX[*num_read..].starts_with(c) => {
                let num_read = *num_read + 1;
                let is_whole = num_read == PREFIX.len();
                self.go(if is_whole { Position::Name(String::new()) } else { Position::Prefix(num_read) })
            }
            Position::Name(name) if is_name(c) => {
                name.push(c);
                CallProgress::Incomplete
            }
            Position::Name(_) => self.end_name(c, call),
            Position::Marker(marker) => {
                marker.push(c);
                match marker.as_str() {
                    "[ARGS]" => self.go(Position::BeforeArguments),
                    "[CALL_ID]" => self.go(Position::Id),
                    part if "[ARGS]".starts_with(part) || "[CALL_ID]".starts_with(part) => CallProgress::Incomplete,
                    _ => CallProgress::Invalid,
                }
            }
            Position::Id if c == '[' => self.go(Position::Marker(c.to_string())),
            Position::Id if is_name(c) => CallProgress::Incomplete,
            &mut Position::Close(num_read) => self.closing_at(num_read, c).unwrap_or(CallProgress::EndedBefore),
            Position::BeforeCall | Position::BeforeArguments | Position::AfterCall | Position::AfterList
                if c.is_whitespace() =>
            {
                CallProgress::Incomplete
            }
            Position::BeforeCall => self.begin_call(c),
            Position::BeforeArguments if c == '{' => self.arguments(Notation::Json, call),
            Position::AfterCall => self.after_call(c),
            Position::AfterList => self.closing_at(0, c).unwrap_or(CallProgress::EndedBefore),
            _ => CallProgress::Invalid,
        }
    }

    fn begin_call(&mut self, c: char) -> CallProgress {
        match (self.format.syntax, c) {
            (CallSyntax::Json | CallSyntax::JsonSequence | CallSyntax::JsonList | CallSyntax::NamedJson, '{') => {
                self.go(Position::JsonCall(JsonCallParser::new(self.is_bare)))
            }
            (CallSyntax::JsonList | CallSyntax::NamedJson | CallSyntax::PythonList, '[') if !self.in_list => {
                self.in_list = true;
                CallProgress::Incomplete
            }
            (CallSyntax::Bare(_), c) if PREFIX.starts_with(c) => self.go(Position::Prefix(c.len_utf8())),
            (CallSyntax::PythonList, c) if self.in_list && is_name(c) => self.go(Position::Name(c.to_string())),
            (CallSyntax::JsonList | CallSyntax::NamedJson, c) if !self.in_list && is_name(c) => {
                self.go(Position::Name(c.to_string()))
            }
            (CallSyntax::PythonLines, c) if is_name(c) => self.go(Position::Name(c.to_string())),
            _ => CallProgress::Invalid,
        }
    }

    fn end_name(&mut self, c: char, call: &mut PartialCall) -> CallProgress {
        let Position::Name(name) = &mut self.position else { return CallProgress::Invalid };
        let name = std::mem::take(name);
        let syntax = self.format.syntax;
        if syntax == CallSyntax::PythonLines && name == "print" && c == '(' && !self.in_print {
            self.in_print = true;
            return self.go(Position::BeforeCall);
        }
        let name = match name.strip_prefix(NAMESPACE) {
            Some(name) if syntax == CallSyntax::PythonLines => name.to_owned(),
            _ => name,
        };
        call.name = Some(name);
        match (syntax, c) {
            (CallSyntax::PythonList | CallSyntax::PythonLines, '(') => self.arguments(Notation::Python, call),
            (CallSyntax::Bare(marker), '{') => self.arguments(Notation::Bare(marker), call),
            (CallSyntax::JsonList | CallSyntax::NamedJson, '[') => self.go(Position::Marker(c.to_string())),
            _ => CallProgress::Invalid,
        }
    }

    fn arguments(&mut self, notation: Notation, call: &mut PartialCall) -> CallProgress {
        self.go(Position::Arguments(ValueParser::arguments(notation, &mut call.arguments)))
    }

    fn after_call(&mut self, c: char) -> CallProgress {
        match (self.format.syntax, c) {
            _ if self.in_print => {
                self.in_print = false;
                if c == ')' { CallProgress::Incomplete } else { CallProgress::Invalid }
            }
            _ if self.in_list => match c {
                ',' => self.go(Position::BeforeCall),
                ']' => {
                    self.in_list = false;
                    self.go(Position::AfterList)
                }
                _ => CallProgress::Invalid,
            },
            (CallSyntax::JsonSequence | CallSyntax::PythonLines, ';') => self.go(Position::BeforeCall),
            (CallSyntax::JsonSequence, '{') => self.begin_call(c),
            (CallSyntax::PythonLines, c) if is_name(c) => self.begin_call(c),
            (CallSyntax::JsonSequence | CallSyntax::JsonList | CallSyntax::NamedJson, _) => CallProgress::EndedBefore,
            (_, c) => self.closing_at(0, c).unwrap_or(CallProgress::Invalid),
        }
    }

    /// The progress if `c` continues the closing marker.
    fn closing_at(&mut self, num_read: usize, c: char) -> Option<CallProgress> {
        if !self.format.close[num_read..].starts_with(c) {
            return None;
        }
        let num_read = num_read + c.len_utf8();
        self.position = Position::Close(num_read);
        Some(if num_read == self.format.close.len() { CallProgress::Closed } else { CallProgress::Incomplete })
    }

    fn go(&mut self, position: Position) -> CallProgress {
        self.position = position;
        CallProgress::Incomplete
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}
