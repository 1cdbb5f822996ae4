//! Splits an answer, as it comes, into text, reasoning and calls. It goes from character to character, so that nothing
//! depends on how the answer was cut; it holds back only what may be a mark, white space that may belong to one, and what
//! it must have seen to know a call. What turns out to be no call comes out as text, character for character.

use std::sync::Arc;

use super::call::{Calls, Progress, Reading};
use super::format::{Format, Tags};
use super::{Speech, call_id};

/// More warnings say nothing new.
const MAX_WARNINGS: usize = 16;
/// Between two texts with nothing but calls between them.
const SEAM: char = ' ';

/// What is new in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Outside of everything else.
    pub text: String,
    /// Inside the model's tags.
    pub reasoning: String,
    /// Parts of calls, in their order.
    pub calls: Vec<CallDelta>,
}

/// What is new in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallDelta {
    /// Which of the calls of the answer; never given to two.
    pub index: usize,
    /// Set in the first delta of a call: its id, and the name of a tool.
    pub named: Option<(String, String)>,
    /// All of a call together are the JSON text of an object.
    pub arguments: String,
    /// It turned out to be no call: what was said of it does not count, and its characters come as text.
    pub is_withdrawn: bool,
}

impl Said {
    /// Whether there is nothing but text.
    pub fn is_plain(&self) -> bool {
        self.reasoning.is_empty() && self.calls.is_empty()
    }

    fn call(&mut self, index: usize) -> &mut CallDelta {
        let is_new = self.calls.last().is_none_or(|call| call.index != index);
        if is_new {
            self.calls.push(CallDelta { index, ..CallDelta::default() });
        }
        let last = self.calls.len() - 1;
        &mut self.calls[last]
    }
}

#[derive(Debug)]
enum State {
    /// Whether nothing but white space was read of it.
    Reasoning {
        is_fresh: bool,
    },
    Text,
    Calls(Box<Run>),
}

/// What was passed on last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Text,
    /// Calls behind a text.
    Call,
}

/// Marks of calls in reasoning. They are none, unless the reasoning has no end: then the model may have meant one.
#[derive(Debug, Default)]
struct Mentions {
    /// What may be the beginning of one.
    recent: String,
    is_there: bool,
}

impl Mentions {
    fn push(&mut self, opens: &[&str], c: char) {
        self.recent.push(c);
        while !self.recent.is_empty() && !opens.iter().any(|open| open.starts_with(self.recent.as_str())) {
            self.recent.remove(0);
        }
        self.is_there |= opens.contains(&self.recent.as_str());
    }
}

/// Calls in the making.
#[derive(Debug)]
struct Run {
    calls: Calls,
    reading: Reading,
    /// The characters since the last complete call.
    raw: String,
    /// It began without a mark: it may be anything.
    is_bare: bool,
    has_called: bool,
    /// The present call was told.
    is_told: bool,
}

/// The state of one reading of an answer.
#[derive(Debug)]
pub struct Splitter {
    format: Option<&'static Format>,
    tags: Option<&'static Tags>,
    tools: Arc<[String]>,
    /// What ids are made from.
    request: Arc<str>,
    state: State,
    /// What may be the beginning of a mark.
    held: String,
    /// White space that belongs to a mark, if one follows.
    gap: String,
    /// The last that was read was a mark: white space after it belongs to it.
    is_behind_mark: bool,
    /// Nothing but white space was read.
    may_reason: bool,
    /// The same, after reasoning.
    may_be_bare: bool,
    last: Last,
    mentions: Mentions,
    next_index: usize,
    warnings: Vec<String>,
}

impl Splitter {
    pub(super) fn new(speech: &Speech, request: &Arc<str>) -> Self {
        Self {
            format: speech.format,
            tags: speech.tags,
            tools: Arc::clone(&speech.tools),
            request: Arc::clone(request),
            state: if speech.is_reasoning { State::Reasoning { is_fresh: true } } else { State::Text },
            held: String::new(),
            gap: String::new(),
            is_behind_mark: speech.is_reasoning,
            may_reason: !speech.is_reasoning,
            may_be_bare: true,
            last: Last::Nothing,
            mentions: Mentions::default(),
            next_index: 0,
            warnings: Vec::new(),
        }
    }

    /// Takes more of the answer and adds to `said` what it settles.
    pub fn push(&mut self, piece: &str, said: &mut Said) {
        piece.chars().for_each(|c| self.step(c, said));
    }

    /// The answer is over: what was held back is settled.
    pub fn finish(&mut self, said: &mut Said) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Calls(run) if !run.calls.is_whole() => {
                self.refuse(&run, "it is not complete", said);
                // What was taken for a call may hold the beginning of another one.
                return self.finish(said);
            }
            State::Calls(_) => {}
            State::Reasoning { .. } => {
                let held = std::mem::take(&mut self.held);
                held.chars().for_each(|c| self.think(c, said));
                if self.mentions.is_there {
                    self.warn("the reasoning has no end, and a tool call in it was not read");
                }
                return;
            }
            State::Text => {
                let held = std::mem::take(&mut self.held);
                held.chars().for_each(|c| self.write(c, said));
            }
        }
        if !self.is_behind_mark {
            said.text.push_str(&self.gap);
        }
        self.gap.clear();
    }

    /// What was wrong with calls so far, in sentences for people.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    fn step(&mut self, c: char, said: &mut Said) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => self.step_text(c, said),
            State::Reasoning { is_fresh } => self.step_reasoning(is_fresh, c, said),
            State::Calls(run) => self.step_calls(run, c, said),
        }
    }

    /// The tag that opens reasoning is one at its beginning, too: the prompt may have opened it already.
    fn step_reasoning(&mut self, mut is_fresh: bool, c: char, said: &mut Said) {
        let Some(tags) = self.tags else { return };
        self.held.push(c);
        while !self.held.is_empty() {
            let held = self.held.as_str();
            let is_opened_again = is_fresh && held == tags.open;
            if is_opened_again || held == tags.close {
                self.state = if is_opened_again { State::Reasoning { is_fresh } } else { State::Text };
                return self.marked();
            }
            if tags.close.starts_with(held) || (is_fresh && tags.open.starts_with(held)) {
                break;
            }
            let c = self.held.remove(0);
            is_fresh &= c.is_whitespace();
            self.think(c, said);
        }
        self.state = State::Reasoning { is_fresh };
    }

    fn step_text(&mut self, c: char, said: &mut Said) {
        self.held.push(c);
        while !self.held.is_empty() {
            if self.tags.is_some_and(|tags| self.may_reason && tags.open == self.held) {
                self.may_reason = false;
                self.state = State::Reasoning { is_fresh: true };
                return self.marked();
            }
            if let Some(format) = self.format
                && format.opens.iter().any(|open| *open == self.held)
            {
                return self.begin_calls(format);
            }
            if self.is_held() {
                return;
            }
            let c = self.held.remove(0);
            if let Some(format) = self.format.filter(|format| self.may_be_bare && format.bare == Some(c)) {
                return self.begin_bare(format, c, said);
            }
            let is_space = c.is_whitespace();
            self.may_reason &= is_space;
            self.may_be_bare &= is_space;
            self.write(c, said);
        }
    }

    /// Whether what is held back may become a mark.
    fn is_held(&self) -> bool {
        let held = self.held.as_str();
        let is_tag = self.tags.is_some_and(|tags| self.may_reason && tags.open.starts_with(held));
        is_tag || self.format.is_some_and(|format| format.opens.iter().any(|open| open.starts_with(held)))
    }

    fn begin_calls(&mut self, format: &'static Format) {
        let mark = std::mem::take(&mut self.held);
        self.begin_run(format, &mark, false);
    }

    fn begin_bare(&mut self, format: &'static Format, c: char, said: &mut Said) {
        let rest = std::mem::take(&mut self.held);
        self.begin_run(format, "", true);
        self.step(c, said);
        rest.chars().for_each(|c| self.step(c, said));
    }

    fn begin_run(&mut self, format: &'static Format, mark: &str, is_bare: bool) {
        let gap = if self.is_behind_mark { "" } else { self.gap.as_str() };
        let raw = format!("{gap}{mark}");
        self.marked();
        (self.may_reason, self.may_be_bare) = (false, false);
        let (calls, reading) = (Calls::new(format, is_bare), Reading::default());
        self.state = State::Calls(Box::new(Run { calls, reading, raw, is_bare, has_called: false, is_told: false }));
    }

    fn step_calls(&mut self, mut run: Box<Run>, c: char, said: &mut Said) {
        let progress = run.calls.push(c, &mut run.reading);
        if progress != Progress::Over && progress != Progress::Bad {
            run.raw.push(c);
            let name = run.reading.name.as_ref().filter(|_| !run.is_told);
            if let Some(name) = name.filter(|name| !self.tools.contains(name)) {
                let reason = format!("`{name:.64}` is not one of the tools");
                return self.refuse(&run, &reason, said);
            }
            self.tell(&mut run, said);
        }
        match progress {
            Progress::More => self.state = State::Calls(run),
            Progress::Called => {
                self.next_index += 1;
                if self.last == Last::Text {
                    self.last = Last::Call;
                }
                run.raw.clear();
                run.reading = Reading::default();
                (run.has_called, run.is_told) = (true, false);
                self.state = State::Calls(run);
            }
            Progress::Closed => self.marked(),
            Progress::Over => {
                if !run.calls.is_closed() {
                    self.release(&run, said);
                }
                self.step(c, said);
            }
            Progress::Bad => {
                self.refuse(&run, &format!("it cannot go on with `{}`", c.escape_debug()), said);
                self.step(c, said);
            }
        }
    }

    /// Passes on what is new of a call, once it has a name.
    fn tell(&self, run: &mut Run, said: &mut Said) {
        let Some(name) = &run.reading.name else { return };
        if !run.is_told {
            said.call(self.next_index).named = Some((call_id(&self.request, self.next_index), name.clone()));
            run.is_told = true;
        }
        if !run.reading.arguments.is_empty() {
            said.call(self.next_index).arguments.push_str(&run.reading.arguments);
            run.reading.arguments.clear();
        }
    }

    /// It was no call.
    fn refuse(&mut self, run: &Run, reason: &str, said: &mut Said) {
        if run.is_told {
            said.call(self.next_index).is_withdrawn = true;
            self.next_index += 1;
        }
        // What begins without a mark and never names a tool was not meant as a call.
        let was_meant = run.is_told || run.has_called || !run.is_bare;
        if was_meant {
            self.warn(&format!("a tool call is malformed and was left in the text: {reason}"));
        }
        self.release(run, said);
    }

    fn warn(&mut self, warning: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning.to_owned());
        }
    }

    /// Makes text of characters that were taken for calls. Behind a call another one may begin in them; else they begin
    /// with the mark that was read already.
    fn release(&mut self, run: &Run, said: &mut Said) {
        self.state = State::Text;
        if run.has_called {
            return run.raw.chars().for_each(|c| self.step(c, said));
        }
        self.is_behind_mark = false;
        run.raw.chars().for_each(|c| self.write(c, said));
    }

    /// A mark was read whole: white space around it is part of it.
    fn marked(&mut self) {
        self.held.clear();
        self.gap.clear();
        self.is_behind_mark = true;
    }

    /// A character of the text. Where calls were read since the last one, a space is left between the two.
    fn write(&mut self, c: char, said: &mut Said) {
        if c.is_whitespace() {
            return self.gap.push(c);
        }
        let is_behind_mark = std::mem::take(&mut self.is_behind_mark);
        if std::mem::replace(&mut self.last, Last::Text) == Last::Call {
            said.text.push(SEAM);
        } else if !is_behind_mark {
            said.text.push_str(&self.gap);
        }
        self.gap.clear();
        said.text.push(c);
    }

    /// A character of the reasoning.
    fn think(&mut self, c: char, said: &mut Said) {
        self.mentions.push(self.format.map_or(&[], |format| format.opens), c);
        if c.is_whitespace() {
            return self.gap.push(c);
        }
        if !std::mem::take(&mut self.is_behind_mark) {
            said.reasoning.push_str(&self.gap);
        }
        self.gap.clear();
        said.reasoning.push(c);
    }
}
