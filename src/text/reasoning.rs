//! Reasoning: the tags around it, tool calls that it mentions, and the splitter that keeps stop sequences out of it while an
//! answer arrives. The reasoning parser is `output::streaming`; it and the splitter count the same characters as reasoning.

use crate::request::ReasoningTags;

/// The tags that a model writes around its reasoning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagPair {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

static TAG_PAIRS: [TagPair; 2] =
    [TagPair { open: "<think>", close: "</think>" }, TagPair { open: "[THINK]", close: "[/THINK]" }];

impl TagPair {
    /// The tags that a chat template mentions.
    pub(super) fn of(template: &str) -> Option<&'static Self> {
        TAG_PAIRS.iter().find(|tags| template.contains(tags.open) || template.contains(tags.close))
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &'static str> {
        [self.open, self.close].into_iter()
    }
}

/// Finds opening markers of tool calls inside reasoning. They count only if the reasoning never ends: then the model
/// may have meant a call.
#[derive(Debug, Default)]
pub(super) struct CallMention {
    /// Characters that may start a marker.
    recent: String,
    pub(super) is_found: bool,
}

impl CallMention {
    pub(super) fn push(&mut self, opens: &[&str], c: char) {
        self.recent.push(c);
        while !self.recent.is_empty() && !opens.iter().any(|open| open.starts_with(self.recent.as_str())) {
            self.recent.remove(0);
        }
        self.is_found |= opens.contains(&self.recent.as_str());
    }
}

/// The part of an answer that is being read.
#[derive(Debug)]
enum Part {
    /// The characters read so far may still become the opening tag. White space may come before it.
    Lead {
        read: String,
        tag_at: usize,
    },
    /// Reasoning. The string is the end of it that may be the start of the closing tag.
    Reasoning(String),
    /// White space after the closing tag belongs to the tag.
    Tag,
    Text,
}

/// Separates the reasoning of one answer from its text.
#[derive(Debug)]
pub(super) struct ReasoningSplitter {
    tags: ReasoningTags,
    part: Part,
}

impl ReasoningSplitter {
    pub(super) fn new(tags: ReasoningTags) -> Self {
        let part =
            if tags.has_begun { Part::Reasoning(String::new()) } else { Part::Lead { read: String::new(), tag_at: 0 } };
        Self { tags, part }
    }

    /// Whether the rest of the answer is text.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.part, Part::Text)
    }

    /// Reads the next part of the answer: appends reasoning with its tags to `reasoning`, and what follows to `text`.
    /// All of the reasoning comes before all of the text.
    pub(super) fn push(&mut self, delta: &str, reasoning: &mut String, text: &mut String) {
        for (at, c) in delta.char_indices() {
            match &mut self.part {
                Part::Lead { read, tag_at } => {
                    let is_before = *tag_at == read.len() && c.is_whitespace();
                    read.push(c);
                    if is_before {
                        *tag_at = read.len();
                        continue;
                    }
                    let tag = &read[*tag_at..];
                    if tag == self.tags.open {
                        reasoning.push_str(read);
                        self.part = Part::Reasoning(String::new());
                    } else if !self.tags.open.starts_with(tag) {
                        text.push_str(read);
                        self.part = Part::Text;
                    }
                }
                Part::Reasoning(held) => {
                    reasoning.push(c);
                    held.push(c);
                    while !self.tags.close.starts_with(held.as_str()) {
                        held.remove(0);
                    }
                    if held == self.tags.close {
                        self.part = Part::Tag;
                    }
                }
                Part::Tag if c.is_whitespace() => reasoning.push(c),
                Part::Tag | Part::Text => {
                    self.part = Part::Text;
                    return text.push_str(&delta[at..]);
                }
            }
        }
    }

    /// The answer is over: appends the held characters to `text`. An incomplete opening tag is text.
    pub(super) fn finish(&mut self, text: &mut String) {
        if let Part::Lead { read, .. } = &self.part {
            text.push_str(read);
            self.part = Part::Text;
        }
    }
}
