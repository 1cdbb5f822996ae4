//! The streaming parser, which is also the reasoning parser: splits an answer into text, reasoning and tool calls while it
//! arrives. It reads one character at a time, so the result does not depend on how the answer was cut. It holds back only
//! characters that may start a marker, white space that may belong to a marker, and the start of a call until its name is
//! known. A malformed call comes out as text, character for character.

use std::sync::Arc;

use super::parsed::{ParsedDelta, ParsedOutput, Passed, call_id};
use crate::request::ReasoningTags;
use crate::text::reasoning::{CallMention, TagPair};
use crate::text::tool_calls::{CallProgress, PartialCall, ToolCallFormat, ToolCallParser};

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
    /// A warning about the prompt.
    pub(super) note: Option<&'static str>,
}

impl OutputParser {
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
            warnings: self.note.map(str::to_owned).into_iter().collect(),
            num_read: 0,
            reasoning_end: 0,
            parsed: Passed::default(),
        }
    }

    /// Parses a whole answer.
    pub fn parse(&self, answer: &str, request: &Arc<str>) -> ParsedOutput {
        let mut parser = self.streaming(request);
        parser.push(answer);
        parser.finish().1
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

/// The calls after one opening marker.
#[derive(Debug)]
struct OpenCalls {
    parser: ToolCallParser,
    partial: PartialCall,
    /// Characters since the last complete call.
    raw: String,
    /// The calls began without a marker, so they may be something else.
    is_bare: bool,
    /// At least one call is complete.
    has_called: bool,
    /// Readers have the name of the current call.
    is_reported: bool,
}

/// The state of the parser within one answer.
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

    /// The answer is over: returns the output that was held back, and the whole output. Call it once.
    pub fn finish(&mut self) -> (ParsedDelta, ParsedOutput) {
        let mut delta = ParsedDelta::default();
        if self.is_reasoning() {
            self.reasoning_end = self.num_read;
        }
        self.settle(&mut delta);
        self.parsed.append(&delta);
        let (parsed, warnings) = (std::mem::take(&mut self.parsed), std::mem::take(&mut self.warnings));
        (delta, parsed.into_output(warnings, self.reasoning_end))
    }

    fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Reasoning { .. })
    }

    fn settle(&mut self, delta: &mut ParsedDelta) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Calls(calls) if !calls.parser.is_whole() => {
                self.refuse(&calls, "it is not complete", delta);
                // The refused characters may contain the start of another call.
                return self.settle(delta);
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

    fn step(&mut self, c: char, delta: &mut ParsedDelta) {
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

    fn begin_marked(&mut self, format: &'static ToolCallFormat) {
        let marker = std::mem::take(&mut self.held);
        self.begin_calls(format, &marker, false);
    }

    fn begin_bare(&mut self, format: &'static ToolCallFormat, c: char, delta: &mut ParsedDelta) {
        let rest = std::mem::take(&mut self.held);
        self.begin_calls(format, "", true);
        self.step(c, delta);
        rest.chars().for_each(|c| self.step(c, delta));
    }

    fn begin_calls(&mut self, format: &'static ToolCallFormat, marker: &str, is_bare: bool) {
        let gap = if self.is_after_marker { "" } else { self.gap.as_str() };
        let raw = format!("{gap}{marker}");
        self.end_marker();
        (self.may_reason, self.may_be_bare) = (false, false);
        let (parser, partial) = (ToolCallParser::new(format, is_bare), PartialCall::default());
        let calls = OpenCalls { parser, partial, raw, is_bare, has_called: false, is_reported: false };
        self.state = State::Calls(Box::new(calls));
    }

    fn step_calls(&mut self, mut calls: Box<OpenCalls>, c: char, delta: &mut ParsedDelta) {
        let progress = calls.parser.push(c, &mut calls.partial);
        if progress != CallProgress::EndedBefore && progress != CallProgress::Invalid {
            calls.raw.push(c);
            let name = calls.partial.name.as_ref().filter(|_| !calls.is_reported);
            if let Some(name) = name.filter(|name| !self.tools.contains(name)) {
                let reason = format!("`{name:.64}` is not one of the tools");
                return self.refuse(&calls, &reason, delta);
            }
            self.report(&mut calls, delta);
        }
        match progress {
            CallProgress::Incomplete => self.state = State::Calls(calls),
            CallProgress::CallComplete => {
                delta.call(self.next_index).is_complete = true;
                self.next_index += 1;
                if self.last == Last::Text {
                    self.last = Last::Call;
                }
                calls.raw.clear();
                calls.partial = PartialCall::default();
                (calls.has_called, calls.is_reported) = (true, false);
                self.state = State::Calls(calls);
            }
            CallProgress::Closed => self.end_marker(),
            CallProgress::EndedBefore => {
                if !calls.parser.is_closed() {
                    self.release(&calls, delta);
                }
                self.step(c, delta);
            }
            CallProgress::Invalid => {
                self.refuse(&calls, &format!("it cannot go on with `{}`", c.escape_debug()), delta);
                self.step(c, delta);
            }
        }
    }

    /// Passes on the new part of a call once its name is known.
    fn report(&self, calls: &mut OpenCalls, delta: &mut ParsedDelta) {
        let Some(name) = &calls.partial.name else { return };
        if !calls.is_reported {
            delta.call(self.next_index).named = Some((call_id(&self.request, self.next_index), name.clone()));
            calls.is_reported = true;
        }
        if !calls.partial.arguments.is_empty() {
            delta.call(self.next_index).arguments.push_str(&calls.partial.arguments);
            calls.partial.arguments.clear();
        }
    }

    /// The current call is malformed: withdraws it and turns its characters into text.
    fn refuse(&mut self, calls: &OpenCalls, reason: &str, delta: &mut ParsedDelta) {
        if calls.is_reported {
            delta.call(self.next_index).is_withdrawn = true;
            self.next_index += 1;
        }
        // Characters without a marker that never name a tool are ordinary text: no warning.
        let is_call = calls.is_reported || calls.has_called || !calls.is_bare;
        if is_call {
            self.warn(&format!("a tool call is malformed and was left in the text: {reason}"));
        }
        self.release(calls, delta);
    }

    fn warn(&mut self, warning: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning.to_owned());
        }
    }

    /// Turns the characters since the last complete call into text. After a complete call they may contain another
    /// call; otherwise they start with a marker that was already read.
    fn release(&mut self, calls: &OpenCalls, delta: &mut ParsedDelta) {
        self.state = State::Text;
        if calls.has_called {
            return calls.raw.chars().for_each(|c| self.step(c, delta));
        }
        self.is_after_marker = false;
        calls.raw.chars().for_each(|c| self.write_text(c, delta));
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
