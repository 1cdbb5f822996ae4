//! The tool prompt, for models whose chat template has no place for tools. It writes tools, calls and results of tools into
//! messages, in the Hermes format, before the chat template renders them. It is made of templates itself, so texts of users
//! and tools cannot spell control tokens there.

use super::chat::{Chat, Content, Message, items};
use super::date;
use super::jinja::{Rendered, Value};
use super::template::{Owner, Template};
use crate::error::Result;

/// How tools are described to a model whose chat template has no place for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolPrompt {
    /// As in Hermes and Qwen 2.5.
    Hermes,
}

impl ToolPrompt {
    /// The prompt with this name.
    pub fn named(name: &str) -> Option<Self> {
        (name == Self::Hermes.name()).then_some(Self::Hermes)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hermes => "hermes",
        }
    }
}

/// The warning about a prompt that was written with a tool prompt.
pub(super) const NOTE: &str = "the chat template of this model has no place for tools: `toolPrompt` wrote tools, calls and \
                               results of tools into messages";

const TOOLS: &str = r#"{{ before }}{{ '\n\n' if before }}# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{% for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% endfor %}</tools>

For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>{{ '\n\n' if after }}{{ after }}"#;

const CALLS: &str = r#"{{ content }}{% for call in calls %}{{ '\n' if content or not loop.first }}<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}"#;

const RESULTS: &str = r"{% for result in results %}{{ '\n' if not loop.first }}<tool_response>
{{ result }}
</tool_response>{% endfor %}";

/// The compiled templates of a tool prompt.
#[derive(Debug)]
pub(super) struct PromptWriter {
    /// The sources of the three templates together. They contain the markers of the format.
    pub(super) source: String,
    tools: Template,
    calls: Template,
    results: Template,
}

impl PromptWriter {
    pub(super) fn new(ToolPrompt::Hermes: ToolPrompt) -> Result<Self> {
        let compile = |source| Template::compile(source, Owner::Model, &[], date::now);
        let source = [TOOLS, CALLS, RESULTS].concat();
        Ok(Self { source, tools: compile(TOOLS)?, calls: compile(CALLS)?, results: compile(RESULTS)? })
    }

    /// Whether a chat has something to write.
    pub(super) fn is_needed(chat: &Chat) -> bool {
        has_tools(chat) || chat.messages.iter().any(|message| is_result(message) || !message.tool_calls.is_empty())
    }

    /// The chat without tools, calls and results, which are in its messages instead. Without a system role, the first
    /// message of the user has the tools.
    pub(super) fn write(&self, chat: &Chat, has_system_role: bool) -> Result<Chat> {
        let mut messages = Vec::with_capacity(chat.messages.len() + 1);
        for run in chat.messages.chunk_by(|one, next| is_result(one) && is_result(next)) {
            messages.push(match run {
                [message] if !message.tool_calls.is_empty() => self.with_calls(chat, message)?,
                [first, ..] if is_result(first) => self.with_results(chat, run)?,
                _ => run[0].clone(),
            });
        }
        if has_tools(chat) {
            self.describe_tools(chat, &mut messages, has_system_role)?;
        }
        Ok(Chat { messages, tools: None, ..chat.clone() })
    }

    fn describe_tools(&self, chat: &Chat, messages: &mut Vec<Message>, has_system_role: bool) -> Result<()> {
        let role = if has_system_role { "system" } else { "user" };
        if messages.first().is_none_or(|first| first.role != role) {
            messages.insert(0, Message { role: role.to_owned(), ..Message::default() });
        }
        let first = &mut messages[0];
        let text = first.text_variable();
        let nothing = Value::own("");
        let (before, after) = if has_system_role { (text, nothing) } else { (nothing, text) };
        let variables =
            vec![("before".into(), before), ("tools".into(), chat.tools_variable()), ("after".into(), after)];
        first.content = Some(Content::Written(self.tools.render_for(chat, variables)?));
        Ok(())
    }

    fn with_calls(&self, chat: &Chat, message: &Message) -> Result<Message> {
        let variables = vec![("content".into(), message.text_variable()), ("calls".into(), message.calls_variable())];
        let content = self.calls.render_for(chat, variables)?;
        Ok(Message { content: Some(Content::Written(content)), tool_calls: Vec::new(), ..message.clone() })
    }

    fn with_results(&self, chat: &Chat, run: &[Message]) -> Result<Message> {
        let results = items(run.iter().map(Message::text_variable).collect());
        let content: Rendered = self.results.render_for(chat, vec![("results".into(), results)])?;
        Ok(Message { role: "user".to_owned(), content: Some(Content::Written(content)), ..Message::default() })
    }
}

fn has_tools(chat: &Chat) -> bool {
    chat.tools.as_ref().is_some_and(|tools| !tools.is_empty())
}

fn is_result(message: &Message) -> bool {
    message.role == "tool"
}
