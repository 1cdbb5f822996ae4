//! String formatting: `'%s' % value` and `'{}'.format(value)`.

use std::str::Chars;

use super::arguments::Arguments;
use super::display::{float, text_of, type_name, write_repr};
use super::python::{self, Side};
use super::run::Run;
use super::text::{Text, Writer};
use super::value::Value;
use super::{Fault, failed};

/// The widest padding, in characters.
const MAX_WIDTH: i128 = 10_000;

/// How to format a value.
#[derive(Debug, Default)]
struct Style {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    is_alternate: bool,
    is_zero_padded: bool,
    width: i128,
    groups: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `pattern % values`
pub(super) fn percent(run: &mut Run, pattern: &Text, values: &Value) -> Result<Text, Fault> {
    let positional = match values {
        Value::Tuple(list) => list.items.clone(),
        single => vec![single.clone()],
    };
    let mut next = positional.into_iter();
    let (mut out, mut rest) = (Writer::default(), &**pattern);
    let mut is_named = matches!(values, Value::Map(_));
    while let Some(at) = rest.find('%') {
        let before = out.len();
        out.push(&pattern.part(&rest[..at]));
        let mut chars = rest[at + 1..].chars();
        let mut named = None;
        if chars.as_str().starts_with('(') {
            let Some((name, after)) = chars.as_str()[1..].split_once(')') else {
                return failed("a name in a format string is not closed");
            };
            let Value::Map(map) = values else { return failed("names in a format string need a mapping") };
            named = Some(map.get_text(name).cloned().unwrap_or(Value::Undefined));
            is_named = true;
            chars = after.chars();
        }
        let style = percent_style(&mut chars, &mut next)?;
        rest = chars.as_str();
        if style.kind == Some('%') {
            out.push_own("%");
            continue;
        }
        let Some(value) = named.or_else(|| next.next()) else { return failed("there are too few values for `%`") };
        out.push(&percent_value(run, &value, style)?);
        run.take_growth(before, out.len())?;
    }
    out.push(&pattern.part(rest));
    if next.next().is_some() && !is_named {
        return failed("there are too many values for `%`");
    }
    Ok(out.finish())
}

fn percent_style(chars: &mut Chars<'_>, next: &mut std::vec::IntoIter<Value>) -> Result<Style, Fault> {
    let mut style = Style { align: Some('>'), ..Style::default() };
    let mut c = chars.next();
    while let Some(flag) = c.filter(|c| "#0- +".contains(*c)) {
        match flag {
            '#' => style.is_alternate = true,
            '0' => style.is_zero_padded = true,
            '-' => style.align = Some('<'),
            '+' => style.sign = Some('+'),
            _ => style.sign = style.sign.or(Some(' ')),
        }
        c = chars.next();
    }
    let mut number = |c: &mut Option<char>, chars: &mut Chars<'_>| -> Option<i128> {
        if *c == Some('*') {
            *c = chars.next();
            return next.next().and_then(|value| value.as_int());
        }
        let mut number = None;
        while let Some(digit) = c.and_then(|c| c.to_digit(10)) {
            number = Some((number.unwrap_or(0) * 10 + i128::from(digit)).min(MAX_WIDTH + 1));
            *c = chars.next();
        }
        number
    };
    style.width = number(&mut c, chars).unwrap_or(0);
    if style.width < 0 {
        (style.align, style.width) = (Some('<'), style.width.saturating_neg());
    }
    if c == Some('.') {
        c = chars.next();
        let precision = number(&mut c, chars).unwrap_or(0);
        style.precision = usize::try_from(precision).ok();
    }
    while c.is_some_and(|c| matches!(c, 'h' | 'l' | 'L')) {
        c = chars.next();
    }
    style.kind = c;
    checked(style)
}

fn checked(style: Style) -> Result<Style, Fault> {
    if style.width > MAX_WIDTH || style.precision.is_some_and(|precision| precision > 1_000) {
        return failed(format!("a width is at most {MAX_WIDTH}, and a precision 1000"));
    }
    Ok(style)
}

fn percent_value(run: &mut Run, value: &Value, mut style: Style) -> Result<Text, Fault> {
    match style.kind {
        Some('s' | 'r' | 'a') => {
            let mut text = text_of(value);
            if style.kind != Some('s') {
                let mut out = Writer::default();
                write_repr(&mut out, value);
                text = out.finish();
            }
            style.is_zero_padded = false;
            aligned(run, &shortened(&text, style.precision), &style, '>')
        }
        Some('c') => match (value, value.as_int()) {
            (Value::Text(text), _) if text.chars().count() == 1 => aligned(run, text, &style, '>'),
            (_, Some(code)) => {
                let c = u32::try_from(code).ok().and_then(char::from_u32);
                c.map_or_else(|| failed("`%c` needs a character"), |c| Ok(Text::own(&c.to_string())))
            }
            _ => failed("`%c` needs a character"),
        },
        Some('d' | 'i' | 'u') => {
            #[expect(clippy::cast_possible_truncation, reason = "`%d` cuts what is behind the point")]
            let cut = || value.as_float().filter(|number| number.is_finite()).map(|number| number as i128);
            style.kind = Some('d');
            match value.as_int().or_else(cut) {
                Some(number) => numeric(run, &Value::Int(number), &style),
                None => failed(format!("`%d` needs a number, not {}", type_name(value))),
            }
        }
        Some('x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => numeric(run, value, &style),
        Some(kind) => failed(format!("`%{kind}` is not a format")),
        None => failed("a format string ends within a format"),
    }
}

fn shortened(text: &Text, precision: Option<usize>) -> Text {
    let Some(end) = precision.and_then(|precision| text.char_indices().nth(precision)) else { return text.clone() };
    text.part(&text[..end.0])
}

fn aligned(run: &mut Run, text: &Text, style: &Style, default: char) -> Result<Text, Fault> {
    let side = match style.align.unwrap_or(default) {
        '<' => Side::Right,
        '^' => Side::Both,
        _ => Side::Left,
    };
    let fill = style.fill.unwrap_or(if style.is_zero_padded && style.align != Some('<') { '0' } else { ' ' });
    // Unlike `center`, a format puts the odd character on the right.
    if side == Side::Both {
        let missing = style.width - text.chars().count() as i128;
        let left = python::filled(run, text, style.width - (missing.max(0) + 1) / 2, (Side::Left, fill))?;
        return python::filled(run, &left, style.width, (Side::Right, fill));
    }
    python::filled(run, text, style.width, (side, fill))
}

/// Formats a number like C's `printf`.
fn numeric(run: &mut Run, value: &Value, style: &Style) -> Result<Text, Fault> {
    let kind = style.kind.unwrap_or(if matches!(value, Value::Float(_)) { 'g' } else { 'd' });
    let (is_negative, mut digits) = match (kind, value.as_int(), value.as_float()) {
        ('d' | 'x' | 'X' | 'o' | 'b', Some(number), _) => (number < 0, whole_digits(kind, number, style.is_alternate)),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%', _, Some(number)) => {
            (number.is_sign_negative(), float_digits(kind, number.abs(), style))
        }
        _ => return failed(format!("`{kind}` does not write {}", type_name(value))),
    };
    if let Some(separator) = style.groups {
        digits = grouped(&digits, separator);
    }
    let sign = match (is_negative, style.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let is_filled_inside = style.align == Some('=') || (style.is_zero_padded && style.align != Some('<'));
    if is_filled_inside {
        let fill = style.fill.unwrap_or(if style.is_zero_padded { '0' } else { ' ' });
        let filled = python::filled(run, &Text::own(&digits), style.width - sign.len() as i128, (Side::Left, fill))?;
        return Ok(Text::own(&format!("{sign}{}", &*filled)));
    }
    aligned(run, &Text::own(&format!("{sign}{digits}")), style, '>')
}

fn whole_digits(kind: char, number: i128, is_alternate: bool) -> String {
    let number = number.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{number:x}")),
        'X' => ("0X", format!("{number:X}")),
        'o' => ("0o", format!("{number:o}")),
        'b' => ("0b", format!("{number:b}")),
        _ => ("", number.to_string()),
    };
    if is_alternate { format!("{prefix}{digits}") } else { digits }
}

fn float_digits(kind: char, number: f64, style: &Style) -> String {
    if !number.is_finite() {
        return float(number);
    }
    let precision = style.precision.unwrap_or(6);
    let digits = match kind {
        'f' | 'F' => format!("{number:.precision$}"),
        '%' => format!("{:.precision$}%", number * 100.0),
        'e' | 'E' => exponential(number, precision),
        // Without type and precision, Python formats a number like `str`.
        _ if style.kind.is_none() && style.precision.is_none() => float(number),
        _ => general(number, precision.max(1), style),
    };
    if kind.is_ascii_uppercase() { digits.to_uppercase() } else { digits }
}

fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The format `g`: this many significant digits, in the shorter of two forms.
fn general(number: f64, precision: usize, style: &Style) -> String {
    let scientific = exponential(number, precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let is_fixed = exponent >= -4 && usize::try_from(exponent.max(0)).is_ok_and(|exponent| exponent < precision);
    let trimmed = |digits: &str| {
        let is_cut = digits.contains('.') && !style.is_alternate;
        if is_cut { digits.trim_end_matches('0').trim_end_matches('.').to_owned() } else { digits.to_owned() }
    };
    if is_fixed {
        let places = usize::try_from(precision as i128 - 1 - i128::from(exponent)).unwrap_or(0);
        return trimmed(&format!("{number:.places$}"));
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, ""));
    format!("{}e{exponent}", trimmed(digits))
}

fn grouped(digits: &str, separator: char) -> String {
    let (whole, rest) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(digit);
    }
    out + rest
}

/// `pattern.format(args)`
pub(super) fn braces(run: &mut Run, pattern: &Text, args: &Arguments) -> Result<Text, Fault> {
    let (mut out, mut rest) = (Writer::default(), &**pattern);
    let mut num_taken = 0;
    while let Some(at) = rest.find(['{', '}']) {
        let before = out.len();
        out.push(&pattern.part(&rest[..at]));
        let (sign, after) = (&rest[at..=at], &rest[at + 1..]);
        if let Some(doubled) = after.strip_prefix(sign) {
            out.push(&pattern.part(sign));
            rest = doubled;
            continue;
        }
        let Some((field, after)) = after.split_once('}').filter(|_| sign == "{") else {
            return failed("a brace in a format string is not closed");
        };
        rest = after;
        out.push(&brace_value(run, field, args, &mut num_taken)?);
        run.take_growth(before, out.len())?;
    }
    out.push(&pattern.part(rest));
    Ok(out.finish())
}

fn brace_value(run: &mut Run, field: &str, args: &Arguments, num_taken: &mut usize) -> Result<Text, Fault> {
    let (name, format) = field.split_once(':').unwrap_or((field, ""));
    let (name, conversion) = name.split_once('!').map_or((name, None), |(name, conversion)| (name, Some(conversion)));
    let first = name.find(['.', '[']).unwrap_or(name.len());
    let mut value = match &name[..first] {
        "" => {
            *num_taken += 1;
            args.positional.get(*num_taken - 1).cloned()
        }
        name => match name.parse::<usize>() {
            Ok(place) => args.positional.get(place).cloned(),
            Err(_) => args.named.iter().find(|(other, _)| **other == *name).map(|(_, value)| value.clone()),
        },
    };
    for part in name[first..].split(['.', '[']).skip(1) {
        let part = part.trim_end_matches(']');
        let key = part.parse().map_or_else(|_| Value::own(part), Value::Int);
        value = value.map(|value| run.item(&value, &key)).transpose()?;
    }
    let Some(value) = value else { return failed(format!("there is no value for `{{{field}}}`")) };
    let value = match conversion {
        Some("r" | "a") => {
            let mut out = Writer::default();
            write_repr(&mut out, &value);
            Value::Text(out.finish())
        }
        Some(_) => Value::Text(text_of(&value)),
        None => value,
    };
    let style = brace_style(format)?;
    match &value {
        Value::Int(_) | Value::Float(_) if style.kind != Some('s') => numeric(run, &value, &style),
        other => aligned(run, &shortened(&text_of(other), style.precision), &style, '<'),
    }
}

fn brace_style(format: &str) -> Result<Style, Fault> {
    let mut style = Style::default();
    let mut rest = format;
    let mut chars = rest.chars();
    let (first, second) = (chars.next(), chars.next());
    let is_align = |c: Option<char>| c.is_some_and(|c| matches!(c, '<' | '>' | '^' | '='));
    if is_align(second) {
        (style.fill, style.align) = (first, second);
        rest = chars.as_str();
    } else if is_align(first) {
        style.align = first;
        rest = &rest[1..];
    }
    let mut take = |set: &[char]| {
        let c = rest.chars().next().filter(|c| set.contains(c));
        rest = &rest[c.map_or(0, char::len_utf8)..];
        c
    };
    style.sign = take(&['+', '-', ' ']);
    style.is_alternate = take(&['#']).is_some();
    style.is_zero_padded = take(&['0']).is_some();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    style.width = rest[..digits].parse().unwrap_or(0);
    rest = &rest[digits..];
    if let Some(after) = rest.strip_prefix([',', '_']) {
        style.groups = rest.chars().next();
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        style.precision = after[..digits].parse().ok();
        rest = &after[digits..];
    }
    style.kind = rest.chars().next();
    checked(style)
}
