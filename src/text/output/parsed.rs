//! The results of parsing: deltas while an answer arrives, and the whole output at its end.

/// The new parts of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedDelta {
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
    /// The call was malformed: its earlier deltas are void, and its characters follow as text.
    pub is_withdrawn: bool,
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
    /// What was wrong with malformed calls, in sentences for people.
    pub warnings: Vec<String>,
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
}

impl ParsedDelta {
    /// Whether there is only text.
    pub fn is_plain(&self) -> bool {
        self.reasoning.is_empty() && self.calls.is_empty()
    }

    /// Adds the delta that follows this one.
    pub fn append(&mut self, next: &Self) {
        self.text.push_str(&next.text);
        self.reasoning.push_str(&next.reasoning);
        for ToolCallDelta { index, named, arguments, is_withdrawn } in &next.calls {
            let call = self.call(*index);
            if named.is_some() {
                call.named.clone_from(named);
            }
            call.arguments.push_str(arguments);
            call.is_withdrawn |= is_withdrawn;
        }
    }

    /// The call with this index, which is the last one or a new one.
    pub(super) fn call(&mut self, index: usize) -> &mut ToolCallDelta {
        let is_new = self.calls.last().is_none_or(|call| call.index != index);
        if is_new {
            self.calls.push(ToolCallDelta { index, ..ToolCallDelta::default() });
        }
        let last = self.calls.len() - 1;
        &mut self.calls[last]
    }

    /// The output of an answer with these deltas.
    pub(super) fn into_output(self, warnings: Vec<String>) -> ParsedOutput {
        let whole = |ToolCallDelta { index: _, named, arguments, is_withdrawn }| {
            named.filter(|_| !is_withdrawn).map(|(id, name)| ToolCall { id, name, arguments })
        };
        let calls = self.calls.into_iter().filter_map(whole).collect();
        ParsedOutput { text: self.text, reasoning: self.reasoning, calls, warnings }
    }
}
