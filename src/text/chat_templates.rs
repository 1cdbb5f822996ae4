//! The chat templates of a model: where they come from, which of them renders a chat, and what they support.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::chat::{Chat, Content, Message};
use super::date;
use super::failure::{guarded, named};
use super::jinja::Rendered;
use super::template::{Owner, Sources, Template, sources_of};
use super::tool_prompt::{PromptWriter, ToolPrompt};
use crate::error::{Code, Error, Result};
use crate::hub::{self, ModelFolder};

const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
/// A text that no template contains. A template is probed with it.
const PROBE: &str = "probe-5f1e7c";

/// Options that override how the files of a model format its prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// The chat template, in place of that of the folder.
    pub chat_template: Option<String>,
    /// Describes tools if the chat template has no place for them.
    pub tool_prompt: Option<ToolPrompt>,
}

/// The templates of a model.
#[derive(Debug)]
pub(super) struct ChatTemplates {
    default: Template,
    with_tools: Option<Template>,
    /// Set if the template of chats with tools has no place for tools.
    tool_prompt: Option<(ToolPrompt, PromptWriter)>,
    has_system_role: OnceLock<bool>,
}

impl ChatTemplates {
    /// The templates of a folder; `None` if there is none.
    ///
    /// `ModelLoadError` if a template of the folder does not compile; `InvalidParams` if the template of the options does not.
    pub(super) fn open(
        folder: &ModelFolder,
        options: &TextOptions,
        special_tokens: &[(String, String)],
    ) -> Result<Option<Self>> {
        let (owner, sources) = match &options.chat_template {
            Some(given) => (Owner::Loader, Some(Sources { default: given.clone(), with_tools: None })),
            None => (Owner::Model, template_sources(folder)?),
        };
        let Some(Sources { default, with_tools }) = sources else { return Ok(None) };
        let compile = |source: String| guarded(|| Template::compile(&source, owner, special_tokens, date::now));
        let (default, with_tools) = (compile(default)?, with_tools.map(compile).transpose()?);
        let has_tools = with_tools.as_ref().unwrap_or(&default).has_tools();
        let tool_prompt = options.tool_prompt.filter(|_| !has_tools);
        let tool_prompt = tool_prompt.map(|prompt| Ok((prompt, PromptWriter::new(prompt)?))).transpose()?;
        Ok(Some(Self { default, with_tools, tool_prompt, has_system_role: OnceLock::new() }))
    }

    /// Renders a chat.
    pub(super) fn render(&self, chat: &Chat) -> Result<Rendered> {
        match &self.tool_prompt {
            Some((_, writer)) if PromptWriter::is_needed(chat) => {
                guarded(|| self.default.render_chat(&writer.write(chat, self.has_system_role())?))
            }
            _ => guarded(|| self.choose(chat).render_chat(chat)),
        }
    }

    fn choose(&self, chat: &Chat) -> &Template {
        self.with_tools.as_ref().filter(|_| chat.tools.is_some()).unwrap_or(&self.default)
    }

    /// The sources of the template of chats, and of the template of chats with tools.
    pub(super) fn sources(&self) -> (&str, &str) {
        let with_tools = self.with_tools.as_ref().unwrap_or(&self.default).source();
        let with_tools = self.tool_prompt.as_ref().map_or(with_tools, |(_, writer)| writer.source.as_str());
        (self.default.source(), with_tools)
    }

    /// The tool prompt that is used.
    pub(super) fn tool_prompt(&self) -> Option<ToolPrompt> {
        self.tool_prompt.as_ref().map(|(prompt, _)| *prompt)
    }

    /// Whether the tool prompt writes a part of this chat.
    pub(super) fn uses_tool_prompt(&self, chat: &Chat) -> bool {
        self.tool_prompt.is_some() && PromptWriter::is_needed(chat)
    }

    /// Whether a message of a user can be rendered.
    pub(super) fn has_chat(&self) -> bool {
        self.render(&Chat { messages: vec![said("user", "x")], ..Chat::default() }).is_ok()
    }

    /// Whether a system message is part of the prompt.
    pub(super) fn has_system_role(&self) -> bool {
        *self.has_system_role.get_or_init(|| {
            let chat = Chat { messages: vec![said("system", PROBE), said("user", "x")], ..Chat::default() };
            guarded(|| self.default.render_chat(&chat)).is_ok_and(|rendered| rendered.text.contains(PROBE))
        })
    }

    /// Whether chats may have tools.
    pub(super) fn has_tools(&self) -> bool {
        let parameters = json!({"type": "object", "properties": {"x": {"type": "string", "description": "x"}}});
        let function = json!({"name": "probe", "description": "A probe.", "parameters": parameters});
        let tools = Some(vec![json!({"type": "function", "function": function})]);
        self.render(&Chat { messages: vec![said("user", "x")], tools, ..Chat::default() }).is_ok()
    }
}

fn said(role: &str, text: &str) -> Message {
    Message { role: role.to_owned(), content: Some(Content::Text(text.to_owned())), ..Message::default() }
}

/// Template files take precedence over the configuration: `chat_template.jinja`, and a folder of named templates.
fn template_sources(folder: &ModelFolder) -> Result<Option<Sources>> {
    let named_files = folder.path.join("additional_chat_templates");
    let file = |path: PathBuf| if path.exists() { read_template(&path).map(Some) } else { Ok(None) };
    let default = match file(folder.path.join("chat_template.jinja"))? {
        Some(default) => Some(default),
        None => file(named_files.join("default.jinja"))?,
    };
    let with_tools = file(named_files.join("tool_use.jinja"))?;
    if let Some(default) = default {
        return Ok(Some(Sources { default, with_tools }));
    }
    let sources = configured_sources(folder)?;
    Ok(sources.map(|sources| Sources { with_tools: with_tools.or(sources.with_tools), ..sources }))
}

fn read_template(path: &Path) -> Result<String> {
    let bytes = hub::read_file(path, MAX_TEMPLATE_BYTES)?;
    String::from_utf8(bytes).map_err(|error| load_error(path, "is not UTF-8").with_source(error))
}

fn configured_sources(folder: &ModelFolder) -> Result<Option<Sources>> {
    let path = folder.path.join("tokenizer_config.json");
    if let Some(sources) =
        sources_of(&folder.tokenizer_config["chat_template"]).map_err(|error| named(&path, &error))?
    {
        return Ok(Some(sources));
    }
    let path = folder.path.join("chat_template.json");
    if !path.exists() {
        return Ok(None);
    }
    let file: Value = hub::read_json(&path, MAX_TEMPLATE_BYTES)?;
    sources_of(&file["chat_template"]).map_err(|error| named(&path, &error))
}

fn load_error(path: &Path, problem: &str) -> Error {
    Error::new(Code::ModelLoadError, format!("{} {problem}", path.display()))
}
