//! Filters of lists.

use std::cmp::Ordering;

use super::super::arguments::{Arguments, flag, required, whole};
use super::super::display::{text_of, type_name, write_text};
use super::super::ops;
use super::super::run::Run;
use super::super::syntax::Operator;
use super::super::text::{Text, Writer};
use super::super::value::{Value, chars};
use super::super::{Fault, failed};
use super::attribute;

pub(super) fn apply(run: &mut Run, name: &str, value: &Value, args: Arguments) -> Result<Value, Fault> {
    run.take_items(value.len().unwrap_or(0))?;
    match name {
        "batch" => batch(value, args),
        "slice" => slice(value, args),
        "dictsort" => dictsort(value, args),
        "first" | "last" => {
            args.none(name)?;
            let mut items = value.items()?.into_iter();
            Ok(if name == "first" { items.next() } else { items.next_back() }.unwrap_or(Value::Undefined))
        }
        "groupby" => groupby(run, value, args),
        "items" => {
            args.none(name)?;
            items(value)
        }
        "join" => join(run, value, args),
        "list" => {
            args.none(name)?;
            Value::list(value.items()?)
        }
        "min" | "max" => extreme(run, value, args, name == "max"),
        "reverse" => {
            args.none(name)?;
            reverse(value)
        }
        "sort" => sort(run, value, args),
        "sum" => sum(run, value, args),
        _ => unique(run, value, args),
    }
}

/// The size or number of parts; at least 1.
fn num_items(what: &str, value: Option<Value>) -> Result<usize, Fault> {
    let value = required(what, "count", value)?;
    let number = whole(what, Some(&value))?.and_then(|number| usize::try_from(number).ok());
    match number {
        Some(number) if number > 0 => Ok(number),
        _ => failed(format!("`{what}` needs a number above 0, not {}", type_name(&value))),
    }
}

fn batch(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [count, filler] = args.bind("batch", ["linecount", "fill_with"])?;
    let count = num_items("batch", count)?;
    let items = value.items()?;
    let mut batches = Vec::new();
    for batch in items.chunks(count) {
        let mut batch = batch.to_vec();
        if let Some(filler) = filler.as_ref().filter(|filler| !matches!(filler, Value::None)) {
            // At most 1000 fillers, or as many as the list has items, so that a huge `linecount` does not exhaust the memory.
            let missing = (count - batch.len()).min(items.len().max(1_000));
            batch.extend(std::iter::repeat_n(filler.clone(), missing));
        }
        batches.push(Value::list(batch)?);
    }
    Value::iterator(batches)
}

fn slice(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [count, filler] = args.bind("slice", ["slices", "fill_with"])?;
    let count = num_items("slice", count)?;
    if count > 100_000 {
        return failed("`slice` has too many parts");
    }
    let items = value.items()?;
    let (each, more) = (items.len() / count, items.len() % count);
    let mut parts = Vec::new();
    let mut start = 0;
    for index in 0..count {
        let end = start + each + usize::from(index < more);
        let mut part = items[start..end].to_vec();
        start = end;
        if let Some(filler) = filler.as_ref().filter(|filler| !matches!(filler, Value::None))
            && more > 0
            && index >= more
        {
            part.push(filler.clone());
        }
        parts.push(Value::list(part)?);
    }
    Value::iterator(parts)
}

fn dictsort(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let Value::Map(map) = value else {
        return failed(format!("`dictsort` needs a mapping, not {}", type_name(value)));
    };
    let by_value = by.as_ref().is_some_and(|by| by.equals(&Value::own("value")));
    let is_sensitive = flag(sensitive.as_ref(), false);
    let entries: Vec<_> = map.entries.clone();
    let key = |(key, value): &(Value, Value)| folded(if by_value { value } else { key }, is_sensitive);
    let keyed = entries.into_iter().map(|entry| (key(&entry), entry)).collect();
    let sorted = sorted(keyed, flag(reverse.as_ref(), false))?;
    let pairs = sorted.into_iter().map(|(key, value)| Value::tuple(vec![key, value]));
    Value::list(pairs.collect::<Result<_, _>>()?)
}

fn items(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Undefined => Value::iterator(Vec::new()),
        Value::Map(map) => {
            let pairs = map.entries.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]));
            Value::iterator(pairs.collect::<Result<_, _>>()?)
        }
        other => failed(format!("`items` needs a mapping, not {}", type_name(other))),
    }
}

fn join(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [separator, path] = args.bind("join", ["d", "attribute"])?;
    let separator = separator.map_or_else(|| Text::own(""), |separator| text_of(&separator));
    let mut out = Writer::default();
    for (index, item) in value.items()?.iter().enumerate() {
        let before = out.len();
        if index > 0 {
            out.push(&separator);
        }
        match path.as_ref().filter(|path| !matches!(path, Value::None)) {
            Some(path) => write_text(&mut out, &attribute(run, item, path)?),
            None => write_text(&mut out, item),
        }
        run.take_growth(before, out.len())?;
    }
    Ok(Value::Text(out.finish()))
}

fn reverse(value: &Value) -> Result<Value, Fault> {
    if let Value::Text(text) = value {
        let mut out = Writer::default();
        for c in chars(text).collect::<Vec<_>>().iter().rev() {
            out.push(c);
        }
        return Ok(Value::Text(out.finish()));
    }
    let mut items = value.items()?;
    items.reverse();
    Value::iterator(items)
}

/// The key by which values compare.
fn folded(value: &Value, is_sensitive: bool) -> Value {
    match value {
        Value::Text(text) if !is_sensitive => Value::Text(text.derived(&text.to_lowercase())),
        other => other.clone(),
    }
}

/// Sorts values by their keys. The sort is stable.
fn sorted<T>(mut keyed: Vec<(Value, T)>, is_reversed: bool) -> Result<Vec<T>, Fault> {
    let mut fault = None;
    keyed.sort_by(|(left, _), (right, _)| {
        let order = left.order(right).unwrap_or_else(|error| {
            fault.get_or_insert(error);
            Ordering::Equal
        });
        if is_reversed { order.reverse() } else { order }
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(keyed.into_iter().map(|(_, value)| value).collect()),
    }
}

fn sort(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [reverse, sensitive, path] = args.bind("sort", ["reverse", "case_sensitive", "attribute"])?;
    let is_sensitive = flag(sensitive.as_ref(), false);
    let mut keyed = Vec::new();
    for item in value.items()? {
        keyed.push((sort_key(run, &item, path.as_ref(), is_sensitive)?, item));
    }
    Value::list(sorted(keyed, flag(reverse.as_ref(), false))?)
}

fn sort_key(run: &Run, item: &Value, path: Option<&Value>, is_sensitive: bool) -> Result<Value, Fault> {
    match path {
        None | Some(Value::None) => Ok(folded(item, is_sensitive)),
        Some(Value::Text(paths)) if paths.contains(',') => {
            let keys = paths.split(',').map(|path| attribute(run, item, &Value::Text(paths.part(path))));
            Value::tuple(keys.map(|key| Ok(folded(&key?, is_sensitive))).collect::<Result<_, Fault>>()?)
        }
        Some(path) => Ok(folded(&attribute(run, item, path)?, is_sensitive)),
    }
}

fn groupby(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [path, default, sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let path = required("groupby", "attribute", path)?;
    let is_sensitive = flag(sensitive.as_ref(), false);
    let mut keyed = Vec::new();
    for item in value.items()? {
        let mut key = attribute(run, &item, &path)?;
        if let (Value::Undefined, Some(default)) = (&key, &default) {
            key = default.clone();
        }
        keyed.push((folded(&key, is_sensitive), (key, item)));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((last, items)) if folded(last, is_sensitive).equals(&folded(&key, is_sensitive)) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let groups = groups.into_iter().map(|(key, items)| Value::tuple(vec![key, Value::list(items)?]));
    Value::list(groups.collect::<Result<_, _>>()?)
}

fn extreme(run: &mut Run, value: &Value, args: Arguments, is_max: bool) -> Result<Value, Fault> {
    let [sensitive, path] = args.bind("min and max", ["case_sensitive", "attribute"])?;
    let is_sensitive = flag(sensitive.as_ref(), false);
    let mut best: Option<(Value, Value)> = None;
    for item in value.items()? {
        let key = sort_key(run, &item, path.as_ref(), is_sensitive)?;
        let is_better = match &best {
            Some((best, _)) => key.order(best)? == if is_max { Ordering::Greater } else { Ordering::Less },
            None => true,
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::Undefined, |(_, item)| item))
}

fn sum(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [path, start] = args.bind("sum", ["attribute", "start"])?;
    let mut sum = start.unwrap_or(Value::Int(0));
    for item in value.items()? {
        let item = match &path {
            None | Some(Value::None) => item,
            Some(path) => attribute(run, &item, path)?,
        };
        sum = ops::binary(run, Operator::Add, &sum, &item)?;
    }
    Ok(sum)
}

fn unique(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [sensitive, path] = args.bind("unique", ["case_sensitive", "attribute"])?;
    let is_sensitive = flag(sensitive.as_ref(), false);
    let (mut keys, mut kept): (Vec<(Value, Value)>, _) = (Vec::new(), Vec::new());
    for item in value.items()? {
        let key = sort_key(run, &item, path.as_ref(), is_sensitive)?;
        keys.push((key, Value::None));
        kept.push(item);
    }
    // A mapping keeps the first position of equal keys.
    let Value::Map(map) = Value::map(keys.clone())? else { return Value::iterator(kept) };
    let mut first = Vec::with_capacity(map.entries.len());
    let mut keys = keys.iter().zip(kept);
    for (key, _) in &map.entries {
        first.extend(keys.find(|((other, _), _)| other.equals(key)).map(|(_, item)| item));
    }
    Value::iterator(first)
}
