//! Operations of Python's `str`. Positions count characters.

use super::Fault;
use super::run::Run;
use super::text::{Text, Writer};

/// The sides to pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
    Both,
}

/// Removes white space at both ends.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Removes white space at the end.
pub(crate) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// White space in Python includes the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

/// Splits at runs of white space. The rest after `limit` words is one part.
pub(crate) fn words(text: &str, limit: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while !rest.is_empty() {
        let end = rest.find(is_space).filter(|_| words.len() < limit).unwrap_or(rest.len());
        words.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    words
}

/// Like [`words`], from the end.
pub(crate) fn last_words(text: &str, limit: usize) -> Vec<&str> {
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

/// Lines as in `str.splitlines`, which knows more line breaks than `\n` and `\r`.
pub(crate) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
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

/// Splits a line from its line break.
pub(crate) fn split_line_end(line: &str) -> (&str, &str) {
    line.split_at(line.find(is_line_end).unwrap_or(line.len()))
}

/// Words are runs of letters, so an apostrophe starts a new one.
pub(crate) fn title(text: &str) -> String {
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

pub(crate) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    first + &chars.as_str().to_lowercase()
}

pub(crate) fn swapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
    }
    out
}

/// Whether there are lower-case letters and no upper-case ones.
pub(crate) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}

pub(crate) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}

/// Whether each word has an upper-case letter only at its start.
pub(crate) fn is_title(text: &str) -> bool {
    let (mut is_inside, mut has_letters) = (false, false);
    for c in text.chars() {
        if (c.is_uppercase() && is_inside) || (c.is_lowercase() && !is_inside) {
            return false;
        }
        is_inside = c.is_uppercase() || c.is_lowercase();
        has_letters |= is_inside;
    }
    has_letters
}

/// Digits, including superscript and circled ones. Fractions are numeric, but not digits.
pub(crate) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐'
            | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒')
}

/// Decimal digits of all scripts.
pub(crate) fn is_decimal(c: char) -> bool {
    const ZEROS: [u32; 40] = [
        0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
        0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
        0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x1D7CE, 0x1E950,
    ];
    let code = u32::from(c);
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&code)) || (0x1D7CE..0x1D800).contains(&code)
}

/// `text.replace(old, new, count)`. A negative count means no limit.
pub(crate) fn replaced(run: &mut Run, of: &Text, [old, new]: [&Text; 2], count: Option<i128>) -> Result<Text, Fault> {
    let limit = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    // An empty `old` matches before each character and at the end.
    let places: Vec<usize> = match &**old {
        "" => of.char_indices().map(|(at, _)| at).chain([of.len()]).take(limit).collect(),
        old => of.match_indices(old).map(|(at, _)| at).take(limit).collect(),
    };
    run.take_bytes(of.len().saturating_add(places.len().saturating_mul(new.len())))?;
    let mut out = Writer::default();
    let mut from = 0;
    for at in places {
        out.push(&of.part(&of[from..at]));
        out.push(new);
        from = at + old.len();
    }
    out.push(&of.part(&of[from..]));
    Ok(out.finish())
}

/// Pads the text to `width` characters with spaces.
pub(crate) fn padded(run: &mut Run, of: &Text, width: i128, side: Side) -> Result<Text, Fault> {
    filled(run, of, width, (side, ' '))
}

/// Pads the text to `width` characters with `fill`.
pub(crate) fn filled(run: &mut Run, of: &Text, width: i128, (side, fill): (Side, char)) -> Result<Text, Fault> {
    let len = of.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(len);
    run.take_bytes(of.len().saturating_add(missing.saturating_mul(fill.len_utf8())))?;
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // Python puts an odd space on the left if the width is odd.
        Side::Both => missing / 2 + (missing & (len + missing) & 1),
    };
    let mut out = Writer::default();
    let spaces = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    out.push_own(&spaces(left));
    out.push(of);
    out.push_own(&spaces(missing - left));
    Ok(out.finish())
}
