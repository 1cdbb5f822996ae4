//! The tool calls of the streaming parser: from an opening marker to the end of the run of calls. Decides which calls count,
//! which characters of a malformed call become text, and where calls end the answer.

use super::{Last, State, StreamingParser};
use crate::request::{CallEnd, FinishReason};
use crate::text::output::parsed::{ParsedDelta, call_id};
use crate::text::tool_calls::{CallProgress, PartialCall, ToolCallFormat, ToolCallParser};

/// The calls after one opening marker.
#[derive(Debug)]
pub(super) struct OpenCalls {
    parser: ToolCallParser,
    partial: PartialCall,
    /// The arguments of the current call that were passed on.
    arguments: String,
    /// Characters since the last complete call.
    raw: String,
    /// The calls began without a marker, so they may be something else.
    is_bare: bool,
    /// At least one call is complete.
    has_called: bool,
    /// The name of the current call, once readers have it.
    reported: Option<String>,
}

impl OpenCalls {
    /// Whether the calls are complete if the answer ends here.
    pub(super) fn are_whole(&self) -> bool {
        self.parser.is_whole()
    }
}

/// A call whose tool and arguments are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MadeCall {
    name: String,
    arguments: String,
}

impl StreamingParser {
    pub(super) fn begin_marked(&mut self, format: &'static ToolCallFormat) {
        let marker = std::mem::take(&mut self.held);
        self.begin_calls(format, &marker, false);
    }

    pub(super) fn begin_bare(&mut self, format: &'static ToolCallFormat, c: char, delta: &mut ParsedDelta) {
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
        let parser = ToolCallParser::new(format, is_bare);
        let (partial, arguments) = (PartialCall::default(), String::new());
        let calls = OpenCalls { parser, partial, arguments, raw, is_bare, has_called: false, reported: None };
        self.state = State::Calls(Box::new(calls));
    }

    pub(super) fn step_calls(&mut self, mut calls: Box<OpenCalls>, c: char, delta: &mut ParsedDelta) {
        let progress = calls.parser.push(c, &mut calls.partial);
        if progress != CallProgress::EndedBefore && progress != CallProgress::Invalid {
            calls.raw.push(c);
            let name = calls.partial.name.as_ref().filter(|_| calls.reported.is_none());
            if let Some(name) = name.filter(|name| !self.tools.contains(name)) {
                let reason = format!("`{name:.64}` is not one of the tools");
                return self.refuse(&calls, &malformed(&reason), delta);
            }
            self.report(&mut calls, delta);
        }
        match progress {
            CallProgress::Incomplete => self.state = State::Calls(calls),
            CallProgress::CallComplete => self.complete(calls, delta),
            CallProgress::Closed => self.end_marker(),
            CallProgress::EndedBefore => {
                if !calls.parser.is_closed() {
                    self.release(&calls, delta);
                }
                self.step(c, delta);
            }
            CallProgress::Invalid => {
                let reason = format!("it cannot go on with `{}`", c.escape_debug());
                self.refuse(&calls, &malformed(&reason), delta);
                self.step(c, delta);
            }
        }
    }

    /// Passes on the new part of a call once its name is known.
    fn report(&self, calls: &mut OpenCalls, delta: &mut ParsedDelta) {
        let Some(name) = &calls.partial.name else { return };
        if calls.reported.is_none() {
            delta.call(self.next_index).named = Some((call_id(&self.request, self.next_index), name.clone()));
            calls.reported = Some(name.clone());
        }
        if !calls.partial.arguments.is_empty() {
            delta.call(self.next_index).arguments.push_str(&calls.partial.arguments);
            calls.arguments.push_str(&calls.partial.arguments);
            calls.partial.arguments.clear();
        }
    }

    /// A call of one of the tools is complete.
    fn complete(&mut self, mut calls: Box<OpenCalls>, delta: &mut ParsedDelta) {
        let name = calls.reported.take().unwrap_or_default();
        self.account(MadeCall { name, arguments: std::mem::take(&mut calls.arguments) }, delta);
        self.next_index += 1;
        if self.last == Last::Text {
            self.last = Last::Call;
        }
        calls.raw.clear();
        calls.partial = PartialCall::default();
        calls.has_called = true;
        self.state = State::Calls(calls);
    }

    /// Decides whether a complete call ends the answer. A repeated call is withdrawn, so that the caller does not run the tool
    /// twice only because the model did not stop.
    fn account(&mut self, call: MadeCall, delta: &mut ParsedDelta) {
        let is_repeated = self.made.contains(&call);
        let counted = delta.call(self.next_index);
        (counted.is_complete, counted.is_withdrawn) = (!is_repeated, is_repeated);
        match self.rules.end {
            None => {}
            Some(CallEnd::FirstCall) => self.is_over = true,
            Some(CallEnd::RepeatedCall) if is_repeated => {
                self.is_over = true;
                self.warn(&format!(
                    "the model repeated its call of `{:.64}` with the same arguments: the answer ends there, and the \
                     repeated call does not count",
                    call.name
                ));
            }
            Some(CallEnd::RepeatedCall) => self.made.push(call),
        }
    }

    /// The answer is over inside of a call: its characters become text.
    pub(super) fn cut(&mut self, calls: &OpenCalls, reason: FinishReason, delta: &mut ParsedDelta) {
        let problem = match reason {
            FinishReason::Length => "was cut off by `maxTokens` and was left in the text".to_owned(),
            FinishReason::Cancelled => {
                "was cut off when the request was cancelled, and was left in the text".to_owned()
            }
            FinishReason::Stop | FinishReason::ToolCalls => malformed("it is not complete"),
        };
        self.refuse(calls, &problem, delta);
    }

    /// The current call does not count: withdraws it and turns its characters into text.
    fn refuse(&mut self, calls: &OpenCalls, problem: &str, delta: &mut ParsedDelta) {
        let is_reported = calls.reported.is_some();
        if is_reported {
            delta.call(self.next_index).is_withdrawn = true;
            self.next_index += 1;
        }
        // Without a marker, characters that name no tool are ordinary text: no warning. There is none either if the answer may
        // be a text instead of calls, because such a text can begin like a call.
        let names_tool = is_reported && !self.rules.is_exclusive;
        if names_tool || calls.has_called || !calls.is_bare {
            self.warn(&format!("a tool call {problem}"));
        }
        self.release(calls, delta);
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
}

fn malformed(reason: &str) -> String {
    format!("is malformed and was left in the text: {reason}")
}
