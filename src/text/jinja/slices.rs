//! `value[start:end:step]`

use super::arguments::whole;
use super::run::Run;
use super::text::Writer;
use super::value::{Value, chars};
use super::{Fault, failed};

pub(crate) fn slice(run: &mut Run, value: &Value, parts: &[Option<Value>; 3]) -> Result<Value, Fault> {
    let [start, end, step] = parts;
    let bounds = [whole("[:]", start.as_ref())?, whole("[:]", end.as_ref())?];
    let step = whole("[:]", step.as_ref())?.unwrap_or(1);
    if step == 0 {
        return failed("a slice needs a step other than 0");
    }
    match value {
        Value::Text(text) if step == 1 => {
            let (start, end) = limits(text.chars().count(), bounds, 1);
            let byte = |at: i128| {
                let place = usize::try_from(at).unwrap_or(0);
                text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte)
            };
            let (start, end) = (byte(start), byte(end.max(start)));
            run.take_bytes(end - start)?;
            Ok(Value::Text(text.part(&text[start..end])))
        }
        Value::Text(text) => {
            let all: Vec<_> = chars(text).collect();
            run.take_items(all.len())?;
            let mut out = Writer::default();
            for place in places(all.len(), bounds, step) {
                out.push(&all[place]);
            }
            Ok(Value::Text(out.finish()))
        }
        Value::List(list) | Value::Tuple(list) => {
            let places = places(list.items.len(), bounds, step);
            run.take_items(places.len())?;
            let items = places.into_iter().map(|place| list.items[place].clone()).collect();
            if matches!(value, Value::List(_)) { Value::list(items) } else { Value::tuple(items) }
        }
        Value::Range(span) => Value::list(places(span.len, bounds, step).into_iter().map(|at| span.get(at)).collect()),
        Value::Undefined => failed("an undefined value has no slices"),
        _ => Ok(Value::Undefined),
    }
}

/// The first index of a slice, and the index after the last.
fn limits(len: usize, [start, end]: [Option<i128>; 2], step: i128) -> (i128, i128) {
    let len = len as i128;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |at: i128| (if at < 0 { at.saturating_add(len) } else { at }).clamp(low, high);
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    (start.map_or(first, bound), end.map_or(last, bound))
}

/// The indices of a slice of a sequence with `len` items.
fn places(len: usize, bounds: [Option<i128>; 2], step: i128) -> Vec<usize> {
    let (mut at, end) = limits(len, bounds, step);
    let mut places = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        places.extend(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    places
}
