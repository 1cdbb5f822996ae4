//! The Jinja that chat templates are written in, as `transformers` sets it up: its syntax, functions and filters. Owns
//! the budget of instructions; a template's output is `template`'s to bound.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::date::{self, Clock};
use super::{filters, python};

/// Instructions a template may spend: real ones need about a hundred a message. An instruction can nest a value one level
/// deeper, and dropping or printing a nested value recurses, so this also bounds the stack: see the text threads'.
const FUEL: u64 = 500_000;

/// An environment without templates.
pub(super) fn environment(clock: Clock) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax()?);
    environment.set_fuel(Some(FUEL));
    // On by default in debug builds, where a failure would copy and print all variables.
    environment.set_debug(false);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| date::at(clock(), format));
    filters::add_to(&mut environment);
    Ok(environment)
}

/// Tags as `transformers` reads them.
pub(super) fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// What a template says about the messages it was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

/// The message of a template that failed because it chose to.
pub(super) fn raised(error: &Error) -> Option<&str> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return Some(message);
        }
        cause = current.source();
    }
    None
}

/// A template as minijinja takes it: Jinja2 knows `\n` alone as the end of a line.
pub(super) fn prepared(source: &str) -> String {
    without_generation_marks(&source.replace("\r\n", "\n").replace('\r', "\n"))
}

/// `{% generation %}` marks, for training, what an assistant said. Rendering has no use for the mark, but its tags trim
/// whitespace like any other: they become an `if` that is always taken.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(before);
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replacement = match name {
            "generation" => "if true",
            "endgeneration" => "endif",
            name => name,
        };
        out.push_str(&if replacement == name { tag.to_owned() } else { tag.replacen(name, replacement, 1) });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits at the next block tag: up to and with `{%`, what is inside, and from `%}`.
fn next_tag(source: &str) -> Option<(&str, &str, &str)> {
    let start = source.find("{%")? + 2;
    let end = start + source[start..].find("%}")?;
    Some((&source[..start], &source[start..end], &source[end..]))
}
