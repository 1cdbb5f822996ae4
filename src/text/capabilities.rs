//! What requests to a model may use. This is determined by doing the work: chats are rendered, and a grammar is written. So the
//! result agrees with what requests get.

use super::chat_templates::ChatTemplates;
use super::output::OutputFormat;
use super::tool_prompt::ToolPrompt;

/// What the text of a model supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent: each combination occurs")]
pub struct TextCapabilities {
    /// Messages: there is a chat template, and it renders a message of a user.
    pub chat: bool,
    /// The text of a system message is part of the prompt.
    pub system_role: bool,
    /// Tools: the chat template or the tool prompt describes them.
    pub tools: bool,
    /// The format in which tool calls are parsed; `None` if calls stay in the text.
    pub tool_call_format: Option<&'static str>,
    /// Calls can be enforced.
    pub tool_choice: bool,
    /// The tool prompt, if the chat template has no place for tools.
    pub tool_prompt: Option<ToolPrompt>,
    /// Answers have reasoning in a field of its own.
    pub reasoning: bool,
    /// Structured output.
    pub structured: bool,
}

impl TextCapabilities {
    /// `templates` are those of a model that renders chats.
    pub(super) fn of(templates: Option<&ChatTemplates>, format: &OutputFormat, is_structured: bool) -> Self {
        let Some(templates) = templates else { return Self { structured: is_structured, ..Self::default() } };
        let tools = templates.has_tools();
        let tool_call_format = format.tool_call_format().filter(|_| tools);
        Self {
            chat: true,
            system_role: templates.has_system_role(),
            tools,
            tool_call_format,
            tool_choice: is_structured && tool_call_format.is_some() && format.can_require_calls(),
            tool_prompt: templates.tool_prompt(),
            reasoning: format.has_reasoning(),
            structured: is_structured,
        }
    }
}
