//! Chat templates: renders messages to the one string a model was trained on, as Hugging Face's Jinja does. A template is
//! a program from a stranger, so it has a budget of instructions, and what it writes has a limit.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value;

use super::model::Message;
use super::{date, json};
use crate::error::{Code, Error, Result};

/// Instructions a template may spend: real ones need about a hundred a message. An instruction can nest a value one level
/// deeper, and dropping or printing a nested value recurses, so this also bounds the stack: see the text thread's.
const FUEL: u64 = 500_000;
/// What a template may add to the messages.
const MAX_OVERHEAD_BYTES: usize = 1 << 20;
const MAX_SOURCE_BYTES: usize = 1 << 20;
const MAX_ERROR_CHARS: usize = 500;
const NAME: &str = "chat_template";

/// A compiled template with the model's special tokens.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Compiles a template; `special_tokens` are its variables, such as `bos_token`.
    pub(super) fn compile(source: &str, special_tokens: Vec<(String, String)>) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            let message =
                format!("the chat template has {} bytes; at most {MAX_SOURCE_BYTES} are allowed", source.len());
            return Err(Error::new(Code::ModelLoadError, message));
        }
        let mut environment = environment()?;
        environment.add_template_owned(NAME, without_generation_marks(source)).map_err(|error| {
            Error::new(Code::ModelLoadError, format!("the chat template is broken: {}", brief(&error)))
        })?;
        Ok(Self { environment, special_tokens })
    }

    /// Renders the messages, ready for the model's answer.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        let input: usize = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        // Escaping can make six bytes of one.
        let mut out = Bounded { bytes: Vec::new(), limit: input.saturating_mul(6).saturating_add(MAX_OVERHEAD_BYTES) };
        let rendered = template.render_captured_to(self.variables(messages), &mut out).map(drop);
        rendered.map_err(|error| failed(&error))?;
        String::from_utf8(out.bytes).map_err(|error| {
            Error::new(Code::TokenizerError, "the chat template wrote text that is not UTF-8").with_source(error)
        })
    }

    fn variables(&self, messages: &[Message]) -> JinjaValue {
        let tokens = self.special_tokens.iter().map(|(name, token)| (name.clone(), JinjaValue::from(token.as_str())));
        let fixed = [
            ("messages", messages.iter().map(variable).collect()),
            ("add_generation_prompt", JinjaValue::from(true)),
            ("tools", JinjaValue::from(())),
            ("documents", JinjaValue::from(())),
        ];
        JinjaValue::from_pairs(tokens.chain(fixed.map(|(name, value)| (name.to_owned(), value))))
    }
}

fn variable(message: &Message) -> JinjaValue {
    let name = message.name.as_deref().map(|name| ("name", name));
    let always = [("role", message.role.as_str()), ("content", message.content.as_str())];
    JinjaValue::from_pairs(always.into_iter().chain(name))
}

/// The template's source among the forms it comes in: one string, or a list of named ones of which `default` is taken.
pub(super) fn source_of(chat_template: &Value) -> Result<Option<String>> {
    match chat_template {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source.clone())),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default").or_else(|| only(named));
            match default.map(|entry| &entry["template"]) {
                Some(Value::String(source)) => Ok(Some(source.clone())),
                _ => Err(Error::new(Code::ModelLoadError, "`chat_template` lists no template named `default`")),
            }
        }
        _ => Err(Error::new(Code::ModelLoadError, "`chat_template` is neither a string nor a list of templates")),
    }
}

fn only(named: &[Value]) -> Option<&Value> {
    if let [one] = named { Some(one) } else { None }
}

fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| failed(&error))?);
    environment.set_fuel(Some(FUEL));
    // On by default in debug builds, where a failure would copy and print all variables.
    environment.set_debug(false);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| date::now(format));
    environment.add_filter("tojson", tojson);
    Ok(environment)
}

/// What a template says about the messages it was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<JinjaValue, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

#[expect(clippy::needless_pass_by_value, reason = "arguments of filters are owned")]
fn tojson(value: &JinjaValue, options: Kwargs) -> Result<JinjaValue, minijinja::Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let style = json::Style {
        indent: options.get("indent")?,
        separators: separators.and_then(|pair| <[String; 2]>::try_from(pair).ok()),
        is_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        has_sorted_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    json::write(value, &style).map(JinjaValue::from)
}

/// `{% generation %}` marks, for training, what an assistant said. Rendering has no use for the mark, but its tags trim
/// whitespace like any other: they become an `if` that is always taken.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(before);
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replacement = match name {
            "generation" => "if true",
            "endgeneration" => "endif",
            name => name,
        };
        out.push_str(&if replacement == name { tag.to_owned() } else { tag.replacen(name, replacement, 1) });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits at the next block tag: up to and with `{%`, what is inside, and from `%}`.
fn next_tag(source: &str) -> Option<(&str, &str, &str)> {
    let start = source.find("{%")? + 2;
    let end = start + source[start..].find("%}")?;
    Some((&source[..start], &source[start..end], &source[end..]))
}

/// A failing template is the messages' fault where it says so itself, else the model's.
fn failed(error: &minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return Error::invalid("messages", format!("were refused by the chat template: {}", shortened(message)));
        }
        cause = current.source();
    }
    let message = match error.kind() {
        ErrorKind::OutOfFuel => "the chat template did not come to an end within its budget".to_owned(),
        _ => format!("the chat template failed: {}", brief(error)),
    };
    Error::new(Code::TokenizerError, message)
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
