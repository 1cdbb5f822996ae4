//! The tests of Jinja2: `value is name(args)`.

use std::rc::Rc;

use super::arguments::{Arguments, required};
use super::display::{text_of, type_name};
use super::run::Run;
use super::syntax::{Comparison, Operator};
use super::value::Value;
use super::{Fault, failed, filters, ops, python};

const NAMES: [&str; 39] = [
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "==",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    ">=",
    "gt",
    "greaterthan",
    ">",
    "in",
    "integer",
    "iterable",
    "le",
    "<=",
    "lower",
    "lt",
    "lessthan",
    "<",
    "mapping",
    "ne",
    "!=",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

pub(super) fn check(run: &mut Run, name: &str, value: &Value, args: Arguments) -> Result<bool, Fault> {
    run.take_step()?;
    let comparison = match name {
        "eq" | "equalto" | "==" => Some(Comparison::Equal),
        "ne" | "!=" => Some(Comparison::NotEqual),
        "ge" | ">=" => Some(Comparison::GreaterOrEqual),
        "gt" | "greaterthan" | ">" => Some(Comparison::Greater),
        "le" | "<=" => Some(Comparison::LessOrEqual),
        "lt" | "lessthan" | "<" => Some(Comparison::Less),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let [other] = args.bind(name, ["other"])?;
        return ops::compare(comparison, value, &required(name, "other", other)?);
    }
    match name {
        "divisibleby" => {
            let divisor = args.one(name, "num")?;
            match (value.as_int(), divisor.as_int()) {
                (Some(number), Some(divisor)) if divisor != 0 => Ok(number.wrapping_rem(divisor) == 0),
                _ => ops::arithmetic(Operator::Remainder, value, &divisor).map(|rest| !rest.is_true()),
            }
        }
        "sameas" => Ok(is_same(value, &args.one(name, "other")?)),
        _ => {
            args.none(name)?;
            plain(name, value)
        }
    }
}

/// Tests without arguments.
fn plain(name: &str, value: &Value) -> Result<bool, Fault> {
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Text(_)),
        "mapping" => matches!(value, Value::Map(_)),
        // In Jinja2, a sequence is a value with a length and an index operator.
        "sequence" => matches!(
            value,
            Value::Undefined | Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Map(_) | Value::Range(_)
        ),
        "iterable" => matches!(value, Value::Loop(_) | Value::Iterator(_)) || plain("sequence", value)?,
        "callable" => matches!(value, Value::Callable(_) | Value::Undefined | Value::Loop(_)),
        "escaped" => false,
        "odd" | "even" => {
            let rest = ops::arithmetic(Operator::Remainder, value, &Value::Int(2))?;
            rest.equals(&Value::Int(i128::from(name == "odd")))
        }
        "lower" => python::is_lower(&text_of(value)),
        "upper" => python::is_upper(&text_of(value)),
        "filter" | "test" if matches!(value, Value::List(_) | Value::Map(_)) => {
            return failed(format!("{} is not a name", type_name(value)));
        }
        "filter" => filters::has(&text_of(value)),
        "test" => NAMES.contains(&&*text_of(value)),
        _ => return failed(format!("there is no test `{name}`")),
    })
}

/// Python's `is`, for immutable values.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => return Rc::ptr_eq(left, right),
        (Value::Map(left), Value::Map(right)) => return Rc::ptr_eq(left, right),
        _ => {}
    }
    let is_number = |value: &Value| matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_));
    let is_of_one_kind = std::mem::discriminant(left) == std::mem::discriminant(right);
    left.equals(right) && (is_of_one_kind || !is_number(left))
}
