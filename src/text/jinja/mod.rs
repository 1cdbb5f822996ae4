//! The Jinja that chat templates are written in, as `transformers` sets Jinja2 up: its syntax, filters, tests, functions
//! and Python's methods. A template is a program from a stranger. So nesting has limits that are checked before anything
//! recurses, and a run has a budget of steps, of bytes and of time.
//!
//! Texts remember which of their parts came from outside of the template (`text`): what a user writes never becomes a
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

/// Why a template gives no text.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not Jinja.
    Broken(String),
    /// It refuses what it was given, with these words.
    Raised(String),
    /// It takes more than it may.
    Spent(String),
    /// It does what cannot be done.
    Failed {
        /// What that is.
        message: String,
        /// Where, counted from 1.
        line: Option<usize>,
    },
}

/// What a run may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) steps: u64,
    /// Of all texts and lists that it makes.
    pub(crate) bytes: u64,
    /// Of one text.
    pub(crate) text_bytes: usize,
    pub(crate) time: Duration,
}

/// What a template wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// All of it.
    pub text: String,
    /// The bytes that came from messages, tools and variables, in order.
    pub outside: Vec<Range<usize>>,
}

impl Rendered {
    /// A part of it.
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

/// A template that can run.
#[derive(Debug)]
pub(crate) struct Program {
    body: syntax::Body,
}

impl Program {
    pub(crate) fn compile(source: &str) -> Result<Self, Fault> {
        // Jinja2 knows `\n` alone as the end of a line.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        parser::parse(&source).map(|body| Self { body })
    }

    /// Writes the text. Takes up to some MB of stack.
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
