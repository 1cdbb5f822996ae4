//! Reads the option `backend.answers`, and turns the answers that `lib/scripted.ts` found for a request into its
//! candidates. `lib/` calls the functions of the script and matches requests; the engine takes the answers.

use std::sync::Arc;

use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, Unknown};
use serde_json::{Map, Value};

use crate::engine::{Candidates, ScriptedAnswer, ScriptedAnswers, ScriptedEnd};
use crate::error::Code;
use crate::numbers::MAX_SAFE_INTEGER;
use crate::text::AnswerParts;

use super::fields::{Fields, MAX_ELEMENTS, elements, is_array, kind, whole, wrong};
use super::json::JsonReader;
use super::refusal::Read;

const CODE: Code = Code::ConfigError;
const NAME: &str = "backend.answers";
/// The name of an answer that a function gave.
const RETURNED: &str = "backend.answers()";

/// The scripted answers of a simulated device.
#[derive(Debug, Clone)]
pub(super) struct Scripted {
    source: Source,
    may_simulate: bool,
}

#[derive(Debug, Clone)]
enum Source {
    List(Arc<ScriptedAnswers>),
    /// A function that gives the answer to each request.
    Function,
}

impl Scripted {
    /// Reads `backend.answers` and `backend.onUnmatched`.
    pub(super) fn read(answers: Option<Unknown<'_>>, on_unmatched: Option<&str>) -> Read<Option<Self>> {
        let may_simulate = match on_unmatched {
            None | Some("fail") => false,
            Some("simulate") => true,
            Some(_) => return Err(wrong(CODE, "backend.onUnmatched", "must be 'fail' or 'simulate'").into()),
        };
        let Some(answers) = answers else {
            let is_alone = on_unmatched.is_some();
            let error = || wrong(CODE, "backend.onUnmatched", "goes with `backend.answers`, which is missing").into();
            return if is_alone { Err(error()) } else { Ok(None) };
        };
        let source = match answers.get_type()? {
            ValueType::Function => Source::Function,
            ValueType::Object if is_array(&answers)? => Source::List(Arc::new(read_list(answers)?)),
            _ => {
                let message = format!("must be a list of answers or a function, not {}", kind(&answers)?);
                return Err(wrong(CODE, NAME, &message).into());
            }
        };
        Ok(Some(Self { source, may_simulate }))
    }

    /// The candidates of a request. `found` has the indexes of the answers that fit it, or the answer that the function gave.
    pub(super) fn candidates(&self, found: Unknown<'_>) -> Read<Candidates> {
        let may_simulate = self.may_simulate;
        let (answers, fitting) = match &self.source {
            Source::List(answers) => (Arc::clone(answers), read_indexes(found)?),
            Source::Function => {
                let is_absent = matches!(found.get_type()?, ValueType::Undefined | ValueType::Null);
                let answer = if is_absent { None } else { Some(read_answer(RETURNED, found, Origin::Function)?) };
                let fitting = answer.iter().map(|_| 0).collect();
                (Arc::new(ScriptedAnswers::new(answer.into_iter().collect())), fitting)
            }
        };
        Ok(Candidates { answers, fitting, may_simulate })
    }

    /// The indexes of the answers of the list that were not used.
    pub(super) fn unused(&self) -> Option<Vec<u32>> {
        let Source::List(answers) = &self.source else { return None };
        Some(answers.unused().into_iter().map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect())
    }
}

fn read_indexes(value: Unknown<'_>) -> Read<Arc<[usize]>> {
    let index = |item: Read<Unknown<'_>>| Ok(u32::from_unknown(item?)? as usize);
    elements(CODE, NAME, value, MAX_ELEMENTS)?.map(index).collect()
}

fn read_list(value: Unknown<'_>) -> Read<ScriptedAnswers> {
    let items = elements(CODE, NAME, value, MAX_ELEMENTS)?.enumerate();
    let answers = items.map(|(index, item)| read_answer(&format!("{NAME}[{index}]"), item?, Origin::List));
    answers.collect::<Read<_>>().map(ScriptedAnswers::new)
}

/// Where an answer comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    List,
    Function,
}

fn read_answer(path: &str, value: Unknown<'_>, origin: Origin) -> Read<ScriptedAnswer> {
    if value.get_type()? != ValueType::Object {
        return Err(wrong(CODE, path, &format!("must be an object, not {}", kind(&value)?)).into());
    }
    let mut fields = Fields::of(path, CODE, value)?;
    let (text, reasoning) = (fields.string("text")?, fields.string("reasoning")?);
    let calls = fields.value("toolCalls")?;
    let calls = calls.map(|calls| read_calls(&fields.path("toolCalls"), calls)).transpose()?.unwrap_or_default();
    let is_cut = match fields.string("finishReason")?.as_deref() {
        None => None,
        Some("stop") => Some(false),
        Some("length") => Some(true),
        Some(_) => {
            let message = "must be 'stop' or 'length'; with `toolCalls`, 'stop' becomes 'tool-calls'";
            return Err(fields.wrong("finishReason", message));
        }
    };
    let fault = fields.integer("errorAfterTokens", 0..=MAX_SAFE_INTEGER)?;
    let times = match origin {
        Origin::List => read_times(&mut fields)?,
        Origin::Function => None,
    };
    let is_empty = text.is_none() && reasoning.is_none() && calls.is_empty();
    let end = match (is_cut, fault) {
        (Some(_), Some(_)) => return Err(fields.wrong("finishReason", "excludes `errorAfterTokens`")),
        (_, Some(after)) => ScriptedEnd::Fault(usize::try_from(after).unwrap_or(usize::MAX)),
        (Some(true), None)
            if reasoning.is_none() && calls.is_empty() && text.as_deref().unwrap_or_default().is_empty() =>
        {
            return Err(fields.wrong("text", "must not be empty with `finishReason: 'length'`"));
        }
        (Some(true), None) => ScriptedEnd::Cut,
        (_, None) => ScriptedEnd::Turn,
    };
    fields.finish()?;
    if is_empty && fault.is_none() {
        return Err(wrong(CODE, path, "needs `text`, `reasoning`, `toolCalls` or `errorAfterTokens`").into());
    }
    let parts = AnswerParts { reasoning, text: text.unwrap_or_default(), calls };
    Ok(ScriptedAnswer { path: path.to_owned(), parts, end, times })
}

/// The number of generations that get an answer: any number if it has a condition, one otherwise.
fn read_times(fields: &mut Fields<'_>) -> Read<Option<u64>> {
    // lib/ calls or compares it; here only its presence counts.
    let has_match = fields.value("match")?.is_some();
    let Some(times) = fields.value("times")? else { return Ok((!has_match).then_some(1)) };
    let times = if times.get_type()? == ValueType::Number { f64::from_unknown(times)? } else { f64::NAN };
    match whole(times).filter(|times| *times > 0) {
        Some(times) => Ok(Some(times)),
        None if times == f64::INFINITY => Ok(None),
        None => Err(fields.wrong("times", "must be a whole number from 1, or Infinity")),
    }
}

fn read_calls(path: &str, value: Unknown<'_>) -> Read<Vec<(String, Value)>> {
    let mut json = JsonReader::new(CODE);
    let mut calls = Vec::new();
    for (index, item) in elements(CODE, path, value, MAX_ELEMENTS)?.enumerate() {
        let mut fields = Fields::of(&format!("{path}[{index}]"), CODE, item?)?;
        let name = fields.string("name")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fields.wrong("name", "must be the name of a tool"))?;
        let arguments = fields.value("arguments")?;
        let arguments = arguments.map(|arguments| json.object(&fields.path("arguments"), arguments)).transpose()?;
        fields.finish()?;
        calls.push((name, arguments.unwrap_or_else(|| Value::Object(Map::new()))));
    }
    Ok(calls)
}
