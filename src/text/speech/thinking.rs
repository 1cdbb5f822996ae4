//! Tells the reasoning at the beginning of an answer from the text behind it while the answer arrives: stop sequences are
//! looked for in the text alone. Takes the same characters for reasoning as `splitter`.

use crate::request::Thought;

/// Which part of an answer arrives.
#[derive(Debug)]
enum Part {
    /// What was read may still become the opening tag.
    Lead(String),
    /// The reasoning ends with this, which may be the beginning of the closing tag.
    Reasoning(String),
    /// White space behind the closing tag is part of it.
    Tag,
    Text,
}

/// The state of one answer.
#[derive(Debug)]
pub(in crate::text) struct Thinking {
    thought: Thought,
    part: Part,
}

impl Thinking {
    pub(in crate::text) fn new(thought: Thought) -> Self {
        let part = if thought.has_begun { Part::Reasoning(String::new()) } else { Part::Lead(String::new()) };
        Self { thought, part }
    }

    /// Whether nothing but text follows.
    pub(in crate::text) fn is_over(&self) -> bool {
        matches!(self.part, Part::Text)
    }

    /// Takes more of the answer: appends reasoning and its tags to `reasoning`, what is behind them to `text`. All of the
    /// first comes before all of the second.
    pub(in crate::text) fn push(&mut self, piece: &str, reasoning: &mut String, text: &mut String) {
        for (at, c) in piece.char_indices() {
            match &mut self.part {
                Part::Lead(lead) => {
                    lead.push(c);
                    let tag = lead.trim_start();
                    if tag == self.thought.open {
                        reasoning.push_str(lead);
                        self.part = Part::Reasoning(String::new());
                    } else if !self.thought.open.starts_with(tag) {
                        text.push_str(lead);
                        self.part = Part::Text;
                    }
                }
                Part::Reasoning(held) => {
                    reasoning.push(c);
                    held.push(c);
                    while !self.thought.close.starts_with(held.as_str()) {
                        held.remove(0);
                    }
                    if held == self.thought.close {
                        self.part = Part::Tag;
                    }
                }
                Part::Tag if c.is_whitespace() => reasoning.push(c),
                Part::Tag | Part::Text => {
                    self.part = Part::Text;
                    return text.push_str(&piece[at..]);
                }
            }
        }
    }

    /// The answer is over: appends what was held back. A part of the opening tag is text.
    pub(in crate::text) fn finish(&mut self, text: &mut String) {
        if let Part::Lead(lead) = &self.part {
            text.push_str(lead);
            self.part = Part::Text;
        }
    }
}
