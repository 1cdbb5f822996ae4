//! A text between quotes, read character by character and written as JSON escapes it.

use super::literal::{Notation, Step};

/// A text between quotes, behind the first of them.
#[derive(Debug)]
pub(super) struct Quoted {
    notation: Notation,
    quote: char,
    escape: Escape,
    /// The first half of a character that JSON escapes in two.
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
    /// So many characters of the mark around texts were read; it has to become whole.
    Opening(usize),
    /// The same, but they may turn out to be text.
    Mark(usize),
}

impl Quoted {
    pub(super) fn begin(notation: Notation, c: char) -> Option<Self> {
        let (is_quote, escape) = match notation {
            Notation::Json => (c == '"', Escape::Nothing),
            Notation::Python => (c == '"' || c == '\'', Escape::Nothing),
            Notation::Bare(mark) => (mark.starts_with(c), Escape::Opening(1)),
        };
        is_quote.then_some(Self { notation, quote: c, escape, high: None })
    }

    pub(super) fn push(&mut self, c: char, out: &mut String) -> Step {
        if let Notation::Bare(mark) = self.notation {
            return self.push_bare(mark, c, out);
        }
        match self.escape {
            Escape::Begun => self.begin_escape(c, out),
            Escape::Digits { left, code } => self.digit(left, code, c, out),
            // Half a character must be followed by its other half.
            _ if self.high.is_some() && c != '\\' => Step::Bad,
            _ if c == '\\' => {
                self.escape = Escape::Begun;
                Step::More
            }
            _ if c == self.quote => Step::Done,
            _ => {
                write_char(c, out);
                Step::More
            }
        }
    }

    fn begin_escape(&mut self, c: char, out: &mut String) -> Step {
        let left = match (c, self.notation) {
            ('u', _) => 4,
            ('x', Notation::Python) => 2,
            ('U', Notation::Python) => 8,
            _ => 0,
        };
        if left > 0 {
            self.escape = Escape::Digits { left, code: 0 };
            return Step::More;
        }
        self.escape = Escape::Nothing;
        let plain = match c {
            _ if self.high.is_some() => return Step::Bad,
            '"' | '\\' => Some(c),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            '/' if self.notation == Notation::Json => Some('/'),
            '\'' if self.notation == Notation::Python => Some('\''),
            '\n' if self.notation == Notation::Python => None,
            // Python leaves the backslash of what is no escape.
            c if self.notation == Notation::Python => {
                write_char('\\', out);
                Some(c)
            }
            _ => return Step::Bad,
        };
        if let Some(c) = plain {
            write_char(c, out);
        }
        Step::More
    }

    fn digit(&mut self, left: u8, code: u32, c: char, out: &mut String) -> Step {
        let Some(digit) = c.to_digit(16) else { return Step::Bad };
        // Eight digits fill the number.
        let code = code << 4 | digit;
        if left > 1 {
            self.escape = Escape::Digits { left: left - 1, code };
            return Step::More;
        }
        self.escape = Escape::Nothing;
        let whole = match (self.high.take(), code) {
            (None, 0xD800..=0xDBFF) => {
                self.high = Some(code);
                return Step::More;
            }
            (None, code) => char::from_u32(code),
            (Some(high), 0xDC00..=0xDFFF) => char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (code - 0xDC00)),
            (Some(_), _) => None,
        };
        let Some(c) = whole else { return Step::Bad };
        write_char(c, out);
        Step::More
    }

    /// No mark has its first character twice: what is held back is never the beginning of another one.
    fn push_bare(&mut self, mark: &str, c: char, out: &mut String) -> Step {
        let (num_read, is_opening) = match self.escape {
            Escape::Opening(num_read) => (num_read, true),
            Escape::Mark(num_read) => (num_read, false),
            _ => (0, false),
        };
        if mark[num_read..].starts_with(c) {
            let num_read = num_read + c.len_utf8();
            let is_whole = num_read == mark.len();
            self.escape = match (is_whole, is_opening) {
                (true, true) => Escape::Nothing,
                (true, false) => return Step::Done,
                (false, true) => Escape::Opening(num_read),
                (false, false) => Escape::Mark(num_read),
            };
            return Step::More;
        }
        if is_opening {
            return Step::Bad;
        }
        mark[..num_read].chars().for_each(|c| write_char(c, out));
        self.escape = Escape::Nothing;
        if num_read > 0 && mark.starts_with(c) {
            self.escape = Escape::Mark(c.len_utf8());
        } else {
            write_char(c, out);
        }
        Step::More
    }
}

/// A character inside a JSON text.
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
