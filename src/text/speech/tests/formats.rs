//! Which format a chat template was made for.

use super::{read, template};
use crate::text::speech::Manner;
use crate::text::speech::format::{Format, Shape, Tags};

#[test]
fn format_is_told_from_the_template() {
    let shapes = [
        ("hermes", Some(Shape::Json)),
        ("qwen", Some(Shape::Json)),
        ("mistral", Some(Shape::JsonList)),
        ("llama", Some(Shape::JsonSequence)),
        ("pythonic", Some(Shape::PythonList)),
        ("lfm", Some(Shape::PythonList)),
        ("tool_code", Some(Shape::PythonLines)),
        ("function-gemma", Some(Shape::Bare("<escape>"))),
        ("gemma-4", Some(Shape::Bare("<|\"|>"))),
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
        assert_eq!(Format::of(&template(name)).map(|format| format.shape), shape, "{name}");
    }
}

#[test]
fn formats_between_the_same_marks_are_not_mistaken_for_one_that_is_known() {
    assert_eq!(Format::of("<tool_call>\n<function={{ name }}>\n</tool_call>"), None);
    assert_eq!(Format::of("<tool_call>{{ name }}<arg_key>"), None);
}

#[test]
fn a_template_of_the_json_of_llama_needs_no_mark() {
    let template = r#"{{- '{"name": "' + call.name + '", "parameters": ' }}"#;
    assert_eq!(Format::of(template).map(|format| format.shape), Some(Shape::JsonSequence));
}

#[test]
fn reasoning_is_told_from_the_template() {
    let is_known = |name: &str| Tags::of(&template(name)).map(|tags| tags.open);
    assert_eq!(is_known("qwen"), Some("<think>"));
    assert_eq!(is_known("deepseek"), Some("<think>"));
    assert_eq!(is_known("llama"), None);
    assert_eq!(Tags::of("[THINK]{{ x }}[/THINK]").map(|tags| tags.close), Some("[/THINK]"));
}

#[test]
fn without_tools_there_are_no_calls() {
    let manner = Manner::of(&template("hermes"), &template("hermes"), |_| None);
    assert_eq!(manner.speech(Vec::new(), "", None), None);
    let answer = "<think>a</think><tool_call>{\"name\": \"f\"}</tool_call>";
    let manner = Manner::of(&template("qwen"), &template("qwen"), |_| None);
    let speech = manner.speech(Vec::new(), "", None).unwrap();
    let spoken = speech.read(answer, &super::request());
    assert_eq!((spoken.reasoning.as_str(), spoken.text.as_str()), ("a", &answer[16..]));
    assert!(spoken.calls.is_empty());
    assert!(!read("qwen", answer).calls.is_empty());
}
