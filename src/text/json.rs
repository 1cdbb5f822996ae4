//! JSON as Python's `json.dumps` writes it, which is what models saw in training: a space after `,` and `:`, and no
//! escaping for HTML. Values come from a template, which can nest and share them without end: depth and length have
//! limits here.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The arguments of `json.dumps` that chat templates use.
#[derive(Debug, Default)]
pub(super) struct Style {
    /// What each level begins with; without it all is one line.
    pub(super) indent: Option<String>,
    /// Between items, and between a key and its value.
    pub(super) separators: Option<[String; 2]>,
    pub(super) is_ascii: bool,
    pub(super) has_sorted_keys: bool,
}

const MAX_DEPTH: usize = 64;
const MAX_BYTES: usize = 16 << 20;

/// Writes any value that JSON can express.
pub(super) fn write(value: &Value, style: &Style) -> Result<String, Error> {
    let default = if style.indent.is_some() { [",", ": "] } else { [", ", ": "] };
    let [item, key] = style.separators.as_ref().map_or(default, |pair| [pair[0].as_str(), pair[1].as_str()]);
    let mut writer = Writer { out: String::new(), style, item, key, depth: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    style: &'a Style,
    item: &'a str,
    key: &'a str,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.array(value)?,
            ValueKind::Map => self.object(value)?,
            kind => return Err(failed(&format!("{kind} is not JSON"))),
        }
        if self.out.len() > MAX_BYTES { Err(failed("the value is too large")) } else { Ok(()) }
    }

    fn array(&mut self, value: &Value) -> Result<(), Error> {
        self.open('[')?;
        let mut is_empty = true;
        for item in value.try_iter()? {
            self.separate(is_empty);
            self.value(&item)?;
            is_empty = false;
        }
        self.close(']', is_empty);
        Ok(())
    }

    fn object(&mut self, value: &Value) -> Result<(), Error> {
        self.open('{')?;
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.style.has_sorted_keys {
            keys.sort();
        }
        for (index, key) in keys.iter().enumerate() {
            self.separate(index == 0);
            self.key(key)?;
            self.out.push_str(self.key);
            self.value(&value.get_item(key)?)?;
        }
        self.close('}', keys.is_empty());
        Ok(())
    }

    /// Python, too, turns keys that are not strings into strings.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::Number => self.string(&number(key)),
            ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
            ValueKind::None => self.string("null"),
            _ => return Err(failed("a key is not a string")),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{C}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.is_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("a string takes any text");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn open(&mut self, bracket: char) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(failed("the value is nested too deeply"));
        }
        self.depth += 1;
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: char, is_empty: bool) {
        self.depth -= 1;
        if !is_empty {
            self.new_line();
        }
        self.out.push(bracket);
    }

    fn separate(&mut self, is_first: bool) {
        if !is_first {
            self.out.push_str(self.item);
        }
        self.new_line();
    }

    fn new_line(&mut self) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), self.depth));
        }
    }
}

/// A number as Python writes it: very large and very small ones with an exponent of at least two digits.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Some(float) = f64::try_from(value.clone()).ok().filter(|float| float.is_finite()) else {
        return value.to_string();
    };
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{float:?}"),
        exponent if exponent < 0 => format!("{digits}e-{:02}", -exponent),
        exponent => format!("{digits}e+{exponent:02}"),
    }
}

fn failed(problem: &str) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("tojson: {problem}"))
}
