//! Templates: renders a chat to the one string a model was trained on, or a caller's variables to a prompt, as Hugging
//! Face's Jinja does. A template is a program from a stranger, so what it writes has a limit; see `jinja` for the others.

use std::io;

use minijinja::value::Value as JinjaValue;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use super::chat::{self, Chat, Variable};
use super::date::Clock;
use super::{jinja, nesting, prefill};
use crate::error::{Code, Error, Result};

/// What a template may add to what it was given.
const MAX_OVERHEAD_BYTES: usize = 1 << 20;
const MAX_SOURCE_BYTES: usize = 1 << 20;
const MAX_ERROR_CHARS: usize = 500;
const NAME: &str = "template";

/// Whose fault it is where a template fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The model brought it as its chat template.
    Model,
    /// It is the prompt of a request.
    Caller,
}

/// A compiled template with the model's special tokens, which are its variables, such as `bos_token`.
#[derive(Debug)]
pub(super) struct Template {
    source: String,
    environment: Environment<'static>,
    special_tokens: Vec<Variable>,
    owner: Owner,
    /// It takes texts in parts, not only whole ones.
    has_parts: bool,
}

impl Template {
    pub(super) fn compile(
        source: &str,
        owner: Owner,
        special_tokens: &[(String, String)],
        clock: Clock,
    ) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            let problem = format!("has {} bytes; at most {MAX_SOURCE_BYTES} are allowed", source.len());
            return Err(owner.broken(&problem));
        }
        let mut environment = jinja::environment(clock).map_err(|error| owner.failed(&error))?;
        let source = jinja::prepared(source);
        nesting::check_template(&source).map_err(|problem| owner.broken(&problem))?;
        let compiled = environment.add_template_owned(NAME, source.clone());
        compiled.map_err(|error| owner.broken(&format!("is broken: {}", brief(&error))))?;
        let token = |(name, token): &(String, String)| (name.clone(), JinjaValue::from(token.as_str()));
        let has_parts = reads_parts(&source);
        let special_tokens = special_tokens.iter().map(token).collect();
        Ok(Self { source, environment, special_tokens, owner, has_parts })
    }

    /// The chat, ready for the model's answer.
    pub(super) fn render_chat(&self, chat: &Chat) -> Result<String> {
        self.check_read("templateVariables", chat.variables.keys())?;
        if chat.tools.as_ref().is_some_and(|tools| !tools.is_empty()) && !self.reads("tools") {
            return Err(Error::invalid("tools", "are nothing that this model's chat template knows of"));
        }
        if !chat.continues_final {
            return self.write(chat.variables(self.has_parts), chat.num_bytes());
        }
        let (tagged, plain) = prefill::tagged(chat)?;
        prefill::cut(self.write(tagged.variables(self.has_parts), tagged.num_bytes())?, &plain)
    }

    /// A text from a caller's variables.
    pub(super) fn render(&self, variables: &Map<String, Value>) -> Result<String> {
        self.check_read("prompt.variables", variables.keys())?;
        self.write(chat::given(variables).collect(), chat::len_of_all(variables))
    }

    fn write(&self, variables: Vec<Variable>, input: usize) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|error| self.owner.failed(&error))?;
        // Escaping can make six bytes of one.
        let mut out = Bounded { bytes: Vec::new(), limit: input.saturating_mul(6).saturating_add(MAX_OVERHEAD_BYTES) };
        let variables = JinjaValue::from_pairs(self.special_tokens.iter().cloned().chain(variables));
        let rendered = template.render_captured_to(variables, &mut out).map(drop);
        rendered.map_err(|error| self.owner.failed(&error))?;
        String::from_utf8(out.bytes).map_err(|error| {
            Error::new(Code::TokenizerError, "the template wrote text that is not UTF-8").with_source(error)
        })
    }

    /// A variable that the template never reads is a mistake of whoever gave it.
    fn check_read<'a>(&self, param: &str, mut names: impl Iterator<Item = &'a String>) -> Result<()> {
        match names.find(|name| !self.reads(name)) {
            Some(name) => Err(Error::invalid(&format!("{param}.{name}"), "is no variable that the template reads")),
            None => Ok(()),
        }
    }

    /// What it was compiled from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn reads(&self, name: &str) -> bool {
        let is_name = |c: char| c == '_' || c.is_alphanumeric();
        self.source.split(|c| !is_name(c)).any(|word| word == name)
    }
}

impl Owner {
    fn broken(self, problem: &str) -> Error {
        match self {
            Self::Model => Error::new(Code::ModelLoadError, format!("the chat template {problem}")),
            Self::Caller => Error::invalid("prompt.template", problem),
        }
    }

    /// A failing template is the messages' fault where it says so itself.
    fn failed(self, error: &minijinja::Error) -> Error {
        if let Some(message) = jinja::raised(error) {
            let message = shortened(message);
            return match self {
                Self::Model => Error::invalid("messages", format!("were refused by the chat template: {message}")),
                Self::Caller => Error::invalid("prompt.template", format!("refused its variables: {message}")),
            };
        }
        let problem = match error.kind() {
            ErrorKind::OutOfFuel => "did not come to an end within its budget".to_owned(),
            _ => format!("failed: {}", brief(error)),
        };
        match self {
            Self::Model => Error::new(Code::TokenizerError, format!("the chat template {problem}")),
            Self::Caller => Error::invalid("prompt.template", problem),
        }
    }
}

/// Whether a template takes the text out of parts. One that does not would print them as a list.
fn reads_parts(source: &str) -> bool {
    let after =
        |mark: &str| source.match_indices(mark).map(|(at, mark)| &source[at + mark.len()..]).collect::<Vec<_>>();
    let ends_word = |rest: &&str| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric());
    source.contains("['text']") || source.contains("[\"text\"]") || after(".text").iter().any(ends_word)
}

/// Templates of a model: the one for chats, and one for chats with tools where there is a choice.
pub(super) struct Sources {
    pub(super) default: String,
    pub(super) with_tools: Option<String>,
}

/// The sources among the forms they come in: one string, or a list of named ones.
pub(super) fn sources_of(chat_template: &Value) -> Result<Option<Sources>> {
    match chat_template {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(Sources { default: source.clone(), with_tools: None })),
        Value::Array(named) => {
            let source = |entry: &Value| entry["template"].as_str().map(str::to_owned);
            let find = |name: &str| named.iter().find(|entry| entry["name"] == name).and_then(source);
            let Some(default) = find("default").or_else(|| only(named).and_then(source)) else {
                return Err(Error::new(Code::ModelLoadError, "`chat_template` lists no template named `default`"));
            };
            Ok(Some(Sources { default, with_tools: find("tool_use") }))
        }
        _ => Err(Error::new(Code::ModelLoadError, "`chat_template` is neither a string nor a list of templates")),
    }
}

fn only(named: &[Value]) -> Option<&Value> {
    if let [one] = named { Some(one) } else { None }
}

fn brief(error: &minijinja::Error) -> String {
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        message.push_str(": ");
        message.push_str(&cause.to_string());
    }
    shortened(&message)
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_ERROR_CHARS).collect()
}

/// Fails instead of growing without end.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::Error::other(format!("its output is longer than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
