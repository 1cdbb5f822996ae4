//! Structured output: the constraint compiler (or grammar compiler) of a model. `schema` and `lark` reject JSON schemas and
//! grammars that llguidance would not enforce completely, `vocabulary` describes the model's tokens to llguidance,
//! `matcher` follows an answer.
//!
//! Constraints come from callers and are not trusted: their size is limited here, and llguidance limits their cost. Run
//! this on a [`super::TextPool`].

mod annotations;
mod disjoint;
mod formats;
mod lark;
mod matcher;
mod names;
mod numbers;
mod references;
mod schema;
mod vocabulary;

use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use moka::sync::Cache;
use serde_json::{Value, json};

use super::token_table::{SpecialToken, TokenTable};
use crate::constraint::{Constraint, Matcher};
use crate::error::{Code, Error, Result};
use crate::panics;

use matcher::CompiledGrammar;

pub(super) use schema::enforced as enforced_schema;

/// The longest schema, as JSON, and the longest grammar.
const MAX_SPEC_BYTES: usize = 256 << 10;
const MAX_REGEX_BYTES: usize = 16 << 10;
const MAX_CHOICES: usize = 4_096;
const MAX_CHOICES_BYTES: usize = 64 << 10;
/// The param behind required tool calls.
const TOOL_CHOICE: &str = "toolChoice";
/// The name of the grammar that may stand in place of tool calls.
pub(super) const OTHER_ANSWER: &str = "answer";
/// Compiled constraints that a model caches.
const MAX_CACHED: u64 = 32;

/// The constraint of an answer, as its caller wrote it.
#[derive(Debug, Clone, PartialEq)]
pub enum StructuredOutput {
    /// JSON that is valid against this schema.
    Schema(Value),
    /// A text that this regular expression matches as a whole.
    Regex(String),
    /// A text of this grammar, in llguidance's dialect of Lark.
    Grammar(String),
    /// One of these texts.
    Choices(Vec<String>),
    /// Tool calls.
    ToolCalls {
        /// A grammar of `tool_calls::grammar`.
        grammar: String,
        /// The grammar that may stand in place of the calls, if the grammar names one.
        other: Option<Box<StructuredOutput>>,
    },
}

impl StructuredOutput {
    /// The name of its field or param.
    fn name(&self) -> &'static str {
        match self {
            Self::Schema(_) => "schema",
            Self::Regex(_) => "regex",
            Self::Grammar(_) => "grammar",
            Self::Choices(_) => "choices",
            Self::ToolCalls { .. } => TOOL_CHOICE,
        }
    }

    /// The constraint as one text.
    fn spec(&self) -> String {
        let value = match self {
            Self::Schema(schema) => schema.clone(),
            Self::Regex(text) | Self::Grammar(text) => json!(text),
            Self::Choices(choices) => json!(choices),
            Self::ToolCalls { grammar, other } => json!([grammar, other.as_ref().map(|other| other.spec())]),
        };
        json!({ self.name(): value }).to_string()
    }

    /// The grammar for llguidance. An error if llguidance would not enforce all of it, or if it exceeds a limit.
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
                    return Err(refused("grammar", "sets the `temperature` of a rule; only the request may set it"));
                }
                Ok(TopLevelGrammar::from_lark(enforced))
            }
            Self::ToolCalls { grammar, other } => {
                check_size(TOOL_CHOICE, grammar.len(), MAX_SPEC_BYTES, "bytes as a grammar")?;
                let mut whole = TopLevelGrammar::from_lark(grammar.clone());
                if let Some(other) = other {
                    let named = |part| GrammarWithLexer { name: Some(OTHER_ANSWER.to_owned()), ..part };
                    whole.grammars.extend(other.checked()?.grammars.into_iter().map(named));
                }
                Ok(whole)
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
        return Err(refused("choices", "must be at least one text, and none of them empty"));
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

/// Compiles the constraints of one model and caches the latest.
pub(super) struct ConstraintCompiler {
    special_tokens: Vec<SpecialToken>,
    /// The vocabulary in llguidance's form. Built for the first constraint, because most models never need it.
    factory: OnceLock<Result<ParserFactory>>,
    cache: Cache<String, Constraint>,
}

impl std::fmt::Debug for ConstraintCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConstraintCompiler").field("cached", &self.cache.entry_count()).finish_non_exhaustive()
    }
}

impl ConstraintCompiler {
    /// `special_tokens` are those that a grammar may name.
    pub(super) fn new(special_tokens: Vec<SpecialToken>) -> Self {
        Self { special_tokens, factory: OnceLock::new(), cache: Cache::new(MAX_CACHED) }
    }

    /// Whether answers in this vocabulary can be constrained.
    pub(super) fn is_supported(&self, token_table: &TokenTable) -> bool {
        vocabulary::words(token_table, &self.special_tokens).is_ok()
    }

    /// Compiles a constraint over the model's vocabulary, or returns it from the cache.
    pub(super) fn compile(&self, structured: &StructuredOutput, token_table: &TokenTable) -> Result<Constraint> {
        let spec = structured.spec();
        if let Some(constraint) = self.cache.get(&spec) {
            return Ok(constraint);
        }
        let grammar = structured.checked()?;
        let compiled = guarded(|| {
            let factory = self
                .factory
                .get_or_init(|| factory(token_table, &self.special_tokens))
                .as_ref()
                .map_err(Clone::clone)?;
            let parser = factory.create_parser(grammar);
            let compiled =
                CompiledGrammar::new(parser.map_err(|error| unfit(structured, &error.to_string()))?, token_table);
            check_start(&compiled, structured)?;
            Ok(compiled)
        })?;
        let constraint = Constraint::new(spec.as_str(), Arc::new(compiled));
        self.cache.insert(spec, constraint.clone());
        Ok(constraint)
    }
}

/// Rejects a constraint that allows no token at the start: an answer has at least one.
fn check_start(compiled: &CompiledGrammar, structured: &StructuredOutput) -> Result<()> {
    let start = compiled.begin().allowed();
    let start = start.map_err(|error| unfit(structured, &format!("{error}, already at its start")))?;
    if start.bitmask.iter().all(|word| *word == 0) {
        return Err(unfit(structured, "only an answer without text would satisfy it"));
    }
    Ok(())
}

fn factory(token_table: &TokenTable, special_tokens: &[SpecialToken]) -> Result<ParserFactory> {
    let environment = vocabulary::environment(token_table, special_tokens)?;
    let mut factory = ParserFactory::new_simple(&environment).map_err(|error| {
        Error::new(Code::GuidanceError, format!("the model's vocabulary cannot be constrained: {error}"))
    })?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// Limits for compiling and for a step, in llguidance's own units.
fn limits() -> ParserLimits {
    ParserLimits {
        // About 20 ms each.
        initial_lexer_fuel: 1_000_000,
        max_grammar_size: 200_000,
        // At most about 15 ms for each row and step.
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // An object with the maximum of optional properties needs several thousand.
        max_items_in_row: 10_000,
        // 1 to 2 KB each, for each constraint.
        max_lexer_states: matcher::MAX_LEXER_STATES,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// Runs the compiler; a panic in it is an error of the caller's constraint.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::catch(work).unwrap_or_else(|panic| {
        Err(Error::new(Code::GuidanceError, format!("`structured` made the compiler panic: {panic}")))
    })
}

/// The error of the compiler.
fn unfit(structured: &StructuredOutput, reason: &str) -> Error {
    let reason: String = without_backtrace(reason).trim().chars().take(500).collect();
    refused(structured.name(), &format!("cannot be enforced: {reason}"))
}

/// The error without a backtrace, which it contains after a panic of the compiler or with `RUST_BACKTRACE`.
fn without_backtrace(reason: &str) -> &str {
    let end = ["<backtrace>", "Stack backtrace:"].into_iter().filter_map(|start| reason.find(start)).min();
    &reason[..end.unwrap_or(reason.len())]
}

/// `message` continues "`structured.name` …".
fn refused(name: &str, message: &str) -> Error {
    let param = if name == TOOL_CHOICE { name.to_owned() } else { format!("structured.{name}") };
    let message = if message.starts_with('`') { message.to_owned() } else { format!("`{param}` {message}") };
    Error::new(Code::GuidanceError, message).with_param(param)
}
