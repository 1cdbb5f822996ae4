//! Splits a template into text and tags, and tags into tokens. White space follows the settings of `transformers`: the
//! line break after a block is removed (`trim_blocks`), and so are spaces before a block at the start of a line
//! (`lstrip_blocks`).

use super::{Fault, broken};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Text between tags.
    Data(String),
    /// `{%`
    BlockStart,
    /// `%}`
    BlockEnd,
    /// `{{`
    PrintStart,
    /// `}}`
    PrintEnd,
    Name(String),
    Int(i128),
    Float(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A longer sign comes before its prefixes.
const SIGNS: [&str; 26] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// A token and its line, from 1.
pub(crate) type Placed = (Token, usize);

/// The tokens of a template.
pub(crate) fn tokens(source: &str) -> Result<Vec<Placed>, Fault> {
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, begins_line: true, tokens: Vec::new() };
    while lexer.at < source.len() {
        lexer.next_part()?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    /// The text before `at` ends with a line break.
    begins_line: bool,
    tokens: Vec<Placed>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Block,
    Print,
    Comment,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn advance(&mut self, len: usize) {
        let passed = &self.source[self.at..self.at + len];
        self.line += passed.matches('\n').count();
        if len > 0 {
            self.begins_line = passed.ends_with('\n');
        }
        self.at += len;
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Reads the text up to the next tag, and the tag.
    fn next_part(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let Some((start, tag)) = next_tag(rest) else {
            self.push(Token::Data(rest.to_owned()));
            self.advance(rest.len());
            return Ok(());
        };
        let after = &rest[start + 2..];
        let sign = after.chars().next().filter(|c| matches!(c, '-' | '+'));
        let text = self.before_tag(&rest[..start], tag, sign);
        if !text.is_empty() {
            self.push(Token::Data(text.to_owned()));
        }
        self.advance(start + 2 + usize::from(sign.is_some()));
        match tag {
            Tag::Comment => self.comment(),
            Tag::Print => self.inside(Token::PrintStart, Token::PrintEnd, "}}"),
            Tag::Block if self.is_raw() => self.raw(),
            Tag::Block => self.inside(Token::BlockStart, Token::BlockEnd, "%}"),
        }
    }

    /// The text before a tag, without the white space that the tag removes.
    fn before_tag(&self, text: &'a str, tag: Tag, sign: Option<char>) -> &'a str {
        if sign == Some('-') {
            return text.trim_end();
        }
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let is_line_start = line > 0 || self.begins_line;
        let is_blank = text[line..].chars().all(char::is_whitespace);
        if tag != Tag::Print && sign.is_none() && is_line_start && is_blank { &text[..line] } else { text }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let Some(end) = self.rest().find("#}") else { return broken(self.line, "a comment is not closed") };
        let sign = self.rest()[..end].chars().last();
        self.advance(end);
        self.end_tag(sign.filter(|c| matches!(c, '-' | '+')), true);
        Ok(())
    }

    /// Skips the two characters that end a tag, and the white space that the tag removes.
    fn end_tag(&mut self, sign: Option<char>, trims: bool) {
        let after = &self.rest()[2..];
        let stripped = match sign {
            Some('-') => after.len() - after.trim_start().len(),
            None if trims && after.starts_with('\n') => 1,
            _ => 0,
        };
        self.advance(2 + stripped);
    }

    fn is_raw(&self) -> bool {
        let Some(after) = self.rest().trim_start().strip_prefix("raw") else { return false };
        after.trim_start().trim_start_matches(['-', '+']).starts_with("%}")
    }

    /// Reads text up to `{% endraw %}`.
    fn raw(&mut self) -> Result<(), Fault> {
        let line = self.line;
        let end = self.rest().find("%}").unwrap_or(0);
        let sign = self.rest()[..end].chars().last().filter(|c| matches!(c, '-' | '+'));
        self.advance(end);
        self.end_tag(sign, true);
        let rest = self.rest();
        let mut from = 0;
        while let Some(start) = rest[from..].find("{%").map(|at| from + at) {
            let inside = &rest[start + 2..];
            let opened = inside.chars().next().filter(|c| matches!(c, '-' | '+'));
            let name = inside[usize::from(opened.is_some())..].trim_start();
            let close = name.strip_prefix("endraw").map(str::trim_start);
            let closed = close.and_then(|close| close.chars().next()).filter(|c| matches!(c, '-' | '+'));
            if close.is_some_and(|close| close[usize::from(closed.is_some())..].starts_with("%}")) {
                let text = self.before_tag(&rest[..start], Tag::Block, opened);
                self.push(Token::Data(text.to_owned()));
                self.advance(start + 2 + inside.find("%}").unwrap_or(0));
                self.end_tag(closed, true);
                return Ok(());
            }
            from = start + 2;
        }
        broken(line, "`raw` is not closed")
    }

    /// Reads the tokens of a tag up to its end. The end of the tag does not count inside brackets.
    fn inside(&mut self, open: Token, close: Token, end: &'static str) -> Result<(), Fault> {
        self.push(open);
        let line = self.line;
        let mut num_open = 0_usize;
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.advance(blank);
            let rest = self.rest();
            if rest.is_empty() {
                return broken(line, "a tag is not closed");
            }
            let sign = rest.chars().next().filter(|c| matches!(c, '-' | '+'));
            let ends = rest[usize::from(sign.is_some())..].starts_with(end);
            if num_open == 0 && ends && (sign != Some('+') || end == "%}") {
                self.push(close);
                self.advance(usize::from(sign.is_some()));
                self.end_tag(sign, end == "%}");
                return Ok(());
            }
            self.token(&mut num_open)?;
        }
    }

    fn token(&mut self, num_open: &mut usize) -> Result<(), Fault> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or(' ');
        if first == '_' || first.is_alphabetic() {
            let is_part = |c: char| c == '_' || c.is_alphanumeric();
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            self.push(Token::Name(rest[..end].to_owned()));
            self.advance(end);
            return Ok(());
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if matches!(first, '\'' | '"') {
            return self.text(first);
        }
        let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
            return broken(self.line, &format!("`{first}` is not part of an expression"));
        };
        match sign {
            "(" | "[" | "{" => *num_open += 1,
            ")" | "]" | "}" if *num_open == 0 => return broken(self.line, &format!("`{sign}` closes nothing")),
            ")" | "]" | "}" => *num_open -= 1,
            _ => {}
        }
        self.push(Token::Sign(sign));
        self.advance(sign.len());
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)]
            .into_iter()
            .find(|(prefix, _)| rest.starts_with(prefix));
        if let Some((_, radix)) = radix {
            let len = rest[2..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |at| at + 2);
            let digits = rest[2..len].replace('_', "");
            let Ok(number) = i128::from_str_radix(&digits, radix) else { return self.bad_number(&rest[..len]) };
            self.push(Token::Int(number));
            self.advance(len);
            return Ok(());
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let mut len = digits(rest);
        let is_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let mut is_float = false;
        if rest[len..].starts_with('.') && is_digit(&rest[len + 1..]) {
            is_float = true;
            len += 1 + digits(&rest[len + 1..]);
        }
        if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            if is_digit(&exponent[sign..]) {
                is_float = true;
                len += 1 + sign + digits(&exponent[sign..]);
            }
        }
        let text = rest[..len].replace('_', "");
        let token = if is_float { text.parse().map(Token::Float).ok() } else { text.parse().map(Token::Int).ok() };
        let Some(token) = token else { return self.bad_number(&text) };
        self.push(token);
        self.advance(len);
        Ok(())
    }

    fn bad_number(&self, number: &str) -> Result<(), Fault> {
        let shown: String = number.chars().take(40).collect();
        broken(self.line, &format!("`{shown}` is not a number, or too large"))
    }

    fn text(&mut self, quote: char) -> Result<(), Fault> {
        let inside = &self.rest()[1..];
        let mut is_escaped = false;
        let end = inside.find(|c| {
            let ends = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let Some(end) = end else { return broken(self.line, "a string is not closed") };
        self.push(Token::Text(unescaped(&inside[..end])));
        self.advance(end + 2);
        Ok(())
    }
}

fn next_tag(text: &str) -> Option<(usize, Tag)> {
    let mut from = 0;
    while let Some(at) = text[from..].find('{').map(|at| from + at) {
        let tag = match text.as_bytes().get(at + 1) {
            Some(b'%') => Some(Tag::Block),
            Some(b'{') => Some(Tag::Print),
            Some(b'#') => Some(Tag::Comment),
            _ => None,
        };
        if let Some(tag) = tag {
            return Some((at, tag));
        }
        from = at + 1;
    }
    None
}

/// Decodes the escapes of a string literal. Unknown escapes stay as they are, as in Python.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let after = &rest[c.len_utf8()..];
        let simple = match c {
            'n' => Some("\n"),
            't' => Some("\t"),
            'r' => Some("\r"),
            'a' => Some("\u{7}"),
            'b' => Some("\u{8}"),
            'f' => Some("\u{C}"),
            'v' => Some("\u{B}"),
            '\\' => Some("\\"),
            '\'' => Some("'"),
            '"' => Some("\""),
            '\n' => Some(""),
            _ => None,
        };
        if let Some(simple) = simple {
            out.push_str(simple);
            rest = after;
        } else if let Some((decoded, len)) = coded(c, rest) {
            out.push(decoded);
            rest = &rest[len..];
        } else {
            out.push('\\');
        }
    }
    out.push_str(rest);
    out
}

/// Decodes a numeric escape; returns the character and the length of the escape.
fn coded(kind: char, text: &str) -> Option<(char, usize)> {
    let (start, len, radix) = match kind {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='7' => (0, text.chars().take(3).take_while(|c| matches!(c, '0'..='7')).count(), 8),
        _ => return None,
    };
    let digits = text.get(start..start + len)?;
    let code = u32::from_str_radix(digits, radix).ok()?;
    // A surrogate pair is one character.
    if kind == 'u' && (0xD800..0xDC00).contains(&code) {
        let low = text.get(5..)?.strip_prefix("\\u")?.get(..4)?;
        let low = u32::from_str_radix(low, 16).ok().filter(|low| (0xDC00..0xE000).contains(low))?;
        return char::from_u32(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)).map(|c| (c, 11));
    }
    char::from_u32(code).map(|c| (c, start + len))
}
