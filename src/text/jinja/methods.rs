//! The methods of Python's strings, mappings and lists. Methods that change a value fail, as in Jinja2's sandbox.

use super::arguments::{Arguments, flag, required, text, whole};
use super::display::{is_printable, type_name};
use super::python::Side;
use super::run::Run;
use super::text::{Text, Writer};
use super::value::Value;
use super::{Fault, failed, format, python};

const OF_TEXTS: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
    "__len__",
];
const OF_MAPS: [&str; 5] = ["copy", "get", "items", "keys", "values"];
const OF_LISTS: [&str; 3] = ["copy", "count", "index"];
const CHANGING: [&str; 6] = ["append", "extend", "insert", "remove", "sort", "pop"];

/// Whether the value has a method with this name.
pub(super) fn has(value: &Value, name: &str) -> bool {
    match value {
        Value::Text(_) => OF_TEXTS.contains(&name),
        Value::Map(_) => OF_MAPS.contains(&name),
        Value::List(_) => OF_LISTS.contains(&name) || CHANGING.contains(&name),
        Value::Tuple(_) | Value::Range(_) => matches!(name, "count" | "index"),
        Value::Loop(_) => matches!(name, "cycle" | "changed"),
        Value::Callable(callable) => {
            matches!(&**callable, super::calls::Callable::Cycler(..)) && matches!(name, "next" | "reset")
        }
        _ => false,
    }
}

pub(super) fn call(run: &mut Run, value: &Value, name: &str, args: Arguments) -> Result<Value, Fault> {
    match value {
        Value::Text(of) => of_text(run, of, name, args),
        Value::Map(_) => of_map(run, value, name, args),
        Value::Loop(state) if name == "cycle" => state.cycle(&args),
        Value::Loop(state) => Ok(state.changed(&args)),
        Value::Callable(callable) => of_cycler(callable, name),
        _ if CHANGING.contains(&name) => failed(format!("`{name}` would change {}", type_name(value))),
        _ => of_list(value, name, args),
    }
}

fn of_cycler(callable: &super::calls::Callable, name: &str) -> Result<Value, Fault> {
    let super::calls::Callable::Cycler(items, place) = callable else { return failed("it has no methods") };
    let at = place.get();
    place.set(if name == "reset" { 0 } else { (at + 1) % items.len()? });
    Ok(if name == "reset" { Value::None } else { items.at(at as i128).unwrap_or(Value::Undefined) })
}

fn of_map(run: &mut Run, value: &Value, name: &str, args: Arguments) -> Result<Value, Fault> {
    let Value::Map(map) = value else { return failed("it is not a mapping") };
    if name == "get" {
        let [key, default] = args.bind(name, ["key", "default"])?;
        let found = map.get(&required(name, "key", key)?).cloned();
        return Ok(found.or(default).unwrap_or(Value::None));
    }
    args.none(name)?;
    run.take_items(map.entries.len())?;
    match name {
        "keys" => Value::list(map.entries.iter().map(|(key, _)| key.clone()).collect()),
        "values" => Value::list(map.entries.iter().map(|(_, value)| value.clone()).collect()),
        "items" => {
            let pairs = map.entries.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]));
            Value::list(pairs.collect::<Result<_, _>>()?)
        }
        _ => Ok(value.clone()),
    }
}

fn of_list(value: &Value, name: &str, args: Arguments) -> Result<Value, Fault> {
    if name == "copy" {
        return args.none(name).map(|()| value.clone());
    }
    let item = args.one(name, "value")?;
    let items = value.items()?;
    if name == "count" {
        return Ok(Value::int(items.iter().filter(|other| other.equals(&item)).count()));
    }
    items
        .iter()
        .position(|other| other.equals(&item))
        .map_or_else(|| failed("the item is not in the list"), |place| Ok(Value::int(place)))
}

fn of_text(run: &mut Run, of: &Text, name: &str, args: Arguments) -> Result<Value, Fault> {
    run.take_bytes(of.len() / 8)?;
    match name {
        "split" | "rsplit" => split(run, of, name, args),
        "splitlines" => {
            let [keeps] = args.bind(name, ["keepends"])?;
            parts(run, of, python::lines(of, flag(keeps.as_ref(), false)))
        }
        "partition" | "rpartition" => partition(of, name, args),
        "find" | "index" | "rfind" | "rindex" | "count" => search(of, name, args),
        "startswith" | "endswith" => ends(of, name, args),
        "join" => join(run, of, args),
        "format" => format::braces(run, of, &args).map(Value::Text),
        "strip" | "lstrip" | "rstrip" | "replace" | "removeprefix" | "removesuffix" | "center" | "ljust" | "rjust"
        | "zfill" | "expandtabs" => changed(run, of, name, args).map(Value::Text),
        "__len__" => args.none(name).map(|()| Value::int(of.chars().count())),
        _ => {
            args.none(name)?;
            plain(of, name)
        }
    }
}

/// Methods without arguments.
fn plain(of: &Text, name: &str) -> Result<Value, Fault> {
    let all = |is: fn(char) -> bool| Ok(Value::Bool(!of.is_empty() && of.chars().all(is)));
    let derived = |text: &str| Ok(Value::Text(of.derived(text)));
    match name {
        "upper" => derived(&of.to_uppercase()),
        "lower" => derived(&of.to_lowercase()),
        "casefold" => derived(&of.to_lowercase().replace('ß', "ss")),
        "title" => derived(&python::title(of)),
        "capitalize" => derived(&python::capitalized(of)),
        "swapcase" => derived(&python::swapped(of)),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => Ok(Value::Bool(of.is_ascii())),
        "isdecimal" => all(python::is_decimal),
        "isdigit" => all(python::is_digit),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(python::is_space),
        "isprintable" => Ok(Value::Bool(of.chars().all(is_printable))),
        "islower" => Ok(Value::Bool(python::is_lower(of))),
        "isupper" => Ok(Value::Bool(python::is_upper(of))),
        "istitle" => Ok(Value::Bool(python::is_title(of))),
        _ => {
            let is_start = |c: char| c == '_' || c.is_alphabetic();
            let is_identifier = of.starts_with(is_start) && of.chars().all(|c| c == '_' || c.is_alphanumeric());
            Ok(Value::Bool(is_identifier))
        }
    }
}

/// Methods that return a part of the text, or the text with padding.
fn changed(run: &mut Run, of: &Text, name: &str, args: Arguments) -> Result<Text, Fault> {
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [set] = args.bind(name, ["chars"])?;
            let set = match set {
                None | Some(Value::None) => None,
                Some(set) => Some(text(name, &set)?),
            };
            let is_in = |c: char| set.as_ref().map_or_else(|| python::is_space(c), |set| set.contains(c));
            let mut part: &str = of;
            part = if name == "rstrip" { part } else { part.trim_start_matches(is_in) };
            part = if name == "lstrip" { part } else { part.trim_end_matches(is_in) };
            Ok(of.part(part))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let old = text(name, &required(name, "old", old)?)?;
            let new = text(name, &required(name, "new", new)?)?;
            python::replaced(run, of, [&old, &new], whole(name, count.as_ref())?)
        }
        "removeprefix" | "removesuffix" => {
            let end = text(name, &args.one(name, "text")?)?;
            let part = if name == "removeprefix" { of.strip_prefix(&*end) } else { of.strip_suffix(&*end) };
            Ok(of.part(part.unwrap_or(of)))
        }
        "zfill" => zfill(run, of, args),
        "expandtabs" => expandtabs(run, of, args),
        _ => {
            let [width, fill] = args.bind(name, ["width", "fillchar"])?;
            let width = whole(name, Some(&required(name, "width", width)?))?.unwrap_or(0);
            let fill = fill.map(|fill| text(name, &fill)).transpose()?;
            let fill = fill.and_then(|fill| fill.chars().next()).unwrap_or(' ');
            let side = match name {
                "ljust" => Side::Right,
                "rjust" => Side::Left,
                _ => Side::Both,
            };
            python::filled(run, of, width, (side, fill))
        }
    }
}

/// Pads with zeros between the sign and the digits.
fn zfill(run: &mut Run, of: &Text, args: Arguments) -> Result<Text, Fault> {
    let width = whole("zfill", Some(&args.one("zfill", "width")?))?.unwrap_or(0);
    let sign = usize::from(of.starts_with(['+', '-']));
    let digits = python::filled(run, &of.part(&of[sign..]), width - sign as i128, (Side::Left, '0'))?;
    let mut out = Writer::default();
    out.push(&of.part(&of[..sign]));
    out.push(&digits);
    Ok(out.finish())
}

fn expandtabs(run: &mut Run, of: &Text, args: Arguments) -> Result<Text, Fault> {
    let [size] = args.bind("expandtabs", ["tabsize"])?;
    let size = usize::try_from(whole("expandtabs", size.as_ref())?.unwrap_or(8)).unwrap_or(0).min(64);
    run.take_bytes(of.len().saturating_mul(size.max(1)))?;
    let mut out = Writer::default();
    let mut column = 0;
    for (at, c) in of.char_indices() {
        if c == '\t' {
            let spaces = if size == 0 { 0 } else { size - column % size };
            out.push_own(&" ".repeat(spaces));
            column += spaces;
            continue;
        }
        column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
        out.push(&of.part(&of[at..at + c.len_utf8()]));
    }
    Ok(out.finish())
}

fn parts<'a>(run: &mut Run, of: &Text, slices: impl IntoIterator<Item = &'a str>) -> Result<Value, Fault> {
    let parts: Vec<Value> = slices.into_iter().map(|slice| Value::Text(of.part(slice))).collect();
    run.take_items(parts.len())?;
    Value::list(parts)
}

fn split(run: &mut Run, of: &Text, name: &str, args: Arguments) -> Result<Value, Fault> {
    let [separator, limit] = args.bind(name, ["sep", "maxsplit"])?;
    let limit = whole(name, limit.as_ref())?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let separator = match separator {
        None | Some(Value::None) => {
            let words = if name == "split" { python::words(of, limit) } else { python::last_words(of, limit) };
            return parts(run, of, words);
        }
        Some(separator) => text(name, &separator)?,
    };
    if separator.is_empty() {
        return failed(format!("`{name}` needs a separator that is not empty"));
    }
    let num_parts = limit.saturating_add(1);
    if name == "split" {
        return parts(run, of, of.splitn(num_parts, &*separator));
    }
    let mut from_end: Vec<_> = of.rsplitn(num_parts, &*separator).collect();
    from_end.reverse();
    parts(run, of, from_end)
}

fn partition(of: &Text, name: &str, args: Arguments) -> Result<Value, Fault> {
    let separator = text(name, &args.one(name, "sep")?)?;
    let is_first = name == "partition";
    let place = if is_first { of.find(&*separator) } else { of.rfind(&*separator) };
    let slices = match place {
        Some(at) => [&of[..at], &of[at..at + separator.len()], &of[at + separator.len()..]],
        None if is_first => [&of[..], "", ""],
        None => ["", "", &of[..]],
    };
    let part = |slice: &str| Value::Text(if slice.is_empty() { Text::own("") } else { of.part(slice) });
    Value::tuple(slices.map(part).into())
}

/// The position or the number of occurrences of a text, within optional bounds.
fn search(of: &Text, name: &str, args: Arguments) -> Result<Value, Fault> {
    let [what, start, end] = args.bind(name, ["sub", "start", "end"])?;
    let what = text(name, &required(name, "sub", what)?)?;
    let cut = cut(of, whole(name, start.as_ref())?, whole(name, end.as_ref())?);
    if name == "count" {
        let count = cut.map_or(0, |(_, part)| match &*what {
            "" => part.chars().count() + 1,
            what => part.matches(what).count(),
        });
        return Ok(Value::int(count));
    }
    let place = cut.and_then(|(before, part)| {
        let at = if name.starts_with('r') { part.rfind(&*what) } else { part.find(&*what) };
        at.map(|at| before + part[..at].chars().count())
    });
    match place {
        Some(place) => Ok(Value::int(place)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => failed("the text is not in the other"),
    }
}

/// Whether the text starts or ends with a text, or with one of several.
fn ends(of: &Text, name: &str, args: Arguments) -> Result<Value, Fault> {
    let [given, start, end] = args.bind(name, ["prefix", "start", "end"])?;
    let given = required(name, "prefix", given)?;
    let part = cut(of, whole(name, start.as_ref())?, whole(name, end.as_ref())?).map(|(_, part)| part);
    let all = if let Value::Tuple(list) = &given { list.items.clone() } else { vec![given] };
    let mut is_any = false;
    for end in &all {
        let end = text(name, end)?;
        let has = |part: &str| if name == "startswith" { part.starts_with(&*end) } else { part.ends_with(&*end) };
        is_any |= part.is_some_and(has);
    }
    Ok(Value::Bool(is_any))
}

/// `text[start:end]` and the number of characters before it; `None` if `start` is after `end`.
fn cut(of: &str, start: Option<i128>, end: Option<i128>) -> Option<(usize, &str)> {
    if start.is_none() && end.is_none() {
        return Some((0, of));
    }
    let len = of.chars().count();
    let place = |at: i128| {
        let at = if at < 0 { at.saturating_add(len as i128).max(0) } else { at };
        usize::try_from(at).unwrap_or(usize::MAX)
    };
    let (start, end) = (start.map_or(0, place), end.map_or(len, place).min(len));
    let byte = |at: usize| of.char_indices().nth(at).map_or(of.len(), |(byte, _)| byte);
    (start <= end).then(|| (start, &of[byte(start)..byte(end)]))
}

fn join(run: &mut Run, of: &Text, args: Arguments) -> Result<Value, Fault> {
    let mut out = Writer::default();
    for (index, item) in args.one("join", "iterable")?.items()?.iter().enumerate() {
        let before = out.len();
        if index > 0 {
            out.push(of);
        }
        out.push(&text("join", item)?);
        run.take_growth(before, out.len())?;
    }
    Ok(Value::Text(out.finish()))
}
