//! Filters of texts.

use std::fmt::Write as _;

use super::super::arguments::{Arguments, flag, required, text, whole};
use super::super::display::{text_of, type_name};
use super::super::run::Run;
use super::super::text::{Text, Writer};
use super::super::value::Value;
use super::super::{Fault, failed, python};

/// The widest indentation, in bytes. Wider ones would only fill the memory.
const MAX_INDENT: usize = 64;

pub(super) fn apply(run: &mut Run, name: &str, value: &Value, args: Arguments) -> Result<Value, Fault> {
    // A value that is not a text fails only in those filters in which it fails in Python.
    let whole_text = text_of(value);
    run.take_bytes(whole_text.len())?;
    let made = match name {
        "indent" => indent(run, value, args)?,
        "trim" => {
            let [set] = args.bind(name, ["chars"])?;
            trim(&whole_text, set.as_ref())?
        }
        "replace" => replace(run, &whole_text, args)?,
        "truncate" => return truncate(value, args),
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let width = whole(name, width.as_ref())?.unwrap_or(80);
            python::padded(run, &whole_text, width, python::Side::Both)?
        }
        "wordwrap" => wordwrap(&text(name, value)?, args)?,
        _ => {
            args.none(name)?;
            return plain(name, value, &whole_text);
        }
    };
    Ok(Value::Text(made))
}

/// Filters without arguments.
fn plain(name: &str, value: &Value, of: &Text) -> Result<Value, Fault> {
    Ok(Value::Text(match name {
        "upper" => of.derived(&of.to_uppercase()),
        "lower" => of.derived(&of.to_lowercase()),
        "capitalize" => of.derived(&python::capitalized(of)),
        "title" => of.derived(&title(of)),
        "escape" | "e" | "forceescape" => return Ok(super::escape(value)),
        "wordcount" => return Ok(Value::int(num_words(of))),
        "striptags" => of.derived(&without_tags(of)),
        "urlencode" => urlencode(value)?,
        // `string` and `safe`
        _ => of.clone(),
    }))
}

fn trim(of: &Text, set: Option<&Value>) -> Result<Text, Fault> {
    match set {
        None | Some(Value::None) => Ok(of.part(python::strip(of))),
        Some(set) => {
            let set: Vec<char> = text("trim", set)?.chars().collect();
            Ok(of.part(of.trim_matches(&set[..])))
        }
    }
}

fn replace(run: &mut Run, of: &Text, args: Arguments) -> Result<Text, Fault> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"])?;
    let old = text_of(&required("replace", "old", old)?);
    let new = text_of(&required("replace", "new", new)?);
    let count = whole("replace", count.as_ref())?;
    python::replaced(run, of, [&old, &new], count)
}

/// An indentation: a number of spaces, or a text.
pub(super) fn indentation(value: &Value) -> Result<Text, Fault> {
    let spaces = |width: i128| " ".repeat(usize::try_from(width).unwrap_or(0).min(MAX_INDENT + 1));
    let text = match (value, value.as_int()) {
        (Value::Text(text), _) => text.clone(),
        (_, Some(width)) => Text::own(&spaces(width)),
        _ => return failed("an indentation is a number of spaces, or a text"),
    };
    if text.len() > MAX_INDENT { failed("the indentation is too wide") } else { Ok(text) }
}

/// `indent(width, first, blank)`. Blank lines are indented only with `blank`.
fn indent(run: &mut Run, value: &Value, args: Arguments) -> Result<Text, Fault> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"])?;
    let width = width.map_or_else(|| Ok(Text::own("    ")), |width| indentation(&width))?;
    let [first, blank] = [flag(first.as_ref(), false), flag(blank.as_ref(), false)];
    let of = text("indent", value)?;
    let mut out = Writer::default();
    let lines = python::lines(&of, true);
    run.take_bytes(of.len() + lines.len().saturating_mul(width.len()))?;
    for (index, line) in lines.iter().enumerate() {
        let (line, end) = python::split_line_end(line);
        if if index == 0 { first } else { blank || !line.is_empty() } {
            out.push(&width);
        }
        out.push(&of.part(line));
        if !end.is_empty() {
            out.push_own("\n");
        }
    }
    // A final line break starts another blank line.
    if lines.last().is_none_or(|line| !python::split_line_end(line).1.is_empty()) && blank && !lines.is_empty() {
        out.push(&width);
    }
    if lines.is_empty() && first {
        out.push(&width);
    }
    Ok(out.finish())
}

/// `truncate(length, killwords, end, leeway)`
fn truncate(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [length, kills, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let number = |value: Option<&Value>, default: i128| {
        whole("truncate", value).map(|number| usize::try_from(number.unwrap_or(default)).unwrap_or(0))
    };
    let (length, leeway) = (number(length.as_ref(), 255)?, number(leeway.as_ref(), 5)?);
    let end = end.map_or_else(|| Text::own("..."), |end| text_of(&end));
    if value.len()? <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let of = text("truncate", value)?;
    let kept = length.saturating_sub(end.chars().count());
    let byte = of.char_indices().nth(kept).map_or(of.len(), |(byte, _)| byte);
    let mut part = &of[..byte];
    if !flag(kills.as_ref(), false) {
        part = part.rsplit_once(' ').map_or(part, |(before, _)| before);
    }
    let mut out = Writer::default();
    out.push(&of.part(part));
    out.push(&end);
    Ok(Value::Text(out.finish()))
}

/// Capitalizes each word. White space, hyphens and opening brackets separate words.
fn title(of: &str) -> String {
    let mut out = String::with_capacity(of.len());
    let mut is_start = true;
    for c in of.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        is_start = python::is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out
}

fn num_words(of: &str) -> usize {
    of.split(|c: char| c != '_' && !c.is_alphanumeric()).filter(|word| !word.is_empty()).count()
}

/// Removes comments and tags, and collapses white space.
fn without_tags(of: &str) -> String {
    let mut out = String::new();
    let mut rest = of;
    while let Some(start) = rest.find('<') {
        let end = if rest[start..].starts_with("<!--") {
            rest[start..].find("-->").map(|at| start + at + 3)
        } else {
            rest[start..].find('>').map(|at| start + at + 1)
        };
        let Some(end) = end else { break };
        out.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    let text = out.split(python::is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")];
    entities.into_iter().fold(text, |text, (entity, c)| text.replace(entity, c))
}

/// URL-encodes a text, or the pairs of a mapping or list.
fn urlencode(value: &Value) -> Result<Text, Fault> {
    let pairs = match value {
        Value::Map(map) => map.entries.clone(),
        Value::List(_) | Value::Tuple(_) | Value::Iterator(_) => {
            let pair =
                |item: &Value| <[Value; 2]>::try_from(item.items()?).or_else(|_| failed("`urlencode` needs pairs"));
            value.items()?.iter().map(|item| pair(item).map(|[key, value]| (key, value))).collect::<Result<_, _>>()?
        }
        other => {
            let of = text_of(other);
            return Ok(of.derived(&percent_encoded(&of, true)));
        }
    };
    let mut out = Writer::default();
    for (index, (key, value)) in pairs.iter().enumerate() {
        out.push_own(if index == 0 { "" } else { "&" });
        for (index, part) in [text_of(key), text_of(value)].iter().enumerate() {
            out.push_own(if index == 0 { "" } else { "=" });
            out.push_derived(part, &percent_encoded(part, false).replace("%20", "+"));
        }
    }
    Ok(out.finish())
}

fn percent_encoded(of: &str, keeps_slashes: bool) -> String {
    let mut out = String::with_capacity(of.len());
    for byte in of.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if keeps_slashes => out.push('/'),
            byte => write!(out, "%{byte:02X}").expect("a string takes any text"),
        }
    }
    out
}

/// `wordwrap(width, break_long_words, wrapstring)`
fn wordwrap(of: &Text, args: Arguments) -> Result<Text, Fault> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, breaks, between, _] = args.bind("wordwrap", names)?;
    let width = usize::try_from(whole("wordwrap", width.as_ref())?.unwrap_or(79)).unwrap_or(0);
    if width == 0 {
        return failed(format!("`wordwrap` needs a width above 0, not {}", type_name(&Value::Int(0))));
    }
    let breaks = flag(breaks.as_ref(), true);
    let between = between.map_or_else(|| Text::own("\n"), |between| text_of(&between));
    let mut out = Writer::default();
    for (index, line) in python::lines(of, false).into_iter().enumerate() {
        if index > 0 {
            out.push(&between);
        }
        for (index, part) in wrapped(line, width, breaks).into_iter().enumerate() {
            if index > 0 {
                out.push(&between);
            }
            out.push(&of.part(part));
        }
    }
    Ok(out.finish())
}

/// Splits a line into parts of at most `width` characters, at spaces if possible.
fn wrapped(line: &str, width: usize, breaks: bool) -> Vec<&str> {
    let byte = |text: &str, place: usize| text.char_indices().nth(place).map(|(byte, _)| byte);
    let (mut parts, mut rest) = (Vec::new(), line);
    while let Some(limit) = byte(rest, width) {
        let fits = rest[..limit].rfind(' ').filter(|at| !rest[..*at].trim().is_empty());
        let at = if rest[limit..].starts_with(' ') { Some(limit) } else { fits };
        let end = match at {
            Some(at) => at,
            None if breaks => limit,
            None => match rest.find(' ') {
                Some(at) => at,
                None => break,
            },
        };
        parts.push(rest[..end].trim_end_matches(' '));
        rest = rest[end..].trim_start_matches(' ');
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(rest);
    }
    parts
}
