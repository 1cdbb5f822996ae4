//! The format that a chat template uses.

use super::{parse, template};
use crate::text::output::OutputFormat;
use crate::text::reasoning::TagPair;
use crate::text::tool_calls::{CallSyntax, ToolCallFormat};

#[test]
fn format_follows_from_the_template() {
    let shapes = [
        ("hermes", Some(CallSyntax::Json)),
        ("qwen", Some(CallSyntax::Json)),
        ("mistral", Some(CallSyntax::JsonList)),
        ("llama", Some(CallSyntax::JsonSequence)),
        ("pythonic", Some(CallSyntax::PythonList)),
        ("lfm", Some(CallSyntax::PythonList)),
        ("tool_code", Some(CallSyntax::PythonLines)),
        ("function-gemma", Some(CallSyntax::Bare("<escape>"))),
        ("gemma-4", Some(CallSyntax::Bare("<|\"|>"))),
        ("chatml", None),
        ("gemma-3", None),
        ("gpt-oss", None),
        ("llama-2", None),
        ("llama-3", None),
        ("deepseek", None),
        ("phi-3", None),
        ("zephyr", None),
    ];
    for (name, shape) in shapes {
        assert_eq!(ToolCallFormat::of(&template(name)).map(|format| format.syntax), shape, "{name}");
    }
}

#[test]
fn unsupported_formats_with_known_markers_are_not_recognized() {
    assert_eq!(ToolCallFormat::of("<tool_call>\n<function={{ name }}>\n</tool_call>"), None);
    assert_eq!(ToolCallFormat::of("<tool_call>{{ name }}<arg_key>"), None);
}

#[test]
fn llama_json_template_is_recognized_without_a_marker() {
    let template = r#"{{- '{"name": "' + call.name + '", "parameters": ' }}"#;
    assert_eq!(ToolCallFormat::of(template).map(|format| format.syntax), Some(CallSyntax::JsonSequence));
}

#[test]
fn reasoning_tags_follow_from_the_template() {
    let is_known = |name: &str| TagPair::of(&template(name)).map(|tags| tags.open);
    assert_eq!(is_known("qwen"), Some("<think>"));
    assert_eq!(is_known("deepseek"), Some("<think>"));
    assert_eq!(is_known("llama"), None);
    assert_eq!(TagPair::of("[THINK]{{ x }}[/THINK]").map(|tags| tags.close), Some("[/THINK]"));
}

#[test]
fn without_tools_there_are_no_calls() {
    let output_format = OutputFormat::of(&template("hermes"), &template("hermes"), |_| None);
    assert_eq!(output_format.parser(Vec::new(), "", None), None);
    let answer = "<think>a</think><tool_call>{\"name\": \"f\"}</tool_call>";
    let output_format = OutputFormat::of(&template("qwen"), &template("qwen"), |_| None);
    let output_parser = output_format.parser(Vec::new(), "", None).unwrap();
    let parsed = output_parser.parse(answer, &super::request(), super::FinishReason::Stop);
    assert_eq!((parsed.reasoning.as_str(), parsed.text.as_str()), ("a", &answer[16..]));
    assert!(parsed.calls.is_empty());
    assert!(!parse("qwen", answer).calls.is_empty());
}
