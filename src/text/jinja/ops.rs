//! Operators, with Python's arithmetic: division rounds down, and booleans are 0 and 1.

use super::display::type_name;
use super::run::Run;
use super::syntax::{Comparison, Operator};
use super::text::Writer;
use super::value::Value;
use super::{Fault, failed, format};

/// `left operator right`
pub(crate) fn binary(run: &mut Run, operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    match (operator, left, right) {
        (Operator::Add, Value::Text(first), Value::Text(second)) => {
            run.take_bytes(first.len() + second.len())?;
            let mut out = Writer::default();
            out.push(first);
            out.push(second);
            Ok(Value::Text(out.finish()))
        }
        (Operator::Add, Value::List(first), Value::List(second)) => {
            run.take_items(first.items.len() + second.items.len())?;
            Value::list([&first.items[..], &second.items[..]].concat())
        }
        (Operator::Add, Value::Tuple(first), Value::Tuple(second)) => {
            run.take_items(first.items.len() + second.items.len())?;
            Value::tuple([&first.items[..], &second.items[..]].concat())
        }
        (Operator::Remainder, Value::Text(pattern), values) => format::percent(run, pattern, values).map(Value::Text),
        (Operator::Multiply, ..) => multiply(run, left, right),
        _ => arithmetic(operator, left, right),
    }
}

fn multiply(run: &mut Run, left: &Value, right: &Value) -> Result<Value, Fault> {
    let (repeated, count) = match (left, right) {
        (Value::Text(_) | Value::List(_) | Value::Tuple(_), count) => (left, count.as_int()),
        (count, Value::Text(_) | Value::List(_) | Value::Tuple(_)) => (right, count.as_int()),
        _ => return arithmetic(Operator::Multiply, left, right),
    };
    let Some(count) = count else { return unsupported(Operator::Multiply, left, right) };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match repeated {
        Value::Text(text) => {
            run.take_bytes(text.len().saturating_mul(count))?;
            let mut out = Writer::default();
            for _ in 0..if text.is_empty() { 0 } else { count } {
                out.push(text);
            }
            Ok(Value::Text(out.finish()))
        }
        Value::List(list) | Value::Tuple(list) => {
            run.take_items(list.items.len().saturating_mul(count))?;
            let all = list.items.iter().cycle().take(list.items.len().saturating_mul(count));
            let items: Vec<Value> = all.cloned().collect();
            if matches!(repeated, Value::List(_)) { Value::list(items) } else { Value::tuple(items) }
        }
        _ => unsupported(Operator::Multiply, left, right),
    }
}

/// Applies an operator to two numbers.
pub(crate) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    if let (Some(first), Some(second)) = (left.as_int(), right.as_int()) {
        return whole(operator, first, second);
    }
    let (Some(first), Some(second)) = (left.as_float(), right.as_float()) else {
        return unsupported(operator, left, right);
    };
    let divides = matches!(operator, Operator::Divide | Operator::DivideWhole | Operator::Remainder);
    if second == 0.0 && divides {
        return failed("it divides by zero");
    }
    Ok(Value::Float(match operator {
        Operator::Add => first + second,
        Operator::Subtract => first - second,
        Operator::Multiply => first * second,
        Operator::Divide => first / second,
        Operator::DivideWhole => (first / second).floor(),
        Operator::Remainder => {
            let rest = first % second;
            if rest != 0.0 && (rest < 0.0) != (second < 0.0) { rest + second } else { rest }
        }
        Operator::Power => first.powf(second),
    }))
}

fn whole(operator: Operator, first: i128, second: i128) -> Result<Value, Fault> {
    let number = match operator {
        Operator::Divide | Operator::DivideWhole | Operator::Remainder if second == 0 => {
            return failed("it divides by zero");
        }
        Operator::Divide => return Ok(Value::Float(first as f64 / second as f64)),
        Operator::Add => first.checked_add(second),
        Operator::Subtract => first.checked_sub(second),
        Operator::Multiply => first.checked_mul(second),
        Operator::DivideWhole => first.checked_div_euclid(second).map(|quotient| floored(first, second, quotient)),
        Operator::Remainder => first
            .checked_rem(second)
            .map(|rest| if rest != 0 && (rest < 0) != (second < 0) { rest + second } else { rest }),
        Operator::Power if second < 0 && first == 0 => return failed("it divides by zero"),
        #[expect(clippy::cast_possible_truncation, reason = "a power so small is 0 either way")]
        Operator::Power if second < 0 => return Ok(Value::Float((first as f64).powi(second.max(-9999) as i32))),
        Operator::Power => u32::try_from(second).ok().and_then(|exponent| first.checked_pow(exponent)),
    };
    number.map_or_else(|| failed("a number is too large"), |number| Ok(Value::Int(number)))
}

/// Python rounds a quotient towards minus infinity; `div_euclid` rounds it so that the remainder is not negative.
fn floored(first: i128, second: i128, quotient: i128) -> i128 {
    let is_exact = first.wrapping_rem(second) == 0;
    if second < 0 && !is_exact { quotient - 1 } else { quotient }
}

fn unsupported<T>(operator: Operator, left: &Value, right: &Value) -> Result<T, Fault> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::DivideWhole => "//",
        Operator::Remainder => "%",
        Operator::Power => "**",
    };
    failed(format!("`{sign}` does not support {} and {}", type_name(left), type_name(right)))
}

/// `left comparison right`
pub(crate) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool, Fault> {
    match comparison {
        Comparison::Equal => Ok(left.equals(right)),
        Comparison::NotEqual => Ok(!left.equals(right)),
        Comparison::Less => left.order(right).map(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => left.order(right).map(std::cmp::Ordering::is_le),
        Comparison::Greater => left.order(right).map(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => left.order(right).map(std::cmp::Ordering::is_ge),
        Comparison::In => right.contains(left),
        Comparison::NotIn => right.contains(left).map(|is_in| !is_in),
    }
}

pub(crate) fn minus(value: &Value) -> Result<Value, Fault> {
    match (value.as_int(), value.as_float()) {
        (Some(number), _) => {
            number.checked_neg().map_or_else(|| failed("a number is too large"), |number| Ok(Value::Int(number)))
        }
        (None, Some(number)) => Ok(Value::Float(-number)),
        (None, None) => failed(format!("`-` does not support {}", type_name(value))),
    }
}

pub(crate) fn plus(value: &Value) -> Result<Value, Fault> {
    match (value.as_int(), value.as_float()) {
        (Some(number), _) => Ok(Value::Int(number)),
        (None, Some(number)) => Ok(Value::Float(number)),
        (None, None) => failed(format!("`+` does not support {}", type_name(value))),
    }
}
