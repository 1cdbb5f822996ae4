//! Structured output: compiles what an answer must be into a [`Guide`]. `schema` and `lark` check that a JSON schema or a
//! grammar says nothing that would not be enforced, `vocabulary` tells llguidance what each token contributes, `grammar`
//! follows an answer.
//!
//! What callers ask for is a program from a stranger: its size has limits here, and llguidance counts what it spends.
//! Call it on a [`super::TextPool`].

mod disjoint;
mod formats;
mod grammar;
mod lark;
mod names;
mod numbers;
mod references;
mod schema;
mod vocabulary;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use moka::sync::Cache;
use serde_json::{Value, json};

use super::pieces::Pieces;
use super::stream::Mark;
use crate::error::{Code, Error, Result};
use crate::guide::{Guide, Matcher};

use grammar::Compiled;

pub(super) use schema::enforced as enforced_schema;

/// The longest schema, as JSON, and the longest grammar.
const MAX_SPEC_BYTES: usize = 256 << 10;
const MAX_REGEX_BYTES: usize = 16 << 10;
const MAX_CHOICES: usize = 4_096;
const MAX_CHOICES_BYTES: usize = 64 << 10;
/// What callers know calls as.
const CALLS: &str = "toolChoice";
/// Compiled guides that a model keeps for requests that ask for the same again.
const MAX_KEPT: u64 = 32;

/// What an answer must be, as its caller wrote it.
#[derive(Debug, Clone, PartialEq)]
pub enum Structured {
    /// JSON that is valid against this schema.
    Schema(Value),
    /// A text that this regular expression matches from end to end.
    Regex(String),
    /// A text of the language that this grammar describes, in llguidance's dialect of Lark.
    Grammar(String),
    /// One of these texts.
    Choices(Vec<String>),
    /// Calls of functions, as a grammar of ours describes them.
    Calls(String),
}

impl Structured {
    /// The name under which callers give it.
    fn name(&self) -> &'static str {
        match self {
            Self::Schema(_) => "schema",
            Self::Regex(_) => "regex",
            Self::Grammar(_) => "grammar",
            Self::Choices(_) => "choices",
            Self::Calls(_) => CALLS,
        }
    }

    /// The whole of it as one text.
    fn written(&self) -> String {
        let value = match self {
            Self::Schema(schema) => schema.clone(),
            Self::Regex(text) | Self::Grammar(text) | Self::Calls(text) => json!(text),
            Self::Choices(choices) => json!(choices),
        };
        json!({ self.name(): value }).to_string()
    }

    /// What llguidance is given; an error for what it would not enforce, or should not be asked to.
    fn checked(&self) -> Result<TopLevelGrammar> {
        match self {
            Self::Schema(schema) => {
                check_size("schema", schema.to_string().len(), MAX_SPEC_BYTES, "bytes of JSON")?;
                let enforced =
                    schema::enforced(schema, "structured.schema").map_err(|problem| refused("schema", &problem))?;
                Ok(TopLevelGrammar::from_json_schema(enforced))
            }
            Self::Regex(regex) => {
                check_size("regex", regex.len(), MAX_REGEX_BYTES, "bytes")?;
                if schema::ends_in_escape(regex) {
                    return Err(refused("regex", "ends with a backslash that escapes nothing"));
                }
                Ok(TopLevelGrammar::from_lark(format!("start: /{}/", llguidance::regex_to_lark(regex, "dw"))))
            }
            Self::Grammar(grammar) => {
                check_size("grammar", grammar.len(), MAX_SPEC_BYTES, "bytes")?;
                let enforced = lark::enforced(grammar).map_err(|problem| refused("grammar", &problem))?;
                let dense: String = grammar.chars().filter(|c| !c.is_whitespace()).collect();
                if dense.contains("[temperature=") || dense.contains(",temperature=") {
                    return Err(refused("grammar", "sets the `temperature` of a rule, which is the request's to set"));
                }
                Ok(TopLevelGrammar::from_lark(enforced))
            }
            Self::Calls(grammar) => {
                check_size(CALLS, grammar.len(), MAX_SPEC_BYTES, "bytes as a grammar")?;
                Ok(TopLevelGrammar::from_lark(grammar.clone()))
            }
            Self::Choices(choices) => {
                check_choices(choices)?;
                let quoted: Vec<String> = choices.iter().map(|choice| json!(choice).to_string()).collect();
                Ok(TopLevelGrammar::from_lark(format!("start: CHOICE\nCHOICE: {}", quoted.join(" | "))))
            }
        }
    }
}

fn check_choices(choices: &[String]) -> Result<()> {
    if choices.is_empty() || choices.iter().any(String::is_empty) {
        return Err(refused("choices", "must be texts, at least one, and none of them empty"));
    }
    check_size("choices", choices.len(), MAX_CHOICES, "texts")?;
    check_size("choices", choices.iter().map(String::len).sum(), MAX_CHOICES_BYTES, "bytes together")
}

fn check_size(name: &str, is: usize, limit: usize, unit: &str) -> Result<()> {
    if is <= limit {
        return Ok(());
    }
    Err(refused(name, &format!("has {is} {unit}; at most {limit} are allowed")).with_limit(limit as f64, is as f64))
}

/// Compiles for one model, and keeps what it compiled last.
pub(super) struct Guides {
    marks: Vec<Mark>,
    /// The vocabulary as llguidance wants it. Made for the first request that needs it, which most models never see.
    factory: OnceLock<Result<ParserFactory>>,
    kept: Cache<String, Guide>,
}

impl std::fmt::Debug for Guides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guides").field("kept", &self.kept.entry_count()).finish_non_exhaustive()
    }
}

impl Guides {
    /// `marks` are special tokens that calls may have.
    pub(super) fn new(marks: Vec<Mark>) -> Self {
        Self { marks, factory: OnceLock::new(), kept: Cache::new(MAX_KEPT) }
    }

    /// The guide for what is asked, over the vocabulary of these pieces: the same one each time.
    pub(super) fn guide(&self, structured: &Structured, pieces: &Pieces) -> Result<Guide> {
        let spec = structured.written();
        if let Some(guide) = self.kept.get(&spec) {
            return Ok(guide);
        }
        let grammar = structured.checked()?;
        let compiled = guarded(|| {
            let factory = self.factory.get_or_init(|| factory(pieces, &self.marks)).as_ref().map_err(Clone::clone)?;
            let parser = factory.create_parser(grammar);
            let compiled = Compiled::new(parser.map_err(|error| unfit(structured, &error.to_string()))?, pieces);
            check_start(&compiled, structured)?;
            Ok(compiled)
        })?;
        let guide = Guide::new(spec.as_str(), Arc::new(compiled));
        self.kept.insert(spec, guide.clone());
        Ok(guide)
    }
}

/// An answer has at least one token.
fn check_start(compiled: &Compiled, structured: &Structured) -> Result<()> {
    let start = compiled.begin().allowed();
    let start = start.map_err(|unable| unfit(structured, &format!("{unable}, from its beginning on")))?;
    if start.words.iter().all(|word| *word == 0) {
        return Err(unfit(structured, "only an answer without text would do"));
    }
    Ok(())
}

fn factory(pieces: &Pieces, marks: &[Mark]) -> Result<ParserFactory> {
    let environment = vocabulary::environment(pieces, marks)?;
    let mut factory = ParserFactory::new_simple(&environment).map_err(|error| {
        Error::new(Code::GuidanceError, format!("the model's vocabulary cannot be guided: {error}"))
    })?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// What compiling and a step may take, in llguidance's own units.
fn limits() -> ParserLimits {
    ParserLimits {
        // Some 20 ms each.
        initial_lexer_fuel: 1_000_000,
        max_grammar_size: 200_000,
        // Some 15 ms a row and step, at worst.
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // An object with as many optional properties as are allowed needs several thousand.
        max_items_in_row: 10_000,
        // One or two KB each, per guide.
        max_lexer_states: grammar::MAX_LEXER_STATES,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// Whatever a caller's text makes the compiler do, it is that caller's error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = super::worker::panic_message(panic.as_ref());
        Err(Error::new(Code::GuidanceError, format!("`structured` made the compiler panic: {reason}")))
    })
}

/// What the compiler found wrong.
fn unfit(structured: &Structured, reason: &str) -> Error {
    let reason: String = without_backtrace(reason).trim().chars().take(500).collect();
    refused(structured.name(), &format!("cannot be enforced: {reason}"))
}

/// Where the compiler panicked, its error has the places in its code that it passed, and so it may with `RUST_BACKTRACE`.
fn without_backtrace(reason: &str) -> &str {
    let end = ["<backtrace>", "Stack backtrace:"].into_iter().filter_map(|mark| reason.find(mark)).min();
    &reason[..end.unwrap_or(reason.len())]
}

/// `message` continues "`structured.name` …".
fn refused(name: &str, message: &str) -> Error {
    let param = if name == CALLS { name.to_owned() } else { format!("structured.{name}") };
    let message = if message.starts_with('`') { message.to_owned() } else { format!("`{param}` {message}") };
    Error::new(Code::GuidanceError, message).with_param(param)
}
