//! The filters of Jinja2 in the set-up of `transformers`. Filters of texts convert other values to text first; an
//! undefined value becomes the empty text.

mod lists;
mod numbers;
mod select;
mod texts;

use super::arguments::{Arguments, flag};
use super::display::{text_of, type_name, write_repr};
use super::run::Run;
use super::text::{Text, Writer};
use super::value::Value;
use super::{Fault, failed, format, json};

/// Names of all filters.
const NAMES: [&str; 51] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
];

/// Whether a filter with this name exists.
pub(super) fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `value | name(args)`
pub(super) fn apply(run: &mut Run, name: &str, value: Value, args: Arguments) -> Result<Value, Fault> {
    match name {
        "batch" | "slice" | "dictsort" | "first" | "groupby" | "items" | "join" | "last" | "list" | "max" | "min"
        | "reverse" | "sort" | "sum" | "unique" => lists::apply(run, name, &value, args),
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => select::apply(run, name, &value, args),
        "abs" | "filesizeformat" | "float" | "int" | "round" => numbers::apply(name, &value, args),
        "count" | "length" => {
            args.none(name)?;
            value.len().map(Value::int)
        }
        "d" | "default" => default(value, args),
        "attr" => attr(&value, args),
        "tojson" => tojson(run, &value, args),
        "pprint" => {
            args.none(name)?;
            let mut out = Writer::default();
            write_repr(&mut out, &value);
            Ok(Value::Text(out.finish()))
        }
        "format" => {
            let pattern = text_of(&value);
            let values = if args.named.is_empty() {
                Value::tuple(args.positional)?
            } else {
                Value::map(args.named.into_iter().map(|(name, value)| (Value::own(&name), value)).collect())?
            };
            format::percent(run, &pattern, &values).map(Value::Text)
        }
        name if has(name) => texts::apply(run, name, &value, args),
        _ => failed(format!("there is no filter `{name}`")),
    }
}

/// Replaces an undefined value, or with `boolean` any false value.
fn default(value: Value, args: Arguments) -> Result<Value, Fault> {
    let [instead, any] = args.bind("default", ["default_value", "boolean"])?;
    let is_absent = value.is_undefined() || (flag(any.as_ref(), false) && !value.is_true());
    Ok(if is_absent { instead.unwrap_or_else(|| Value::own("")) } else { value })
}

/// An attribute and never an item. Values have no attributes besides their methods.
fn attr(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let name = text_of(&args.one("attr", "name")?);
    match value {
        Value::Undefined => failed(format!("an undefined value has no attribute `{}`", &*name)),
        Value::Loop(state) => Ok(state.attribute(&name).unwrap_or(Value::Undefined)),
        _ => Ok(Value::Undefined),
    }
}

/// Escapes the special characters of HTML.
pub(super) fn escape(value: &Value) -> Value {
    let text = text_of(value);
    let mut out = Writer::default();
    for (at, c) in text.char_indices() {
        match c {
            '&' => out.push_derived(&text, "&amp;"),
            '<' => out.push_derived(&text, "&lt;"),
            '>' => out.push_derived(&text, "&gt;"),
            '\'' => out.push_derived(&text, "&#39;"),
            '"' => out.push_derived(&text, "&#34;"),
            c => out.push(&text.part(&text[at..at + c.len_utf8()])),
        }
    }
    Value::Text(out.finish())
}

/// `tojson(ensure_ascii, indent, separators, sort_keys)`
fn tojson(run: &mut Run, value: &Value, args: Arguments) -> Result<Value, Fault> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [is_ascii, indent, separators, sorts] = args.bind("tojson", names)?;
    let present = |value: Option<Value>| value.filter(|value| !matches!(value, Value::None));
    let style = json::Style {
        indent: present(indent).map(|indent| texts::indentation(&indent)).transpose()?,
        separators: present(separators).map(|pair| separators_of(&pair)).transpose()?,
        is_ascii: flag(is_ascii.as_ref(), false),
        has_sorted_keys: flag(sorts.as_ref(), false),
    };
    json::write(run, value, &style).map(Value::Text)
}

fn separators_of(pair: &Value) -> Result<[Text; 2], Fault> {
    match <[Value; 2]>::try_from(pair.items()?) {
        Ok([Value::Text(item), Value::Text(key)]) => Ok([item, key]),
        _ => failed(format!("`tojson` needs two texts as separators, not {}", type_name(pair))),
    }
}

/// An attribute path of a filter: an index, or names separated by dots.
fn attribute(run: &Run, value: &Value, path: &Value) -> Result<Value, Fault> {
    let Value::Text(path) = path else { return run.item(value, path) };
    path.split('.').try_fold(value.clone(), |value, name| {
        let key = name.parse().map_or_else(|_| Value::Text(path.part(name)), Value::Int);
        run.item(&value, &key)
    })
}
