//! Writes an answer as a model would, from its parts: the inverse of `streaming`. For scripted answers of a simulated
//! device.

use std::sync::Arc;

use serde_json::Value;

use super::streaming::OutputParser;
use crate::request::{CallRules, FinishReason};
use crate::text::jinja::Rendered;

/// An answer in its parts, in the order in which a model writes them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnswerParts {
    /// The reasoning before the text.
    pub reasoning: Option<String>,
    /// The text.
    pub text: String,
    /// Tool calls: the name of the tool, and an object of arguments.
    pub calls: Vec<(String, Value)>,
}

/// A part of an answer that a model cannot write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritable {
    /// The name of the part, as in `toolCalls[0].name`.
    pub part: String,
    /// The reason; it continues the name.
    pub why: String,
}

impl Unwritable {
    pub(in crate::text) fn new(part: impl Into<String>, why: impl Into<String>) -> Self {
        Self { part: part.into(), why: why.into() }
    }
}

/// The text of an answer with these parts. `parser` reads it back.
pub(in crate::text) fn write(parser: Option<&OutputParser>, parts: &AnswerParts) -> Result<Rendered, Unwritable> {
    let mut answer = Rendered::default();
    write_reasoning(parser, parts.reasoning.as_deref(), &mut answer)?;
    answer.outside(&parts.text);
    write_calls(parser, parts, &mut answer)?;
    if let Some(parser) = parser {
        check(parser, parts, &answer)?;
    }
    Ok(answer)
}

/// An answer that starts inside the reasoning gets a closing tag, even without reasoning to write. Otherwise the parser would
/// read its text as reasoning.
fn write_reasoning(
    parser: Option<&OutputParser>,
    reasoning: Option<&str>,
    answer: &mut Rendered,
) -> Result<(), Unwritable> {
    let has_begun = parser.is_some_and(|parser| parser.is_reasoning);
    match (reasoning, parser.and_then(|parser| parser.reasoning)) {
        (Some(_), None) => {
            let why = "needs a request with `messages` and without `structured`, and a model whose chat template has \
                       reasoning tags";
            return Err(Unwritable::new("reasoning", why));
        }
        (reasoning, Some(tags)) if has_begun || reasoning.is_some() => {
            if !has_begun {
                answer.own(&format!("{}\n", tags.open));
            }
            answer.outside(reasoning.unwrap_or_default());
            answer.own(&format!("\n{}\n\n", tags.close));
        }
        (None | Some(_), _) => {}
    }
    Ok(())
}

fn write_calls(parser: Option<&OutputParser>, parts: &AnswerParts, answer: &mut Rendered) -> Result<(), Unwritable> {
    let AnswerParts { text, calls, .. } = parts;
    if calls.is_empty() {
        return Ok(());
    }
    let Some((parser, format)) = parser.and_then(|parser| Some((parser, parser.tool_calls?))) else {
        let why =
            "need a request with `messages` and `tools`, and a model whose chat template has a known tool-call format";
        return Err(Unwritable::new("toolCalls", why));
    };
    if let Some((index, (name, _))) = calls.iter().enumerate().find(|(_, (name, _))| !parser.tools.contains(name)) {
        let why = format!("is {name:?}, which is none of the request's `tools`: {}", parser.tools.join(", "));
        return Err(Unwritable::new(format!("toolCalls[{index}].name"), why));
    }
    format.write(calls, text.trim().is_empty(), answer).map_err(|why| Unwritable::new("toolCalls", why))
}

/// Checks that readers get the reasoning and the calls. The text may contain calls of its own.
fn check(parser: &OutputParser, parts: &AnswerParts, answer: &Rendered) -> Result<(), Unwritable> {
    // A model may write more calls after a call that ends the answer, so no call ends the answer here.
    let parser = parser.clone().with_rules(CallRules::default());
    let read = parser.parse(&answer.text, &Arc::from(""), FinishReason::Stop);
    if read.reasoning != parts.reasoning.as_deref().unwrap_or_default().trim() && parts.reasoning.is_some() {
        let why = format!("cannot be written between the reasoning tags of this model: it reads {:?}", read.reasoning);
        return Err(Unwritable::new("reasoning", why));
    }
    let is_same = |(call, (name, arguments)): (&super::ToolCall, &(String, Value))| {
        call.name == *name && serde_json::from_str::<Value>(&call.arguments).is_ok_and(|read| read == *arguments)
    };
    let num_others = read.calls.len().checked_sub(parts.calls.len());
    if !num_others.is_some_and(|num| read.calls[num..].iter().zip(&parts.calls).all(is_same)) {
        return Err(Unwritable::new("toolCalls", "cannot be written in the tool-call format of this model"));
    }
    Ok(())
}
