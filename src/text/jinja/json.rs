//! Writes JSON like Python's `json.dumps`, which models saw in training: with a space after `,` and `:`, and without
//! escapes for HTML.

use super::display::{float, type_name};
use super::run::Run;
use super::text::{Text, Writer as TextWriter};
use super::value::{List, Map, Value};
use super::{Fault, failed};

/// The arguments of `json.dumps` that chat templates use.
#[derive(Debug, Default)]
pub(super) struct Style {
    /// The indentation of a level; without it the JSON is one line.
    pub(super) indent: Option<Text>,
    /// The separators after an item and after a key.
    pub(super) separators: Option<[Text; 2]>,
    pub(super) is_ascii: bool,
    pub(super) has_sorted_keys: bool,
}

/// Writes a value as JSON. Fails on values that JSON cannot express.
pub(super) fn write(run: &mut Run, value: &Value, style: &Style) -> Result<Text, Fault> {
    let default = if style.indent.is_some() { [",", ": "] } else { [", ", ": "] };
    let [item, key] = style.separators.clone().unwrap_or_else(|| default.map(Text::own));
    let mut writer = Writer { run, out: TextWriter::default(), counted: 0, style, item, key, depth: 0 };
    writer.value(value)?;
    Ok(writer.out.finish())
}

struct Writer<'a> {
    run: &'a mut Run,
    out: TextWriter,
    /// Bytes already counted against the budget.
    counted: usize,
    style: &'a Style,
    item: Text,
    key: Text,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::None => self.out.push_own("null"),
            Value::Bool(is_true) => self.out.push_own(if *is_true { "true" } else { "false" }),
            Value::Int(number) => self.out.push_own(&number.to_string()),
            Value::Float(number) => self.out.push_own(&json_float(*number)),
            Value::Text(text) => self.text(text),
            Value::List(list) | Value::Tuple(list) => self.array(list)?,
            Value::Map(map) => self.object(map)?,
            other => return failed(format!("`tojson` cannot write {}", type_name(other))),
        }
        // A value can contain another one many times, so the length is checked while it grows.
        let before = std::mem::replace(&mut self.counted, self.out.len());
        self.run.take_growth(before, self.counted)
    }

    fn array(&mut self, list: &List) -> Result<(), Fault> {
        self.open('[');
        for (index, item) in list.items.iter().enumerate() {
            self.separate(index == 0);
            self.value(item)?;
        }
        self.close(']', list.items.is_empty());
        Ok(())
    }

    fn object(&mut self, map: &Map) -> Result<(), Fault> {
        self.open('{');
        let mut entries: Vec<_> = map.entries.iter().collect();
        if self.style.has_sorted_keys {
            let mut fault = None;
            entries.sort_by(|(left, _), (right, _)| {
                left.order(right).unwrap_or_else(|error| {
                    fault.get_or_insert(error);
                    std::cmp::Ordering::Equal
                })
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        for (index, (key, value)) in entries.iter().enumerate() {
            self.separate(index == 0);
            self.key(key)?;
            let between = self.key.clone();
            self.out.push(&between);
            self.value(value)?;
        }
        self.close('}', entries.is_empty());
        Ok(())
    }

    /// Python also converts keys that are not strings.
    fn key(&mut self, key: &Value) -> Result<(), Fault> {
        let text = match key {
            Value::Text(text) => text.clone(),
            Value::None => Text::own("null"),
            Value::Bool(is_true) => Text::own(if *is_true { "true" } else { "false" }),
            Value::Int(number) => Text::own(&number.to_string()),
            Value::Float(number) => Text::own(&json_float(*number)),
            other => return failed(format!("`tojson` cannot write {} as a key", type_name(other))),
        };
        self.text(&text);
        Ok(())
    }

    fn text(&mut self, text: &Text) {
        self.out.push_own("\"");
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let escaped = match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{C}' => "\\f".to_owned(),
                c if c < ' ' || (self.style.is_ascii && !c.is_ascii()) => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}")),
                _ => continue,
            };
            self.out.push(&text.part(&text[plain..at]));
            self.out.push_derived(text, &escaped);
            plain = at + c.len_utf8();
        }
        self.out.push(&text.part(&text[plain..]));
        self.out.push_own("\"");
    }

    fn open(&mut self, bracket: char) {
        self.depth += 1;
        self.out.push_char(bracket);
    }

    fn close(&mut self, bracket: char, is_empty: bool) {
        self.depth -= 1;
        if !is_empty {
            self.new_line();
        }
        self.out.push_char(bracket);
    }

    fn separate(&mut self, is_first: bool) {
        if !is_first {
            let between = self.item.clone();
            self.out.push(&between);
        }
        self.new_line();
    }

    fn new_line(&mut self) {
        if let Some(indent) = &self.style.indent {
            self.out.push_char('\n');
            for _ in 0..self.depth {
                self.out.push(indent);
            }
        }
    }
}

fn json_float(number: f64) -> String {
    match float(number).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        finite => finite.to_owned(),
    }
}
