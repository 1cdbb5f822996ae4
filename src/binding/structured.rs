//! From the param `structured` to a [`StructuredOutput`]: exactly one of `schema`, `regex`, `grammar` and `choices`. Errors here
//! have the same code as errors of the text room, which compiles the grammar later.

use napi::bindgen_prelude::Unknown;

use crate::error::Code;
use crate::text::StructuredOutput;

use super::fields::{Fields, wrong};
use super::json::JsonReader;
use super::names::Place;
use super::refusal::Read;
use super::validators;

const CODE: Code = Code::GuidanceError;
const NAME: &str = "structured";

pub(super) fn read(value: Unknown<'_>) -> Read<StructuredOutput> {
    if let Some(advice) = validators::advice(value)? {
        return Err(wrong(CODE, NAME, &format!("{advice}, as `structured: {{ schema }}`")).into());
    }
    let mut fields = Fields::of(NAME, CODE, value)?.at(Place::Structured);
    let schema = fields.value("schema")?;
    let schema = schema.map(|schema| JsonReader::new(CODE).object("structured.schema", schema)).transpose()?;
    let regex = fields.string("regex")?;
    let grammar = fields.string("grammar")?;
    let choices = fields.strings("choices")?;
    fields.finish()?;
    let given = [
        schema.map(StructuredOutput::Schema),
        regex.map(StructuredOutput::Regex),
        grammar.map(StructuredOutput::Grammar),
        choices.map(StructuredOutput::Choices),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(structured), None) => Ok(structured),
        (first, _) => {
            let found = if first.is_some() { "more than one is there" } else { "none is there" };
            let message = format!("needs exactly one of `schema`, `regex`, `grammar` and `choices`, but {found}");
            Err(wrong(CODE, NAME, &message).into())
        }
    }
}
