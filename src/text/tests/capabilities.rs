//! Capabilities of a model, compared with what its requests get.

use std::path::Path;

use serde_json::{Value, json};

use super::{byte_level, decoded_by, model_folder, open_files_with};
use crate::request::FinishReason;
use crate::text::{
    Chat, Content, Message, ModelText, StructuredOutput, TextCapabilities, TextOptions, ToolChoice, ToolPrompt,
};

/// The templates of the conformance tests: system role, format of tool calls, reasoning.
const PUBLISHED: [(&str, bool, Tools, bool); 14] = [
    ("chatml", true, Tools::Refused, false),
    ("command-style", false, Tools::Refused, false),
    ("deepseek", true, Tools::Refused, true),
    ("gemma-2", false, Tools::Refused, false),
    ("gemma-3", true, Tools::Refused, false),
    ("gpt-oss", true, Tools::Unparsed, false),
    ("llama-2", true, Tools::Refused, false),
    ("llama-3", true, Tools::Refused, false),
    ("llama-3.1-tools", true, Tools::Parsed("llama-3"), false),
    ("mistral-tools", true, Tools::Parsed("mistral"), false),
    ("phi-3", true, Tools::Refused, false),
    ("qwen-2.5", true, Tools::Parsed("hermes"), false),
    ("qwen-3", true, Tools::Parsed("hermes"), true),
    ("zephyr", true, Tools::Refused, false),
];

/// Further formats, by the text that shows them.
const SIGNS: [(&str, &str); 5] = [
    ("<|tool_call>call:f{}<tool_call|>", "gemma-4"),
    ("<start_function_call>", "function-gemma"),
    ("```tool_code", "gemma-3"),
    ("<|tool_list_start|>", "lfm2"),
    ("[func_name1(a=b)]", "pythonic"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tools {
    Refused,
    /// Calls stay in the text.
    Unparsed,
    Parsed(&'static str),
}

fn published(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tools/conformance/chat/templates/{name}.jinja"));
    std::fs::read_to_string(path).unwrap()
}

fn open(tokenizer: &Value, chat_template: Option<String>, tool_prompt: Option<ToolPrompt>) -> ModelText {
    let folder = model_folder(json!({}), json!({}), json!({"bos_token": "<s>", "eos_token": "</s>"}));
    let files = [("tokenizer.json", tokenizer.to_string())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_bytes()));
    open_files_with(folder, &files, &TextOptions { chat_template, tool_prompt }).unwrap()
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: Some(Content::Text(content.to_owned())), ..Message::default() }
}

/// What a model does with requests of each kind.
fn observed(model: &ModelText) -> TextCapabilities {
    let chat = Chat { messages: vec![message("user", "Hello")], ..Chat::default() };
    let with_system = Chat { messages: vec![message("system", "Be brief."), message("user", "Hello")], ..chat.clone() };
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let function = json!({"name": "get_weather", "description": "The weather.", "parameters": parameters});
    let tools = Some(vec![json!({"type": "function", "function": function})]);
    let with_tools = Chat { tools, ..chat.clone() };
    let required = Chat { choice: ToolChoice::Required, ..with_tools.clone() };
    let parsed = |chat: &Chat, answer: &str| {
        model.output_parser(chat, "").map(|parser| parser.parse(answer, &"r".into(), FinishReason::Stop))
    };
    let takes_chat = model.render(&chat).is_ok();
    let takes_tools = model.render(&with_tools).is_ok();
    let is_format = |name: &str| parsed(&with_tools, answer(name)).is_some_and(|parsed| parsed.calls.len() == 1);
    let thoughts = ["<think>so</think>x", "[THINK]so[/THINK]x"];
    let thinks = |text: &str| parsed(&chat, text).is_some_and(|parsed| parsed.reasoning == "so");
    let enforces = || model.expected_answer(&required, model.output_parser(&required, ""), None).is_ok();
    TextCapabilities {
        chat: takes_chat,
        system_role: model.render(&with_system).is_ok_and(|rendered| rendered.text.contains("Be brief.")),
        tools: takes_tools,
        tool_call_format: FORMATS.into_iter().find(|format| takes_tools && is_format(format)),
        tool_choice: takes_tools && enforces(),
        tool_prompt: takes_tools
            .then(|| parsed(&with_tools, "").is_some_and(|parsed| !parsed.warnings.is_empty()))
            .filter(|is_used| *is_used)
            .map(|_| ToolPrompt::Hermes),
        reasoning: takes_chat && thoughts.into_iter().any(thinks),
        structured: model.constraint(&StructuredOutput::Regex("a+".to_owned())).is_ok(),
    }
}

/// Formats, each before those whose parsers also accept its answer.
const FORMATS: [&str; 8] = ["gemma-4", "function-gemma", "gemma-3", "mistral", "hermes", "lfm2", "pythonic", "llama-3"];

/// A call in a format.
fn answer(format: &str) -> &'static str {
    match format {
        "gemma-4" => "<|tool_call>call:get_weather{}<tool_call|>",
        "function-gemma" => "<start_function_call>call:get_weather{}<end_function_call>",
        "gemma-3" => "```tool_code\nget_weather()\n```",
        "mistral" => "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {}}]",
        "hermes" => "<tool_call>{\"name\": \"get_weather\", \"arguments\": {}}</tool_call>",
        "lfm2" => "<|tool_call_start|>[get_weather()]<|tool_call_end|>",
        "pythonic" => "[get_weather()]",
        "llama-3" => "{\"name\": \"get_weather\", \"parameters\": {}}",
        other => panic!("no answer in the format {other}"),
    }
}

#[test]
fn capabilities_of_published_templates_agree_with_what_requests_get() {
    for (name, system_role, tools, reasoning) in PUBLISHED {
        let model = open(&byte_level(), Some(published(name)), None);
        let found = model.capabilities();
        let format = if let Tools::Parsed(format) = tools { Some(format) } else { None };
        assert_eq!(
            (found.system_role, found.tools, found.tool_call_format, found.reasoning),
            (system_role, tools != Tools::Refused, format, reasoning),
            "{name}"
        );
        assert_eq!(found, observed(&model), "{name}");
    }
}

#[test]
fn capabilities_of_each_format_agree_with_what_requests_get() {
    for (sign, format) in SIGNS {
        let template = format!("{{# {sign} #}}{{{{ tools }}}}{{{{ messages[0].content }}}}");
        let model = open(&byte_level(), Some(template), None);
        assert_eq!(model.capabilities().tool_call_format, Some(format), "{sign}");
        assert_eq!(model.capabilities(), observed(&model), "{sign}");
    }
}

#[test]
fn with_a_tool_prompt_every_model_that_chats_takes_tools() {
    for (name, _, tools, _) in PUBLISHED {
        let model = open(&byte_level(), Some(published(name)), Some(ToolPrompt::Hermes));
        let found = model.capabilities();
        assert!(found.tools && (found.tool_choice || tools == Tools::Unparsed), "{name}: {found:?}");
        assert_eq!(found.tool_prompt.is_some(), tools == Tools::Refused, "{name}");
        assert_eq!(found, observed(&model), "{name}");
    }
}

#[test]
fn a_model_without_a_template_or_with_a_broken_one_takes_prompts_only() {
    let prompts_only = TextCapabilities { structured: true, ..TextCapabilities::default() };
    let without = open(&byte_level(), None, Some(ToolPrompt::Hermes));
    let failing =
        open(&byte_level(), Some("{{ messages.nothing.at_all }}<tool_call><think>{{ tools }}".to_owned()), None);
    for model in [without, failing] {
        assert_eq!(model.capabilities(), prompts_only);
        assert_eq!(observed(&model), prompts_only);
    }
}

#[test]
fn a_tokenizer_that_trims_answers_has_no_structured_output() {
    let trimming = decoded_by(json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1}]}));
    let model = open(&trimming, Some(published("qwen-3")), None);
    let found = model.capabilities();
    assert!(!found.structured && !found.tool_choice && found.tools, "{found:?}");
    assert_eq!(found, observed(&model));
}

#[test]
fn the_declarations_for_typescript_name_each_format() {
    let declared = include_str!("../../../index.d.ts");
    for format in crate::text::tool_calls::ToolCallFormat::names() {
        assert!(declared.contains(&format!("  | '{format}'\n")), "{format}");
        assert!(FORMATS.contains(&format), "{format}");
    }
}
