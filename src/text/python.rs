//! Methods that Python's texts, mappings and lists have and templates call, where minijinja's own collection lacks them
//! or does them otherwise. Places in a text count characters.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls `value.name(args)`.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => text_method(text, name, args),
        (None, ValueKind::Seq) => list_method(value, name, args),
        (None, ValueKind::Map) if name == "copy" => Some(from_args(args).map(|()| value.clone())),
        _ => None,
    };
    own.unwrap_or_else(|| pycompat::unknown_method_callback(state, value, name, args))
}

fn text_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        "strip" => stripped(args, |set| text.trim_matches(set), strip(text)),
        "lstrip" => stripped(args, |set| text.trim_start_matches(set), text.trim_start_matches(is_space)),
        "rstrip" => stripped(args, |set| text.trim_end_matches(set), rstrip(text)),
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => from_args(args).map(|(keeps,): (Option<bool>,)| texts(lines(text, keeps.unwrap_or(false)))),
        "partition" => from_args(args).map(|(at,): (&str,)| partition(text, text.find(at), at, [text, "", ""])),
        "rpartition" => from_args(args).map(|(at,): (&str,)| partition(text, text.rfind(at), at, ["", "", text])),
        "removeprefix" => from_args(args).map(|(end,): (&str,)| Value::from(text.strip_prefix(end).unwrap_or(text))),
        "removesuffix" => from_args(args).map(|(end,): (&str,)| Value::from(text.strip_suffix(end).unwrap_or(text))),
        "title" => from_args(args).map(|()| Value::from(title(text))),
        "find" => found(text, args, first).map(|place| Value::from(place.unwrap_or(-1))),
        "rfind" => found(text, args, last).map(|place| Value::from(place.unwrap_or(-1))),
        "index" => found(text, args, first).and_then(|place| existing(place, "substring")),
        "rindex" => found(text, args, last).and_then(|place| existing(place, "substring")),
        "startswith" => has_end(text, args, |text, end| text.starts_with(end)),
        "endswith" => has_end(text, args, |text, end| text.ends_with(end)),
        _ => return None,
    })
}

fn list_method(list: &Value, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        "copy" => from_args(args).map(|()| list.clone()),
        "index" => from_args(args).and_then(|(item,): (&Value,)| {
            let place = list.try_iter()?.position(|other| other == *item);
            existing(place.and_then(|place| i64::try_from(place).ok()), "item")
        }),
        _ => return None,
    })
}

/// Without the whitespace at both ends.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Without the whitespace at the end.
pub(super) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Python also takes the four separators of ASCII for whitespace.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

fn stripped<'a>(args: &[Value], of: impl Fn(&[char]) -> &'a str, of_space: &'a str) -> Result<Value, Error> {
    let (set,): (Option<&str>,) = from_args(args)?;
    Ok(Value::from(set.map_or(of_space, |set| of(&set.chars().collect::<Vec<_>>()))))
}

fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, limit, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get::<Option<&str>>("sep")?,
    };
    let limit = limit.or(named.get("maxsplit")?);
    named.assert_all_used()?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    Ok(match (separator, from_end) {
        (Some(""), _) => return Err(failed("empty separator")),
        (Some(separator), false) => texts(text.splitn(limit.saturating_add(1), separator)),
        (Some(separator), true) => {
            texts(text.rsplitn(limit.saturating_add(1), separator).collect::<Vec<_>>().into_iter().rev())
        }
        (None, false) => texts(words(text, limit)),
        (None, true) => texts(last_words(text, limit)),
    })
}

/// Parts between runs of whitespace; after `limit` of them comes the rest.
fn words(text: &str, limit: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while !rest.is_empty() {
        let end = rest.find(is_space).filter(|_| words.len() < limit).unwrap_or(rest.len());
        words.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    words
}

/// The same from the end.
fn last_words(text: &str, limit: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), rstrip(text));
    while !rest.is_empty() {
        let before = rest.trim_end_matches(|c| !is_space(c));
        let start = if words.len() < limit { before.len() } else { 0 };
        words.push(&rest[start..]);
        rest = rstrip(&rest[..start]);
    }
    words.reverse();
    words
}

/// Lines as `str.splitlines` has them: more than two characters end one.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find(is_line_end) {
        let len =
            if rest[start..].starts_with("\r\n") { 2 } else { rest[start..].chars().next().map_or(0, char::len_utf8) };
        let end = start + len;
        lines.push(&rest[..if keeps_ends { end } else { start }]);
        rest = &rest[end..];
    }
    lines.extend(Some(rest).filter(|rest| !rest.is_empty()));
    lines
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn partition(text: &str, place: Option<usize>, separator: &str, absent: [&str; 3]) -> Value {
    let present = |place: usize| [&text[..place], separator, &text[place + separator.len()..]];
    Value::from(Tuple::from(place.map_or(absent, present).map(Value::from)))
}

/// Words are runs of letters: an apostrophe begins a new one.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        if is_inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        is_inside = c.is_alphabetic();
    }
    out
}

/// Where a text is in another, both of which may be cut by the arguments.
fn found(text: &str, args: &[Value], find: fn(&str, &str) -> Option<usize>) -> Result<Option<i64>, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((before, part)) = cut(text, start, end) else { return Ok(None) };
    let place = find(part, what).map(|at| before + part[..at].chars().count());
    Ok(place.and_then(|place| i64::try_from(place).ok()))
}

fn first(text: &str, what: &str) -> Option<usize> {
    text.find(what)
}

fn last(text: &str, what: &str) -> Option<usize> {
    text.rfind(what)
}

fn has_end(text: &str, args: &[Value], has: impl Fn(&str, &str) -> bool) -> Result<Value, Error> {
    let (ends, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let part = cut(text, start, end).map(|(_, part)| part);
    let check = |end: &Value| {
        let end = end.as_str().ok_or_else(|| failed("only a text or a tuple of texts can be at an end"))?;
        Ok::<bool, Error>(part.is_some_and(|part| has(part, end)))
    };
    if !ends.is_tuple() {
        return check(ends).map(Value::from);
    }
    for end in ends.try_iter()? {
        if check(&end)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// `text[start:end]` and how many characters are before it; none where it would begin after the text or its own end.
fn cut(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    let len = text.chars().count();
    let place = |at: i64| {
        let at = if at < 0 { at.saturating_add_unsigned(len as u64).max(0) } else { at };
        usize::try_from(at).unwrap_or(usize::MAX)
    };
    let (start, end) = (start.map_or(0, place), end.map_or(len, place).min(len));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    (start <= end).then(|| (start, &text[byte(start)..byte(end)]))
}

fn existing(place: Option<i64>, what: &str) -> Result<Value, Error> {
    place.map(Value::from).ok_or_else(|| failed(&format!("{what} not found")))
}

fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    items.into_iter().map(Value::from).collect()
}

fn failed(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.to_owned())
}
