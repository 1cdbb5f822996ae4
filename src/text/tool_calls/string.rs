//! Parses one string of a call's arguments: reads it one character at a time and writes it with JSON escapes.

use super::notation::{Notation, ValueProgress};

/// The state of the parser within one string, after the opening quote.
#[derive(Debug)]
pub(super) struct StringParser {
    notation: Notation,
    quote: char,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Nothing,
    Begun,
    Digits {
        left: u8,
        code: u32,
    },
    /// This many bytes of the opening quote of [`Notation::Bare`] were read.
    Opening(usize),
    /// This many bytes were read that may be the closing quote of [`Notation::Bare`] or text.
    Closing(usize),
}

impl StringParser {
    pub(super) fn new(notation: Notation, c: char) -> Option<Self> {
        let (is_quote, escape) = match notation {
            Notation::Json => (c == '"', Escape::Nothing),
            Notation::Python => (c == '"' || c == '\'', Escape::Nothing),
            Notation::Bare(quote) => (quote.starts_with(c), Escape::Opening(1)),
        };
        is_quote.then_some(Self { notation, quote: c, escape, high: None })
    }

    pub(super) fn push(&mut self, c: char, out: &mut String) -> ValueProgress {
        if let Notation::Bare(quote) = self.notation {
            return self.push_bare(quote, c, out);
        }
        match self.escape {
            Escape::Begun => self.begin_escape(c, out),
            Escape::Digits { left, code } => self.digit(left, code, c, out),
            // The second half of a surrogate pair must follow the first.
            _ if self.high.is_some() && c != '\\' => ValueProgress::Invalid,
            _ if c == '\\' => {
                self.escape = Escape::Begun;
                ValueProgress::Incomplete
            }
            _ if c == self.quote => ValueProgress::Complete,
            _ => {
                write_char(c, out);
                ValueProgress::Incomplete
            }
        }
    }

    fn begin_escape(&mut self, c: char, out: &mut String) -> ValueProgress {
        let left = match (c, self.notation) {
            ('u', _) => 4,
            ('x', Notation::Python) => 2,
            ('U', Notation::Python) => 8,
            _ => 0,
        };
        if left > 0 {
            self.escape = Escape::Digits { left, code: 0 };
            return ValueProgress::Incomplete;
        }
        self.escape = Escape::Nothing;
        let plain = match c {
            _ if self.high.is_some() => return ValueProgress::Invalid,
            '"' | '\\' => Some(c),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            '/' if self.notation == Notation::Json => Some('/'),
            '\'' if self.notation == Notation::Python => Some('\''),
            '\n' if self.notation == Notation::Python => None,
            // Python keeps the backslash of an unknown escape.
            c if self.notation == Notation::Python => {
                write_char('\\', out);
                Some(c)
            }
            _ => return ValueProgress::Invalid,
        };
        if let Some(c) = plain {
            write_char(c, out);
        }
        ValueProgress::Incomplete
    }

    fn digit(&mut self, left: u8, code: u32, c: char, out: &mut String) -> ValueProgress {
        let Some(digit) = c.to_digit(16) else { return ValueProgress::Invalid };
        // At most eight digits: the code fits 32 bits.
        let code = code << 4 | digit;
        if left > 1 {
            self.escape = Escape::Digits { left: left - 1, code };
            return ValueProgress::Incomplete;
        }
        self.escape = Escape::Nothing;
        let whole = match (self.high.take(), code) {
            (None, 0xD800..=0xDBFF) => {
                self.high = Some(code);
                return ValueProgress::Incomplete;
            }
            (None, code) => char::from_u32(code),
            (Some(high), 0xDC00..=0xDFFF) => char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (code - 0xDC00)),
            (Some(_), _) => None,
        };
        let Some(c) = whole else { return ValueProgress::Invalid };
        write_char(c, out);
        ValueProgress::Incomplete
    }

    /// The quotes of all formats contain their first character once, so held characters never contain the start of
    /// another quote.
    fn push_bare(&mut self, quote: &str, c: char, out: &mut String) -> ValueProgress {
        let (num_read, is_opening) = match self.escape {
            Escape::Opening(num_read) => (num_read, true),
            Escape::Closing(num_read) => (num_read, false),
            _ => (0, false),
        };
        if quote[num_read..].starts_with(c) {
            let num_read = num_read + c.len_utf8();
            let is_whole = num_read == quote.len();
            self.escape = match (is_whole, is_opening) {
                (true, true) => Escape::Nothing,
                (true, false) => return ValueProgress::Complete,
                (false, true) => Escape::Opening(num_read),
                (false, false) => Escape::Closing(num_read),
            };
            return ValueProgress::Incomplete;
        }
        if is_opening {
            return ValueProgress::Invalid;
        }
        quote[..num_read].chars().for_each(|c| write_char(c, out));
        self.escape = Escape::Nothing;
        if num_read > 0 && quote.starts_with(c) {
            self.escape = Escape::Closing(c.len_utf8());
        } else {
            write_char(c, out);
        }
        ValueProgress::Incomplete
    }
}

/// Writes a character inside a JSON string.
pub(super) fn write_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => {
            out.push_str("\\u00");
            out.extend([u32::from(c) >> 4, u32::from(c) & 15].iter().filter_map(|digit| char::from_digit(*digit, 16)));
        }
        c => out.push(c),
    }
}
