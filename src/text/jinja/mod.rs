//! An interpreter of Jinja for chat templates, as `transformers` sets Jinja2 up: its syntax, filters, tests and functions, and
//! the methods of Python's types. Templates are not trusted. So nesting is checked before anything recurses, and a run has a
//! budget of steps, bytes and time.
//!
//! A text records which of its byte ranges come from outside of the template (`text`), so that user text never becomes a
//! control token.

mod arguments;
mod calls;
mod checks;
mod display;
mod eval;
mod expressions;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod loops;
mod methods;
mod ops;
mod parser;
mod python;
mod run;
mod slices;
mod syntax;
mod text;
mod value;

use std::ops::{Deref, Range};
use std::time::Duration;

use super::date::Clock;
#[cfg(test)]
pub(super) use parser::MAX_DEPTH;
pub(crate) use python::{rstrip, strip};
pub(crate) use text::Text;
pub(crate) use value::{Name, Value};

/// Why a template produces no text.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The template is not valid Jinja.
    Broken(String),
    /// The template called `raise_exception` with this message.
    Raised(String),
    /// The run exceeded its budget.
    Spent(String),
    /// An operation failed.
    Failed {
        /// The reason.
        message: String,
        /// The line, from 1.
        line: Option<usize>,
    },
}

/// The budget of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) steps: u64,
    /// Bytes of all texts and lists that the run creates.
    pub(crate) bytes: u64,
    /// Bytes of the longest text.
    pub(crate) text_bytes: usize,
    pub(crate) time: Duration,
}

/// The output of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The byte ranges that come from messages, tools and variables, in order.
    pub outside: Vec<Range<usize>>,
}

impl Rendered {
    /// Appends text that is written in the template.
    pub(crate) fn own(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends text from outside of the template.
    pub(crate) fn outside(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        if !text.is_empty() {
            self.outside.push(start..self.text.len());
        }
    }

    /// The output after `lead`, which counts as text of the template.
    pub(crate) fn after(&self, lead: &str) -> Self {
        let shifted = |outside: &Range<usize>| outside.start + lead.len()..outside.end + lead.len();
        Self { text: format!("{lead}{}", self.text), outside: self.outside.iter().map(shifted).collect() }
    }

    /// A range of the output.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let first = self.outside.partition_point(|outside| outside.end <= range.start);
        let inside = self.outside[first..].iter().take_while(|outside| outside.start < range.end);
        let clip = |outside: &Range<usize>| {
            outside.start.max(range.start) - range.start..outside.end.min(range.end) - range.start
        };
        Self { text: self.text[range.clone()].to_owned(), outside: inside.map(clip).collect() }
    }
}

impl Deref for Rendered {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// A compiled template.
#[derive(Debug)]
pub(crate) struct Program {
    body: syntax::Body,
}

impl Program {
    pub(crate) fn compile(source: &str) -> Result<Self, Fault> {
        // Jinja2 reads `\r\n` and `\r` as `\n`, too.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        parser::parse(&source).map(|body| Self { body })
    }

    /// Runs the template. Needs the stack of a thread of the text pool or of a load.
    pub(crate) fn run(&self, variables: Vec<(Name, Value)>, limits: Limits, clock: Clock) -> Result<Rendered, Fault> {
        run::Run::new(variables, limits, clock).whole(&self.body)
    }
}

fn failed<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Failed { message: message.into(), line: None })
}

fn broken<T>(line: usize, problem: &str) -> Result<T, Fault> {
    Err(Fault::Broken(format!("line {line}: {problem}")))
}
