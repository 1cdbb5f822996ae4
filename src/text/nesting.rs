//! How deeply templates and the regular expressions of tokenizers may be nested. The libraries that parse, compile and drop
//! them recurse once a level, and an overflow of the stack ends the process. So the depth is bounded before they see a
//! text, and each thread that runs them has the stack that the bound needs. Schemas and grammars have their bounds in
//! `guide/`; JSON has that of `serde_json`, which is 128 levels.

use minijinja::machinery::{Token, tokenize};
use serde::Deserialize;
use serde_json::Value;

use super::jinja;
use crate::error::{Code, Error, Result};

/// The stack of a thread that loads models. Texts at the bounds below need less than 4 MiB of it in a debug build, where
/// frames are largest. It is address space: memory is used only as far as the stack grows.
pub const LOAD_STACK_BYTES: usize = 64 << 20;

/// Operators, brackets and `elif`s above one place in a template. Of 84 published chat templates the deepest has 27.
pub(super) const MAX_TEMPLATE_DEPTH: usize = 500;
/// Brackets that one regular expression opens. Those of published tokenizers open fewer than 100.
pub(super) const MAX_REGEX_BRACKETS: usize = 1_000;
/// Levels of JSON in a part of a tokenizer. A sequence in a sequence has six.
const MAX_PART_DEPTH: usize = 24;

/// What is wrong with a template that nests too deeply. A text that is no template passes: its parser says so.
pub(super) fn check_template(source: &str) -> std::result::Result<(), String> {
    let Ok(syntax) = jinja::syntax() else { return Ok(()) };
    let mut depth = TemplateDepth::default();
    for token in tokenize(source, false, syntax).map_while(std::result::Result::ok) {
        depth.push(&token.0);
        if depth.total > MAX_TEMPLATE_DEPTH {
            let line = token.1.start_line;
            return Err(format!(
                "is nested too deeply in line {line}: at most {MAX_TEMPLATE_DEPTH} levels are allowed"
            ));
        }
    }
    Ok(())
}

/// An upper bound of the levels that the parser makes of a template. Each operator of an expression may be a level, and so
/// may be each bracket; a comma begins anew inside its brackets. Blocks are counted by the parser itself, but not `elif`s.
#[derive(Debug, Default)]
struct TemplateDepth {
    /// The branches of each open `if`.
    branches: Vec<usize>,
    /// The operators since the last comma, for each open bracket of a tag.
    operators: Vec<usize>,
    total: usize,
    is_first_of_block: bool,
}

impl TemplateDepth {
    fn push(&mut self, token: &Token<'_>) {
        let is_first = std::mem::take(&mut self.is_first_of_block);
        match token {
            Token::VariableStart | Token::BlockStart => {
                self.operators = vec![0];
                self.is_first_of_block = matches!(token, Token::BlockStart);
            }
            Token::VariableEnd | Token::BlockEnd => {
                self.total -= self.operators.drain(..).sum::<usize>();
            }
            Token::Ident(name) if is_first => self.statement(name),
            Token::Ident("not" | "and" | "or" | "in" | "is" | "if" | "else") => self.operator(),
            Token::TemplateData(_)
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_) => {}
            Token::Comma => {
                let last = self.operators.last_mut().map(std::mem::take);
                self.total -= last.unwrap_or(0);
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.operator();
                self.operators.push(0);
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.total -= self.operators.pop().unwrap_or(0);
            }
            _ => self.operator(),
        }
    }

    fn operator(&mut self) {
        if let Some(last) = self.operators.last_mut() {
            *last += 1;
            self.total += 1;
        }
    }

    fn statement(&mut self, name: &str) {
        match name {
            "if" => {
                self.branches.push(1);
                self.total += 1;
            }
            "elif" => {
                if let Some(last) = self.branches.last_mut() {
                    *last += 1;
                    self.total += 1;
                }
            }
            "endif" => self.total -= self.branches.pop().unwrap_or(0),
            _ => {}
        }
    }
}

/// The parts of a `tokenizer.json` that have regular expressions or parts of their own.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
}

/// Refuses a tokenizer whose parts are nested too deeply, or whose regular expressions may be.
pub(super) fn check_tokenizer(bytes: &[u8]) -> Result<()> {
    let parts: Parts = serde_json::from_slice(bytes).map_err(|error| broken(&format!("is broken: {error}")))?;
    let Parts { normalizer, pre_tokenizer, post_processor, decoder } = &parts;
    let named = [
        ("normalizer", normalizer),
        ("pre_tokenizer", pre_tokenizer),
        ("post_processor", post_processor),
        ("decoder", decoder),
    ];
    named.into_iter().try_for_each(|(name, part)| check_part(name, part, 0))
}

fn check_part(name: &str, value: &Value, depth: usize) -> Result<()> {
    if depth > MAX_PART_DEPTH {
        return Err(broken(&format!("its `{name}` is nested too deeply: at most {MAX_PART_DEPTH} levels are allowed")));
    }
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value {
            Value::String(regex) if key == "Regex" => check_regex(name, regex),
            value => check_part(name, value, depth + 1),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_part(name, item, depth + 1)),
        _ => Ok(()),
    }
}

/// Counts without parsing: which bracket is an operator depends on the dialect of the engine.
fn check_regex(name: &str, regex: &str) -> Result<()> {
    let count = regex.chars().filter(|c| "([{".contains(*c)).count();
    if count <= MAX_REGEX_BRACKETS {
        return Ok(());
    }
    let message = format!(
        "a regular expression of its `{name}` opens {count} brackets; at most {MAX_REGEX_BRACKETS} are allowed"
    );
    Err(broken(&message))
}

fn broken(problem: &str) -> Error {
    Error::new(Code::TokenizerError, problem)
}
