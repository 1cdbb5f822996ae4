//! The built-in functions of templates.

use std::cell::Cell;

use super::arguments::{Arguments, required, text, whole};
use super::calls::{Callable, callable};
use super::display::{text_of, type_name};
use super::run::Run;
use super::text::Text;
use super::value::{Name, Span, Value};
use super::{Fault, failed};
use crate::text::date;

/// The longest range, as in Jinja2's sandbox.
const MAX_RANGE: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    RaiseException,
    StrftimeNow,
    Joiner,
    Cycler,
}

/// The function with this name.
pub(super) fn named(name: &str) -> Option<Value> {
    let function = match name {
        "range" => Function::Range,
        "dict" => Function::Dict,
        "namespace" => Function::Namespace,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        "joiner" => Function::Joiner,
        "cycler" => Function::Cycler,
        _ => return None,
    };
    Some(callable(Callable::Function(function)))
}

pub(super) fn call(run: &mut Run, function: Function, args: Arguments) -> Result<Value, Fault> {
    match function {
        Function::Range => range(args),
        Function::Dict => Value::map(entries("dict", args)?),
        Function::Namespace => namespace(run, args),
        Function::RaiseException => {
            let message = args.one("raise_exception", "message")?;
            Err(Fault::Raised(text_of(&message).to_string()))
        }
        Function::StrftimeNow => {
            let format = text("strftime_now", &args.one("strftime_now", "format")?)?;
            Ok(Value::own(&date::at((run.clock)(), &format)))
        }
        Function::Joiner => {
            let [separator] = args.bind("joiner", ["sep"])?;
            let separator = separator.map_or_else(|| Ok(Text::own(", ")), |value| text("joiner", &value))?;
            Ok(callable(Callable::Joiner(separator, Cell::new(true))))
        }
        Function::Cycler if args.positional.is_empty() => failed("`cycler` needs items"),
        Function::Cycler => Ok(callable(Callable::Cycler(Value::list(args.positional)?, Cell::new(0)))),
    }
}

fn range(args: Arguments) -> Result<Value, Fault> {
    let [first, second, step] = args.bind("range", ["start", "stop", "step"])?;
    let number = |value: Option<Value>| match value {
        Some(Value::None) => failed("`range` needs whole numbers"),
        value => whole("range", value.as_ref()),
    };
    let first = required("range", "stop", number(first)?.map(Value::Int))?.as_int().unwrap_or(0);
    let (start, end) = number(second)?.map_or((0, first), |end| (first, end));
    let step = number(step)?.unwrap_or(1);
    if step == 0 {
        return failed("`range` needs a step other than 0");
    }
    let distance = if step > 0 { end.saturating_sub(start) } else { start.saturating_sub(end) };
    let len = if distance > 0 { (distance - 1) / step.saturating_abs() + 1 } else { 0 };
    match usize::try_from(len).ok().filter(|len| *len <= MAX_RANGE) {
        Some(len) => Ok(Value::Range(Span { start, end, step, len })),
        None => failed(format!("`range` has more than {MAX_RANGE} numbers")),
    }
}

/// The entries of mappings and pairs, followed by the named arguments.
fn entries(what: &str, args: Arguments) -> Result<Vec<(Value, Value)>, Fault> {
    let mut entries = Vec::new();
    for given in args.positional {
        match &given {
            Value::Map(map) => entries.extend(map.entries.iter().cloned()),
            other => {
                for pair in other.items()? {
                    let Ok([key, value]) = <[Value; 2]>::try_from(pair.items()?) else {
                        return failed(format!("`{what}` needs a mapping or pairs, not {}", type_name(other)));
                    };
                    entries.push((key, value));
                }
            }
        }
    }
    entries.extend(args.named.into_iter().map(|(name, value)| (Value::own(&name), value)));
    Ok(entries)
}

fn namespace(run: &mut Run, args: Arguments) -> Result<Value, Fault> {
    run.take_items(1)?;
    let mut fields: Vec<(Name, Value)> = Vec::new();
    for (key, value) in entries("namespace", args)? {
        super::run::set(&mut fields, &text_of(&key), value);
    }
    run.namespaces.push(fields);
    Ok(Value::Namespace(run.namespaces.len() - 1))
}
