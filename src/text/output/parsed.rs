//! The results of parsing: the new output while an answer arrives, and the whole output at its end.

/// The length of a call's id. Mistral's templates accept only this length; other templates accept any.
const ID_CHARS: usize = 9;

/// A part of the new output. Reasoning comes before text, and text before tool calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedPart {
    /// Text outside of reasoning and tool calls.
    pub text: String,
    /// Text between the model's reasoning tags.
    pub reasoning: String,
    /// Parts of tool calls, in their order.
    pub calls: Vec<ToolCallDelta>,
}

/// The new part of one tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Position among the calls of the answer. A withdrawn call keeps its index.
    pub index: usize,
    /// The call's id and the name of its tool; set in the first delta of a call.
    pub named: Option<(String, String)>,
    /// A part of the arguments. All parts together are a JSON object.
    pub arguments: String,
    /// The call does not count: discard its earlier deltas. It was malformed or cut off, and its characters follow as text;
    /// or it repeats an earlier call.
    pub is_withdrawn: bool,
    /// The call is complete: no delta of it follows.
    pub is_complete: bool,
}

/// The new output of an answer. Output that comes before earlier output in the order of [`ParsedPart`] begins a new part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedDelta {
    /// The parts before the last one; usually none.
    pub before: Vec<ParsedPart>,
    /// The last part.
    pub last: ParsedPart,
}

/// The whole output of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedOutput {
    /// Text outside of reasoning and tool calls.
    pub text: String,
    /// Text between the model's reasoning tags.
    pub reasoning: String,
    /// Complete tool calls.
    pub calls: Vec<ToolCall>,
    /// Warnings about the answer or its prompt, in sentences.
    pub warnings: Vec<String>,
    /// Bytes of the answer up to the end of its reasoning, tags included. 0 if neither the prompt nor the answer opens any.
    pub reasoning_end: usize,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The message with the call's result refers to this id.
    pub id: String,
    /// The name of a tool.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
    /// Bytes of the answer's text before the call.
    pub text_before: usize,
}

impl ParsedPart {
    /// Whether there is only text.
    pub fn is_plain(&self) -> bool {
        self.reasoning.is_empty() && self.calls.is_empty()
    }

    /// The last call if it has this index, otherwise a new call.
    fn call(&mut self, index: usize) -> &mut ToolCallDelta {
        let is_new = self.calls.last().is_none_or(|call| call.index != index);
        if is_new {
            self.calls.push(ToolCallDelta { index, ..ToolCallDelta::default() });
        }
        let last = self.calls.len() - 1;
        &mut self.calls[last]
    }
}

impl ToolCallDelta {
    /// Adds the delta of the same call that follows this one.
    fn append(&mut self, next: Self) {
        self.named = next.named.or_else(|| self.named.take());
        self.arguments.push_str(&next.arguments);
        self.is_withdrawn |= next.is_withdrawn;
        self.is_complete |= next.is_complete;
    }
}

impl ParsedDelta {
    /// The string to which new reasoning is appended. Begins a new part if the last one has text or calls.
    pub(super) fn reasoning(&mut self) -> &mut String {
        if !self.last.text.is_empty() || !self.last.calls.is_empty() {
            self.begin();
        }
        &mut self.last.reasoning
    }

    /// The string to which new text is appended. Begins a new part if the last one has calls.
    pub(super) fn text(&mut self) -> &mut String {
        if !self.last.calls.is_empty() {
            self.begin();
        }
        &mut self.last.text
    }

    /// The last call of the last part if it has this index, otherwise a new call.
    pub(super) fn call(&mut self, index: usize) -> &mut ToolCallDelta {
        self.last.call(index)
    }

    /// Adds the output that follows this one.
    pub fn append(&mut self, next: Self) {
        for ParsedPart { text, reasoning, calls } in next {
            if !reasoning.is_empty() {
                self.reasoning().push_str(&reasoning);
            }
            if !text.is_empty() {
                self.text().push_str(&text);
            }
            for call in calls {
                self.call(call.index).append(call);
            }
        }
    }

    fn begin(&mut self) {
        self.before.push(std::mem::take(&mut self.last));
    }
}

impl IntoIterator for ParsedDelta {
    type Item = ParsedPart;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<ParsedPart>, std::iter::Once<ParsedPart>>;

    fn into_iter(self) -> Self::IntoIter {
        self.before.into_iter().chain(std::iter::once(self.last))
    }
}

/// The output of an answer that was passed on so far.
#[derive(Debug, Default)]
pub(super) struct Passed {
    text: String,
    reasoning: String,
    /// Each call, and the number of bytes of text before it.
    calls: Vec<(ToolCallDelta, usize)>,
}

impl Passed {
    pub(super) fn append(&mut self, delta: &ParsedDelta) {
        for ParsedPart { text, reasoning, calls } in delta.before.iter().chain([&delta.last]) {
            self.reasoning.push_str(reasoning);
            self.text.push_str(text);
            for call in calls {
                match self.calls.last_mut() {
                    Some((last, _)) if last.index == call.index => last.append(call.clone()),
                    _ => self.calls.push((call.clone(), self.text.len())),
                }
            }
        }
    }

    /// Whether there is a call that counts.
    pub(super) fn has_calls(&self) -> bool {
        self.calls.iter().any(|(call, _)| !call.is_withdrawn)
    }

    /// The whole output of the answer.
    pub(super) fn into_output(self, warnings: Vec<String>, reasoning_end: usize) -> ParsedOutput {
        let whole = |(ToolCallDelta { named, arguments, is_withdrawn, .. }, text_before)| {
            let (id, name) = named.filter(|_| !is_withdrawn)?;
            Some(ToolCall { id, name, arguments, text_before })
        };
        let calls = self.calls.into_iter().filter_map(whole).collect();
        ParsedOutput { text: self.text, reasoning: self.reasoning, calls, warnings, reasoning_end }
    }
}

/// The id of a call: a hash of the request's id and the call's index, so parsing an answer again gives the same ids.
pub(super) fn call_id(request: &str, index: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = blake3::hash(format!("{index} {request}").as_bytes());
    let bytes = hash.as_bytes().iter().take(ID_CHARS);
    bytes.map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()])).collect()
}
