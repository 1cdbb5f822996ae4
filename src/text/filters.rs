//! Filters that Jinja2 has and templates use, where minijinja's own do otherwise; and `tojson` as `transformers` has it.

#![expect(clippy::needless_pass_by_value, reason = "arguments of filters are owned")]

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::{json, python};

/// An indentation beyond this is nobody's layout, only a way to fill memory.
const MAX_INDENT: usize = 64;

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", trim);
    environment.add_filter("replace", replace);
    environment.add_filter("indent", indent);
    environment.add_filter("items", items);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_test("sequence", is_sequence);
}

/// `tojson(ensure_ascii, indent, separators, sort_keys)`.
fn tojson(value: &Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut args = args.0.into_iter();
    let mut next = |name: &str| args.next().map_or_else(|| named.get::<Option<Value>>(name), |value| Ok(Some(value)));
    let [is_ascii, indent, separators, sorts] =
        [next("ensure_ascii")?, next("indent")?, next("separators")?, next("sort_keys")?];
    if args.next().is_some() {
        return Err(ErrorKind::TooManyArguments.into());
    }
    named.assert_all_used()?;
    let style = json::Style {
        indent: indent.filter(|indent| !indent.is_none()).map(|indent| indentation(&indent)).transpose()?,
        separators: separators.filter(|pair| !pair.is_none()).map(|pair| separators_of(&pair)).transpose()?,
        is_ascii: is_ascii.is_some_and(|value| value.is_true()),
        has_sorted_keys: sorts.is_some_and(|value| value.is_true()),
    };
    json::write(value, &style).map(Value::from)
}

fn separators_of(pair: &Value) -> Result<[String; 2], Error> {
    let texts: Option<Vec<String>> = pair.try_iter()?.map(|text| text.as_str().map(str::to_owned)).collect();
    texts.and_then(|texts| texts.try_into().ok()).ok_or_else(|| failed("separators are two texts"))
}

/// A number of spaces, or a text.
fn indentation(value: &Value) -> Result<String, Error> {
    let spaces = || value.as_usize().map(|width| " ".repeat(width.min(MAX_INDENT + 1)));
    let text = value.as_str().map(str::to_owned).or_else(spaces);
    let text = text.ok_or_else(|| failed("an indentation is a number of spaces, or a text"))?;
    if text.len() > MAX_INDENT { Err(failed("the indentation is too wide")) } else { Ok(text) }
}

fn trim(value: &str, set: Option<&str>) -> String {
    let trimmed = set.map(|set| value.trim_matches(&set.chars().collect::<Vec<_>>()[..]));
    trimmed.unwrap_or_else(|| python::strip(value)).to_owned()
}

fn replace(value: &str, from: &str, to: &str, count: Option<i64>) -> String {
    match count.and_then(|count| usize::try_from(count).ok()) {
        Some(count) => value.replacen(from, to, count),
        None => value.replace(from, to),
    }
}

/// `indent(width, first, blank)`; blank lines stay blank unless asked otherwise.
fn indent(
    value: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.or(named.get("width")?).map_or(Ok(" ".repeat(4)), |width| indentation(&width))?;
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = blank.or(named.get("blank")?).unwrap_or(false);
    named.assert_all_used()?;
    // The line break that is added makes a last empty line count.
    let text = format!("{value}\n");
    let mut out = String::with_capacity(text.len());
    for (index, line) in python::lines(&text, false).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&width);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn items(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() { Ok(Value::from(Vec::<Value>::new())) } else { filters::items(value) }
}

/// What is no number becomes the default.
fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    named: Kwargs,
) -> Result<Value, Error> {
    let default = default.or(named.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(named.get("base")?);
    named.assert_all_used()?;
    Ok(filters::int(state, value, None, base, unnamed()).unwrap_or(default))
}

fn float(state: &State<'_, '_>, value: &Value, default: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let default = default.or(named.get("default")?).unwrap_or_else(|| Value::from(0.0));
    named.assert_all_used()?;
    Ok(filters::float(state, value, None, unnamed()).unwrap_or(default))
}

fn unnamed() -> Kwargs {
    std::iter::empty::<(&str, Value)>().collect()
}

/// Whatever has a length and can be indexed, in Jinja2.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

fn failed(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.to_owned())
}
