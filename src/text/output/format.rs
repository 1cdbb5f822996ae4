//! How a model writes tool calls and reasoning, as its chat template shows. Makes the parser of each answer.

use std::sync::Arc;

use serde_json::json;

use super::streaming::{OutputParser, StreamingParser};
use crate::error::Result;
use crate::request::{CallRules, CallStop, Markup};
use crate::text::reasoning::TagPair;
use crate::text::token_table::SpecialToken;
use crate::text::tool_calls::{EnforcedCalls, ToolCallFormat, grammar};

/// The output format of a model.
#[derive(Debug, Default)]
pub(in crate::text) struct OutputFormat {
    tool_calls: Option<&'static ToolCallFormat>,
    reasoning: Option<&'static TagPair>,
    /// Markers of tool calls that are special tokens.
    tool_call_tokens: Vec<SpecialToken>,
    /// Tags of reasoning that are special tokens.
    reasoning_tokens: Vec<SpecialToken>,
}

impl OutputFormat {
    /// The format that a model's templates use; `with_tools` is the template of chats with tools. `special` looks up
    /// markers that are special tokens.
    pub(in crate::text) fn of(
        default: &str,
        with_tools: &str,
        special: impl Fn(&'static str) -> Option<SpecialToken>,
    ) -> Self {
        let tool_calls = ToolCallFormat::of(with_tools);
        let reasoning = TagPair::of(with_tools).or_else(|| TagPair::of(default));
        let tool_call_tokens = tool_calls.into_iter().flat_map(ToolCallFormat::markers).filter_map(&special).collect();
        let reasoning_tokens = reasoning.into_iter().flat_map(TagPair::texts).filter_map(&special).collect();
        Self { tool_calls, reasoning, tool_call_tokens, reasoning_tokens }
    }

    /// The markup that an answer must contain for this parser.
    pub(in crate::text) fn markup(&self, parser: Option<&OutputParser>) -> Markup {
        Markup {
            calls: parser.is_some_and(|parser| parser.tool_calls.is_some()) && !self.tool_call_tokens.is_empty(),
            reasoning: parser.is_some_and(|parser| parser.reasoning.is_some()) && !self.reasoning_tokens.is_empty(),
            reasoning_tags: parser.and_then(OutputParser::reasoning_tags),
        }
    }

    /// The special tokens that are text in an answer with this markup.
    pub(in crate::text) fn special_tokens(&self, markup: Markup) -> Vec<SpecialToken> {
        let calls = if markup.calls { self.tool_call_tokens.as_slice() } else { &[] };
        let reasoning = if markup.reasoning { self.reasoning_tokens.as_slice() } else { &[] };
        [calls, reasoning].concat()
    }

    /// The grammar of answers with these calls, which `parser` reads.
    pub(in crate::text) fn grammar(&self, parser: Option<&OutputParser>, calls: &EnforcedCalls<'_>) -> Result<String> {
        let special = self.tool_call_tokens.iter().chain(&self.reasoning_tokens);
        let token = |text: &str| special.clone().find(|special| special.text == text).map(|special| special.id);
        let reasoning = parser.and_then(OutputParser::reasoning_tags);
        let format = parser.and_then(|parser| parser.tool_calls);
        grammar(format, reasoning, calls, token)
    }

    /// Finds the call that ends an answer with this markup.
    pub(in crate::text) fn call_finder(&self, CallStop { rules, tools }: &CallStop, markup: Markup) -> StreamingParser {
        let parser = OutputParser {
            tool_calls: self.tool_calls,
            reasoning: self.reasoning.filter(|_| markup.reasoning_tags.is_some()),
            tools: Arc::clone(tools),
            is_reasoning: markup.reasoning_tags.is_some_and(|tags| tags.has_begun),
            rules: *rules,
            note: None,
        };
        // Its calls need no ids.
        parser.streaming(&Arc::from(""))
    }

    /// The parser of the answer to a prompt; `None` if the answer can only be text. `begun` is the start of the answer
    /// if the caller wrote one.
    pub(in crate::text) fn parser(
        &self,
        tools: Vec<String>,
        prompt: &str,
        begun: Option<&str>,
    ) -> Option<OutputParser> {
        let tool_calls = self.tool_calls.filter(|_| !tools.is_empty());
        let is_open = |tags: &TagPair| {
            let is_last = |text: &str| text.rfind(tags.open) > text.rfind(tags.close);
            prompt.trim_end().ends_with(tags.open) || begun.is_some_and(is_last)
        };
        let is_reasoning = self.reasoning.is_some_and(is_open);
        let (tools, rules) = (tools.into(), CallRules::default());
        let parser = OutputParser { tool_calls, reasoning: self.reasoning, tools, is_reasoning, rules, note: None };
        (tool_calls.is_some() || self.reasoning.is_some()).then_some(parser)
    }

    /// The name of the format of tool calls, if there is one.
    pub(in crate::text) fn tool_call_format(&self) -> Option<&'static str> {
        self.tool_calls.map(|format| format.name)
    }

    /// Whether there is a grammar of calls.
    pub(in crate::text) fn can_require_calls(&self) -> bool {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let calls = EnforcedCalls { tools: &[&tool], is_single: true, are_optional: false };
        grammar(self.tool_calls, None, &calls, |_| None).is_ok()
    }

    /// Whether answers have reasoning in a field of its own.
    pub(in crate::text) fn has_reasoning(&self) -> bool {
        self.reasoning.is_some()
    }
}

impl OutputParser {
    /// Adds a warning about the prompt to the output.
    pub(in crate::text) fn with_note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }
}
