//! The input of chat templates: messages, tools and variables, under the names that templates use.

use serde_json::{Map, Value};

use super::jinja::{Name, Rendered, Text, Value as JinjaValue};
use super::special::NAMES;

/// A conversation and the other variables of its template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chat {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Descriptions of tools, as the template prints them. Some templates distinguish `None` from an empty list.
    pub tools: Option<Vec<Value>>,
    /// Whether the answer must call tools.
    pub choice: ToolChoice,
    /// The answer has at most one call.
    pub is_single_call: bool,
    /// More variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// The answer continues the last message instead of starting a turn.
    pub continues_final: bool,
    /// The prompt is a prefix of later prompts: it ends with the last message, without the start of an answer.
    pub is_beginning: bool,
    /// Which strings become special tokens.
    pub special_tokens: SpecialTokens,
}

/// Which strings in a prompt become special tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Those that the template or an assistant message contains. In user messages, tools and variables they are text.
    #[default]
    Template,
    /// All.
    All,
}

/// Which tools an answer calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As many as the model wants, or none.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// This one, exactly once.
    Named(String),
}

/// One message of a chat, as the chat template sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The role; the template defines which roles exist.
    pub role: String,
    /// The content; may be absent in a message with tool calls.
    pub content: Option<Content>,
    /// The reasoning before the content.
    pub reasoning: Option<String>,
    /// The author's name; many templates ignore it.
    pub name: Option<String>,
    /// Tool calls: objects with `id`, `type` and `function`.
    pub tool_calls: Vec<Value>,
    /// The id of the call that this message answers.
    pub tool_call_id: Option<String>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One text.
    Text(String),
    /// Several texts. The template sees them as a list, or joined if it does not support parts.
    Parts(Vec<String>),
    /// A text that a tool prompt wrote. It records which of its parts come from outside of the templates.
    Written(Rendered),
}

/// A variable of a template by name.
pub(super) type Variable = (Name, JinjaValue);

impl Content {
    /// The text that an answer would continue.
    pub(super) fn last_text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Parts(parts) => parts.last_mut(),
            Self::Written(rendered) => Some(&mut rendered.text),
        }
    }

    /// All text.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.concat(),
            Self::Written(rendered) => rendered.text.clone(),
        }
    }

    fn variable(&self, has_parts: bool, origin: Origin) -> JinjaValue {
        match self {
            Self::Text(text) => origin.text(text),
            Self::Parts(parts) if has_parts => items(parts.iter().map(|text| part(text, origin)).collect()),
            Self::Parts(parts) => origin.text(&parts.concat()),
            Self::Written(rendered) => JinjaValue::Text(Text::marked(&rendered.text, &rendered.outside)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts.iter().map(|text| text.len() + NODE_BYTES).sum(),
            Self::Written(rendered) => rendered.text.len(),
        }
    }
}

/// Upper bound of the bytes for writing a value, besides its strings.
const NODE_BYTES: usize = 64;

impl Chat {
    /// All variables of the chat. They override the variables of the model.
    pub(super) fn variables(&self, has_parts: bool) -> Vec<Variable> {
        let messages = self.messages.iter().map(|message| message.variable(has_parts)).collect();
        let tools = self.tools_variable();
        let fixed = [
            ("messages", items(messages)),
            ("add_generation_prompt", JinjaValue::Bool(!self.continues_final && !self.is_beginning)),
            ("tools", tools),
            ("documents", JinjaValue::None),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.into(), value));
        fixed.chain(given(&self.variables)).collect()
    }

    /// The tools as a list; `None` if there are none.
    pub(super) fn tools_variable(&self) -> JinjaValue {
        self.tools.as_ref().map_or(JinjaValue::None, |tools| list(tools, Origin::Outside))
    }

    /// The chat with an empty text in each message without content.
    pub(super) fn with_empty_contents(&self) -> Self {
        let mut chat = self.clone();
        for message in &mut chat.messages {
            message.content.get_or_insert_with(|| Content::Text(String::new()));
        }
        chat
    }

    /// Number of messages, tools, calls and values.
    pub(super) fn num_items(&self) -> usize {
        let tools = self.tools.iter().flatten().map(num_items).sum::<usize>();
        let calls = self.messages.iter().map(|message| message.tool_calls.len()).sum::<usize>();
        self.messages.len() + calls + tools + num_items_of(&self.variables)
    }

    /// The tools that an answer may call.
    pub(super) fn callable_tools(&self) -> Vec<&Value> {
        let is_callable = |tool: &&Value| match &self.choice {
            ToolChoice::Auto | ToolChoice::Required => true,
            ToolChoice::Named(name) => tool["function"]["name"] == **name,
        };
        self.tools.iter().flatten().filter(is_callable).collect()
    }

    /// Whether an answer has at most one call.
    pub(super) fn has_single_call(&self) -> bool {
        self.is_single_call || matches!(self.choice, ToolChoice::Named(_))
    }

    /// Whether an answer is at least one call.
    pub fn must_call(&self) -> bool {
        self.choice != ToolChoice::Auto
    }

    /// Bytes for printing everything once, approximately.
    pub fn num_bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::len).sum();
        messages + self.tools.iter().flatten().map(len_of).sum::<usize>() + len_of_all(&self.variables)
    }
}

impl Message {
    /// Assistant messages may contain the model's own markers.
    fn origin(&self) -> Origin {
        if self.role == "assistant" { Origin::Model } else { Origin::Outside }
    }

    /// The content as one text.
    pub(super) fn text_variable(&self) -> JinjaValue {
        self.content.as_ref().map_or_else(|| JinjaValue::own(""), |content| content.variable(false, self.origin()))
    }

    /// The tool calls as a list.
    pub(super) fn calls_variable(&self) -> JinjaValue {
        list(&self.tool_calls, self.origin())
    }

    fn variable(&self, has_parts: bool) -> JinjaValue {
        let origin = self.origin();
        let text = |name: &'static str, text: &Option<String>| Some((name, origin.text(text.as_deref()?)));
        let calls = (!self.tool_calls.is_empty()).then(|| self.calls_variable());
        let fields = [
            // Older templates read reasoning as `thinking`.
            text("thinking", &self.reasoning),
            Some(("role", Origin::Word.text(&self.role))),
            // Templates that read the parts of users often print those of tools as a list.
            self.content
                .as_ref()
                .map(|content| ("content", content.variable(has_parts && self.role != "tool", origin))),
            text("reasoning_content", &self.reasoning),
            text("name", &self.name),
            calls.map(|calls| ("tool_calls", calls)),
            text("tool_call_id", &self.tool_call_id),
        ];
        map(fields.into_iter().flatten().map(|(name, value)| (JinjaValue::own(name), value)).collect())
    }

    fn len(&self) -> usize {
        let texts = [&self.reasoning, &self.name, &self.tool_call_id];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let calls: usize = self.tool_calls.iter().map(len_of).sum();
        NODE_BYTES + self.role.len() + self.content.as_ref().map_or(0, Content::len) + 2 * texts + calls
    }
}

/// The caller's variables. A variable that replaces a special token of the model may contain special tokens.
pub(super) fn given(variables: &Map<String, Value>) -> impl Iterator<Item = Variable> {
    variables.iter().map(|(name, value)| {
        let origin = if NAMES.contains(&name.as_str()) { Origin::Model } else { Origin::Word };
        (name.as_str().into(), variable(value, origin))
    })
}

/// Number of values inside variables.
pub(super) fn num_items_of(variables: &Map<String, Value>) -> usize {
    variables.values().map(num_items).sum()
}

fn num_items(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(num_items).sum::<usize>(),
        Value::Object(fields) => 1 + num_items_of(fields),
        _ => 1,
    }
}

/// Bytes for printing the variables once, approximately.
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

/// The origin of a string: decides whether it can contain special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is only text.
    Outside,
    /// It is only text, except that a single word may be part of a token that the template spells, as in `<|` + role +
    /// `|>`.
    Word,
    /// The model wrote it, or it is a special token.
    Model,
}

/// The longest word, in bytes.
const MAX_WORD_BYTES: usize = 64;

impl Origin {
    fn text(self, text: &str) -> JinjaValue {
        let is_word = || {
            text.len() <= MAX_WORD_BYTES && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        let is_own = match self {
            Self::Outside => false,
            Self::Word => is_word(),
            Self::Model => true,
        };
        JinjaValue::Text(if is_own { Text::own(text) } else { Text::from_outside(text) })
    }
}

fn variable(value: &Value, origin: Origin) -> JinjaValue {
    match value {
        Value::Null => JinjaValue::None,
        Value::Bool(is_true) => JinjaValue::Bool(*is_true),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => JinjaValue::Int(whole.into()),
            (None, Some(whole)) => JinjaValue::Int(whole.into()),
            (None, None) => JinjaValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => origin.text(text),
        Value::Array(items) => list(items, origin),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| (origin.text(name), variable(value, origin));
            map(fields.iter().map(field).collect())
        }
    }
}

fn list(values: &[Value], origin: Origin) -> JinjaValue {
    items(values.iter().map(|value| variable(value, origin)).collect())
}

fn part(text: &str, origin: Origin) -> JinjaValue {
    map(vec![(JinjaValue::own("type"), JinjaValue::own("text")), (JinjaValue::own("text"), origin.text(text))])
}

/// Drops a value that is nested deeper than templates may nest. The JSON readers have a lower limit.
pub(super) fn items(values: Vec<JinjaValue>) -> JinjaValue {
    JinjaValue::list(values).unwrap_or(JinjaValue::Undefined)
}

fn map(entries: Vec<(JinjaValue, JinjaValue)>) -> JinjaValue {
    JinjaValue::map(entries).unwrap_or(JinjaValue::Undefined)
}

/// A caller's own template and its variables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptTemplate {
    /// Jinja, as in chat templates.
    pub source: String,
    /// Variables besides the model's special tokens.
    pub variables: Map<String, Value>,
    /// Which strings become special tokens.
    pub special_tokens: SpecialTokens,
}

impl PromptTemplate {
    /// Bytes of the template plus bytes for printing its variables once, approximately.
    pub fn num_bytes(&self) -> usize {
        self.source.len() + len_of_all(&self.variables)
    }
}
