//! The streaming parser, which is also the reasoning parser: splits an answer into text, reasoning and tool calls while it
//! arrives. It reads one character at a time, so the result does not depend on how the answer was cut. It holds back only
//! characters that may start a marker, white space that may belong to a marker, and the start of a call until its name is
//! known. A malformed call comes out as text, character for character.

mod calls;

use std::sync::Arc;

use super::parsed::{ParsedDelta, ParsedOutput, Passed};
use crate::request::{CallRules, CallStop, FinishReason, ReasoningTags};
use crate::text::reasoning::{CallMention, TagPair};
use crate::text::tool_calls::ToolCallFormat;

use calls::{MadeCall, OpenCalls};

/// Warnings kept for one answer.
const MAX_WARNINGS: usize = 16;
/// Joins two texts that only tool calls separate.
const SEPARATOR: char = ' ';

/// Parses the output of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputParser {
    pub(super) tool_calls: Option<&'static ToolCallFormat>,
    pub(super) reasoning: Option<&'static TagPair>,
    /// Names of the request's tools.
    pub(super) tools: Arc<[String]>,
    /// The prompt ends with an open reasoning tag.
    pub(super) is_reasoning: bool,
    pub(super) rules: CallRules,
    /// A warning about the prompt.
    pub(super) note: Option<&'static str>,
}

impl OutputParser {
    /// The parser of an answer whose calls follow these rules.
    #[must_use]
    pub(in crate::text) fn with_rules(self, rules: CallRules) -> Self {
        Self { rules, ..self }
    }

    /// Whether the answer is either calls or a text.
    pub fn is_exclusive(&self) -> bool {
        self.rules.is_exclusive
    }

    /// Where calls end the answer; `None` if they do not.
    pub fn call_stop(&self) -> Option<CallStop> {
        let has_end = self.tool_calls.is_some() && self.rules.end.is_some();
        has_end.then(|| CallStop { rules: self.rules, tools: Arc::clone(&self.tools) })
    }

    /// The tags of the reasoning that readers get apart from the text.
    pub(super) fn reasoning_tags(&self) -> Option<ReasoningTags> {
        self.reasoning.map(|tags| ReasoningTags { open: tags.open, close: tags.close, has_begun: self.is_reasoning })
    }

    /// Parses an answer while it arrives. `request` is the id of the request for which the answer was computed.
    pub fn streaming(&self, request: &Arc<str>) -> StreamingParser {
        StreamingParser {
            format: self.tool_calls,
            tags: self.reasoning,
            tools: Arc::clone(&self.tools),
            request: Arc::clone(request),
            state: if self.is_reasoning { State::Reasoning { is_fresh: true } } else { State::Text },
            held: String::new(),
            gap: String::new(),
            is_after_marker: self.is_reasoning,
            may_reason: !self.is_reasoning,
            may_be_bare: true,
            last: Last::Nothing,
            mention: CallMention::default(),
            next_index: 0,
            rules: self.rules,
            made: Vec::new(),
            is_over: false,
            warnings: self.note.map(str::to_owned).into_iter().collect(),
            num_read: 0,
            reasoning_end: 0,
            parsed: Passed::default(),
        }
    }

    /// Parses a whole answer, which ended for `reason`.
    pub fn parse(&self, answer: &str, request: &Arc<str>, reason: FinishReason) -> ParsedOutput {
        let mut parser = self.streaming(request);
        parser.push(answer);
        parser.finish(reason).1
    }
}

#[derive(Debug)]
enum State {
    Reasoning {
        /// Only white space was read so far.
        is_fresh: bool,
    },
    Text,
    Calls(Box<OpenCalls>),
}

/// The last output that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Text,
    /// A tool call after text.
    Call,
}

/// The state of the parser within one answer.
#[expect(clippy::struct_excessive_bools, reason = "they are independent: each combination occurs")]
#[derive(Debug)]
pub struct StreamingParser {
    format: Option<&'static ToolCallFormat>,
    tags: Option<&'static TagPair>,
    tools: Arc<[String]>,
    /// Ids of calls derive from it.
    request: Arc<str>,
    state: State,
    /// Characters that may start a marker.
    held: String,
    /// White space that belongs to the next marker if one follows.
    gap: String,
    /// The last characters were a marker: white space after it belongs to it.
    is_after_marker: bool,
    /// Reasoning may still begin: only white space was read.
    may_reason: bool,
    /// Calls without a marker may still begin: only white space was read since the start or the reasoning.
    may_be_bare: bool,
    last: Last,
    mention: CallMention,
    next_index: usize,
    rules: CallRules,
    /// The complete calls, if a repeated one ends the answer.
    made: Vec<MadeCall>,
    /// A call has ended the answer.
    is_over: bool,
    warnings: Vec<String>,
    /// Bytes of the answer that were read.
    num_read: usize,
    /// Bytes up to the end of the reasoning, once it has ended.
    reasoning_end: usize,
    /// Everything that was passed on.
    parsed: Passed,
}

impl StreamingParser {
    /// Reads the next part of the answer and returns the output that it completes.
    pub fn push(&mut self, part: &str) -> ParsedDelta {
        let mut delta = ParsedDelta::default();
        for (at, c) in part.char_indices() {
            let was_reasoning = self.is_reasoning();
            self.step(c, &mut delta);
            if was_reasoning && !self.is_reasoning() {
                self.reasoning_end = self.num_read + at + c.len_utf8();
            }
        }
        self.num_read += part.len();
        self.parsed.append(&delta);
        delta
    }

    /// Reads the next part of an answer that calls may end. If a call ends the answer, returns how many bytes of the part
    /// belong to the answer.
    pub(in crate::text) fn find_end(&mut self, part: &str) -> Option<usize> {
        let mut delta = ParsedDelta::default();
        part.char_indices().find_map(|(at, c)| {
            self.step(c, &mut delta);
            self.is_over.then_some(at + c.len_utf8())
        })
    }

    /// The answer has ended for `reason`: returns the output that was held back, and the whole output. Call it once.
    pub fn finish(&mut self, reason: FinishReason) -> (ParsedDelta, ParsedOutput) {
        let (mut delta, num_warnings) = (ParsedDelta::default(), self.warnings.len());
        if self.is_reasoning() {
            self.reasoning_end = self.num_read;
        }
        self.settle(reason, &mut delta);
        self.parsed.append(&delta);
        let has_warned = self.warnings.len() > num_warnings;
        if reason == FinishReason::Length && self.parsed.has_calls() && !has_warned {
            self.warn("`maxTokens` cut the answer off after its tool calls: it may have had more");
        }
        let (parsed, warnings) = (std::mem::take(&mut self.parsed), std::mem::take(&mut self.warnings));
        (delta, parsed.into_output(warnings, self.reasoning_end))
    }

    fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Reasoning { .. })
    }

    fn settle(&mut self, reason: FinishReason, delta: &mut ParsedDelta) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Calls(calls) if !calls.are_whole() => {
                self.cut(&calls, reason, delta);
                // The refused characters may contain the start of another call.
                return self.settle(reason, delta);
            }
            State::Calls(_) => {}
            State::Reasoning { .. } => {
                let held = std::mem::take(&mut self.held);
                held.chars().for_each(|c| self.write_reasoning(c, delta));
                if self.mention.is_found {
                    self.warn("the reasoning has no end, and a tool call in it was not read");
                }
                return;
            }
            State::Text => {
                let held = std::mem::take(&mut self.held);
                held.chars().for_each(|c| self.write_text(c, delta));
            }
        }
        if !self.is_after_marker && !self.gap.is_empty() {
            delta.text().push_str(&self.gap);
        }
        self.gap.clear();
    }

    /// Reads one character. Those behind the end of the answer do not count.
    fn step(&mut self, c: char, delta: &mut ParsedDelta) {
        if self.is_over {
            return;
        }
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => self.step_text(c, delta),
            State::Reasoning { is_fresh } => self.step_reasoning(is_fresh, c, delta),
            State::Calls(calls) => self.step_calls(calls, c, delta),
        }
    }

    /// An opening tag at the start of reasoning is a tag even if the prompt has already opened the reasoning.
    fn step_reasoning(&mut self, mut is_fresh: bool, c: char, delta: &mut ParsedDelta) {
        let Some(tags) = self.tags else { return };
        self.held.push(c);
        while !self.held.is_empty() {
            let held = self.held.as_str();
            let is_opened_again = is_fresh && held == tags.open;
            if is_opened_again || held == tags.close {
                self.state = if is_opened_again { State::Reasoning { is_fresh } } else { State::Text };
                return self.end_marker();
            }
            if tags.close.starts_with(held) || (is_fresh && tags.open.starts_with(held)) {
                break;
            }
            let c = self.held.remove(0);
            is_fresh &= c.is_whitespace();
            self.write_reasoning(c, delta);
        }
        self.state = State::Reasoning { is_fresh };
    }

    fn step_text(&mut self, c: char, delta: &mut ParsedDelta) {
        self.held.push(c);
        while !self.held.is_empty() {
            if self.tags.is_some_and(|tags| self.may_reason && tags.open == self.held) {
                self.may_reason = false;
                self.state = State::Reasoning { is_fresh: true };
                return self.end_marker();
            }
            if let Some(format) = self.format
                && format.opens.iter().any(|open| *open == self.held)
            {
                return self.begin_marked(format);
            }
            if self.may_become_marker() {
                return;
            }
            let c = self.held.remove(0);
            if let Some(format) = self.format.filter(|format| self.may_be_bare && format.bare == Some(c)) {
                return self.begin_bare(format, c, delta);
            }
            let is_space = c.is_whitespace();
            self.may_reason &= is_space;
            self.may_be_bare &= is_space;
            self.write_text(c, delta);
        }
    }

    fn may_become_marker(&self) -> bool {
        let held = self.held.as_str();
        let is_tag = self.tags.is_some_and(|tags| self.may_reason && tags.open.starts_with(held));
        is_tag || self.format.is_some_and(|format| format.opens.iter().any(|open| open.starts_with(held)))
    }

    fn warn(&mut self, warning: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning.to_owned());
        }
    }

    /// A marker is complete: white space around it belongs to it.
    fn end_marker(&mut self) {
        self.held.clear();
        self.gap.clear();
        self.is_after_marker = true;
    }

    fn write_text(&mut self, c: char, delta: &mut ParsedDelta) {
        if c.is_whitespace() {
            return self.gap.push(c);
        }
        if self.rules.is_exclusive {
            self.format = None;
        }
        let is_after_marker = std::mem::take(&mut self.is_after_marker);
        if std::mem::replace(&mut self.last, Last::Text) == Last::Call {
            delta.text().push(SEPARATOR);
        } else if !is_after_marker {
            delta.text().push_str(&self.gap);
        }
        self.gap.clear();
        delta.text().push(c);
    }

    fn write_reasoning(&mut self, c: char, delta: &mut ParsedDelta) {
        self.mention.push(self.format.map_or(&[], |format| format.opens), c);
        if c.is_whitespace() {
            return self.gap.push(c);
        }
        if !std::mem::take(&mut self.is_after_marker) {
            delta.reasoning().push_str(&self.gap);
        }
        self.gap.clear();
        delta.reasoning().push(c);
    }
}
