//! Texts that know which of their parts come from outside of the template: from messages, tools and variables. Those
//! parts stay text when the prompt is tokenized; only the template's own text can become control tokens.

use std::ops::{Deref, Range};
use std::rc::Rc;

/// A text of a running template.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    text: Rc<str>,
    /// The byte ranges from outside, in order; `None` without any.
    outside: Option<Rc<[Range<usize>]>>,
}

impl Text {
    /// A text of the template itself.
    pub(crate) fn own(text: &str) -> Self {
        Self { text: text.into(), outside: None }
    }

    /// A text from outside.
    pub(crate) fn from_outside(text: &str) -> Self {
        let mut writer = Writer::default();
        writer.text.push_str(text);
        writer.mark(0..text.len());
        writer.finish()
    }

    /// A text with these byte ranges from outside, in order.
    pub(crate) fn marked(text: &str, outside: &[Range<usize>]) -> Self {
        Self { text: text.into(), outside: (!outside.is_empty()).then(|| outside.into()) }
    }

    /// The result of an operation on this text that does not preserve positions. If any part of this text is from
    /// outside, all of the result is.
    pub(crate) fn derived(&self, text: &str) -> Self {
        if self.is_from_outside() { Self::from_outside(text) } else { Self::own(text) }
    }

    /// A part of this text, given as a slice of it.
    pub(crate) fn part(&self, slice: &str) -> Self {
        let start = (slice.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if start > self.text.len() || slice.len() > self.text.len() - start {
            return self.derived(slice);
        }
        let mut writer = Writer::default();
        writer.push_range(self, start..start + slice.len());
        writer.finish()
    }

    pub(crate) fn is_from_outside(&self) -> bool {
        self.outside.is_some()
    }

    fn ranges(&self) -> &[Range<usize>] {
        self.outside.as_deref().unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// Joins texts and keeps the ranges from outside.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    outside: Vec<Range<usize>>,
}

impl Writer {
    /// Adds a text of the template itself.
    pub(crate) fn push_own(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(crate) fn push_char(&mut self, c: char) {
        self.text.push(c);
    }

    pub(crate) fn push(&mut self, text: &Text) {
        self.push_range(text, 0..text.len());
    }

    /// Adds a text that replaces a part of `origin`.
    pub(crate) fn push_derived(&mut self, origin: &Text, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        if origin.is_from_outside() {
            self.mark(start..self.text.len());
        }
    }

    fn push_range(&mut self, text: &Text, range: Range<usize>) {
        let base = self.text.len();
        self.text.push_str(&text.text[range.clone()]);
        let first = text.ranges().partition_point(|outside| outside.end <= range.start);
        for outside in text.ranges()[first..].iter().take_while(|outside| outside.start < range.end) {
            let (start, end) = (outside.start.max(range.start), outside.end.min(range.end));
            self.mark(base + start - range.start..base + end - range.start);
        }
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.outside.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.outside.push(range),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn finish(self) -> Text {
        let outside = (!self.outside.is_empty()).then(|| self.outside.into());
        Text { text: self.text.into(), outside }
    }

    /// The text, and its byte ranges from outside.
    pub(crate) fn into_parts(self) -> (String, Vec<Range<usize>>) {
        (self.text, self.outside)
    }
}
