//! What a chat template is given: messages, tools and variables, under the names that templates know.

use minijinja::value::Value as JinjaValue;
use serde_json::{Map, Value};

/// A conversation, and what else its template is to know of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chat {
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// Descriptions of functions that the model may call, as its template prints them. `None` and none are different to
    /// some templates.
    pub tools: Option<Vec<Value>>,
    /// Whether the answer must call them.
    pub choice: ToolChoice,
    /// More variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// The answer goes on where the last message ends, instead of beginning a turn.
    pub continues_final: bool,
}

/// Which functions an answer calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Those that the model wants to.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// This one, once.
    Named(String),
}

/// One message of a chat, as the chat template sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Who speaks; which roles there are is up to the template.
    pub role: String,
    /// What is said; a message that calls functions may say nothing.
    pub content: Option<Content>,
    /// What the model thought before it said that.
    pub reasoning: Option<String>,
    /// Name of the speaker; templates that know nothing of it ignore it.
    pub name: Option<String>,
    /// Calls of functions: objects with `id`, `type` and `function`.
    pub tool_calls: Vec<Value>,
    /// The call whose result this is.
    pub tool_call_id: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts that templates either see one by one, or joined where they know nothing of parts.
    Parts(Vec<String>),
}

/// A variable of a template by name.
pub(super) type Variable = (String, JinjaValue);

impl Content {
    /// The text that an answer would continue, and what is before it.
    pub(super) fn last_text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Parts(parts) => parts.last_mut(),
        }
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.concat(),
        }
    }

    fn variable(&self, has_parts: bool) -> JinjaValue {
        match self {
            Self::Text(text) => JinjaValue::from(text.as_str()),
            Self::Parts(parts) if has_parts => parts.iter().map(|text| part(text)).collect(),
            Self::Parts(parts) => JinjaValue::from(parts.concat()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts.iter().map(|text| text.len() + NODE_BYTES).sum(),
        }
    }
}

/// What writing a value takes beside its texts, at most.
const NODE_BYTES: usize = 64;

impl Chat {
    /// `messages` and `tools`; what else there is in a chat overrides what the model brings.
    pub(super) fn variables(&self, has_parts: bool) -> Vec<Variable> {
        let messages = self.messages.iter().map(|message| message.variable(has_parts)).collect();
        let tools = self.tools.as_ref().map_or(JinjaValue::from(()), |tools| list(tools));
        let fixed = [
            ("messages", messages),
            ("add_generation_prompt", JinjaValue::from(!self.continues_final)),
            ("tools", tools),
            ("documents", JinjaValue::from(())),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        fixed.chain(given(&self.variables)).collect()
    }

    /// The functions that an answer has to choose from, and whether it is one call of them; nothing where it is free.
    pub(super) fn required_tools(&self) -> Option<(Vec<&Value>, bool)> {
        let tools = self.tools.iter().flatten();
        match &self.choice {
            ToolChoice::Auto => None,
            ToolChoice::Required => Some((tools.collect(), false)),
            ToolChoice::Named(name) => Some((tools.filter(|tool| tool["function"]["name"] == **name).collect(), true)),
        }
    }

    /// Bytes that printing everything once takes, roughly.
    pub fn num_bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::len).sum();
        messages + self.tools.iter().flatten().map(len_of).sum::<usize>() + len_of_all(&self.variables)
    }
}

impl Message {
    fn variable(&self, has_parts: bool) -> JinjaValue {
        let text = |name: &'static str, text: &Option<String>| Some((name, JinjaValue::from(text.as_deref()?)));
        let calls = (!self.tool_calls.is_empty()).then(|| list(&self.tool_calls));
        let fields = [
            // Older templates know reasoning as `thinking`.
            text("thinking", &self.reasoning),
            Some(("role", JinjaValue::from(self.role.as_str()))),
            self.content.as_ref().map(|content| ("content", content.variable(has_parts))),
            text("reasoning_content", &self.reasoning),
            text("name", &self.name),
            calls.map(|calls| ("tool_calls", calls)),
            text("tool_call_id", &self.tool_call_id),
        ];
        JinjaValue::from_pairs(fields.into_iter().flatten())
    }

    fn len(&self) -> usize {
        let texts = [&self.reasoning, &self.name, &self.tool_call_id];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let calls: usize = self.tool_calls.iter().map(len_of).sum();
        NODE_BYTES + self.role.len() + self.content.as_ref().map_or(0, Content::len) + 2 * texts + calls
    }
}

/// The variables a caller gave.
pub(super) fn given(variables: &Map<String, Value>) -> impl Iterator<Item = Variable> {
    variables.iter().map(|(name, value)| (name.clone(), variable(value)))
}

/// Bytes that printing the variables once takes, roughly.
pub(super) fn len_of_all(variables: &Map<String, Value>) -> usize {
    variables.iter().map(|(name, value)| name.len() + len_of(value)).sum()
}

fn len_of(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(len_of).sum(),
        Value::Object(fields) => len_of_all(fields),
        _ => 0,
    };
    NODE_BYTES + inner
}

fn variable(value: &Value) -> JinjaValue {
    match value {
        Value::Null => JinjaValue::from(()),
        Value::Bool(is_true) => JinjaValue::from(*is_true),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => JinjaValue::from(whole),
            None => JinjaValue::from(number.as_f64()),
        },
        Value::String(text) => JinjaValue::from(text.as_str()),
        Value::Array(items) => list(items),
        Value::Object(fields) => JinjaValue::from_pairs(given(fields)),
    }
}

fn list(items: &[Value]) -> JinjaValue {
    items.iter().map(variable).collect()
}

fn part(text: &str) -> JinjaValue {
    JinjaValue::from_pairs([("type", "text"), ("text", text)])
}

/// A caller's own template and what it is filled with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptTemplate {
    /// Jinja, as in chat templates.
    pub source: String,
    /// What it may name, besides the model's special tokens.
    pub variables: Map<String, Value>,
}

impl PromptTemplate {
    /// Bytes of the template, and those that printing its variables once takes, roughly.
    pub fn num_bytes(&self) -> usize {
        self.source.len() + len_of_all(&self.variables)
    }
}
