//! Filters that apply a filter or a test to each item of a list.

use super::super::arguments::Arguments;
use super::super::checks;
use super::super::display::text_of;
use super::super::run::Run;
use super::super::value::Value;
use super::super::{Fault, failed};

pub(super) fn apply(run: &mut Run, name: &str, value: &Value, args: Arguments) -> Result<Value, Fault> {
    run.take_items(value.len().unwrap_or(0))?;
    // A false value has no items, even if it cannot be iterated.
    let items = if value.is_true() { value.items()? } else { Vec::new() };
    match name {
        "map" => map(run, items, args),
        "select" | "reject" => select(run, items, args, [false, name == "reject"]),
        _ => select(run, items, args, [true, name == "rejectattr"]),
    }
}

fn map(run: &mut Run, items: Vec<Value>, mut args: Arguments) -> Result<Value, Fault> {
    let path = args.named.iter().position(|(name, _)| &**name == "attribute").map(|place| args.named.remove(place).1);
    let mut mapped = Vec::with_capacity(items.len());
    if let Some(path) = path {
        let [default] = Arguments { positional: Vec::new(), named: args.named }.bind("map", ["default"])?;
        for item in items {
            run.take_step()?;
            let value = super::attribute(run, &item, &path)?;
            mapped.push(if value.is_undefined() { default.clone().unwrap_or(value) } else { value });
        }
        return Value::iterator(mapped);
    }
    if args.positional.is_empty() {
        return failed("`map` needs the name of a filter, or an `attribute`");
    }
    let filter = text_of(&args.positional.remove(0));
    for item in items {
        run.take_step()?;
        mapped.push(run.deeper(|run| super::apply(run, &filter, item, args.clone()))?);
    }
    Value::iterator(mapped)
}

/// The items that pass a test, or the others. The test sees the whole item or an attribute of it.
fn select(
    run: &mut Run,
    items: Vec<Value>,
    mut args: Arguments,
    [has_path, rejects]: [bool; 2],
) -> Result<Value, Fault> {
    if has_path && args.positional.is_empty() {
        return failed("`selectattr` and `rejectattr` need an attribute");
    }
    let path = has_path.then(|| args.positional.remove(0));
    let test = (!args.positional.is_empty()).then(|| text_of(&args.positional.remove(0)));
    let mut kept = Vec::new();
    for item in items {
        run.take_step()?;
        let seen = match &path {
            Some(path) => super::attribute(run, &item, path)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => checks::check(run, test, &seen, args.clone())?,
            None => seen.is_true(),
        };
        if passes != rejects {
            kept.push(item);
        }
    }
    Value::iterator(kept)
}
