//! Long conversations, messages without content, and template files.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{byte_level, model_folder};
use crate::error::{Code, Result};
use crate::text::date;
use crate::text::template::{Owner, Template};
use crate::text::{Chat, Content, Message, ModelText};

fn message(role: &str, content: Option<&str>) -> Message {
    let content = content.map(|text| Content::Text(text.to_owned()));
    Message { role: role.to_owned(), content, ..Message::default() }
}

fn render(template: &str, messages: Vec<Message>) -> Result<String> {
    let template = Template::compile(template, Owner::Model, &[], date::now)?;
    template.render_chat(&Chat { messages, ..Chat::default() }).map(|rendered| rendered.text)
}

/// For each message, looks back over all messages.
const LOOK_BACK: &str = "{% for m in messages %}{% set ns = namespace(last=-1) %}{% for o in messages[:loop.index] %}{% if o.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}:{{ m.content }};{% endfor %}";

#[test]
fn template_with_quadratic_cost_renders_long_conversations() {
    for len in [100, 360] {
        let turn =
            |at: usize| message(if at.is_multiple_of(2) { "user" } else { "assistant" }, Some(&format!("turn {at}")));
        let text = render(LOOK_BACK, (0..=len).map(turn).collect()).unwrap();
        assert!(text.ends_with(&format!("{len}:turn {len};")), "{len}");
    }
}

#[test]
fn budget_of_a_template_grows_with_its_input_and_is_finite() {
    let loops = "{% for a in messages %}{% for b in messages %}{% for c in messages %}{% for d in messages %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
    let start = Instant::now();
    let error = render(loops, vec![message("user", Some("x")); 200]).unwrap_err();
    assert!(error.code() == Code::TokenizerError && error.message().contains("budget"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn calls_without_content_render_with_templates_that_need_content() {
    let call = json!({"type": "function", "function": {"name": "f", "arguments": {"a": 1}}});
    let messages = || {
        let calls = Message { tool_calls: vec![call.clone()], ..message("assistant", None) };
        vec![message("user", Some("Hi")), calls, message("tool", Some("ok"))]
    };
    let rendered = |content: &str| {
        render(&format!("{{% for m in messages %}}<{{{{ m.role }}}}>{content}{{% endfor %}}"), messages())
    };
    assert_eq!(rendered("{{ '' + m.content }}").unwrap(), "<user>Hi<assistant><tool>ok");
    assert_eq!(rendered("{{ m.content.split('</think>') | last }}").unwrap(), "<user>Hi<assistant><tool>ok");
    assert_eq!(rendered("{{ m.content | tojson }}").unwrap(), r#"<user>"Hi"<assistant>""<tool>"ok""#);
    // A template that tests for content sees that there is none.
    assert_eq!(rendered("{{ m.content is defined }}").unwrap(), "<user>True<assistant>False<tool>True");
    assert_eq!(
        rendered("{{ m.content is none or m.content | length == 0 }}").unwrap(),
        "<user>False<assistant>True<tool>False"
    );
    // A failure for another reason keeps its message.
    let error = rendered("{{ m.role.nonsense() }}").unwrap_err();
    assert!(error.message().contains("nonsense"), "{error}");
}

/// A model with these template files.
fn model(tokenizer_config: Value, files: &[(&str, &str)]) -> ModelText {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("additional_chat_templates")).unwrap();
    std::fs::write(place.path().join("tokenizer.json"), byte_level().to_string()).unwrap();
    for (name, source) in files {
        std::fs::write(place.path().join(name), source).unwrap();
    }
    let mut folder = model_folder(json!({}), json!({}), tokenizer_config);
    folder.path = place.path().to_owned();
    ModelText::open(&folder).unwrap()
}

#[test]
fn named_templates_are_found_in_their_folder() {
    let ask = |model: &ModelText, has_tools: bool| {
        let tools = has_tools.then(|| vec![json!({"type": "function", "function": {"name": "f"}})]);
        let chat = Chat { messages: vec![message("user", Some("Hi"))], tools, ..Chat::default() };
        model.render(&chat).unwrap().text
    };
    let (default, tool_use) = ("additional_chat_templates/default.jinja", "additional_chat_templates/tool_use.jinja");
    let main = "chat_template.jinja";
    let with_tools = "TOOLS{{ tools | length }}";
    let both = model(json!({}), &[(main, "PLAIN"), (tool_use, with_tools), (default, "OTHER")]);
    assert_eq!([ask(&both, false), ask(&both, true)], ["PLAIN", "TOOLS1"]);
    let in_folder = model(json!({"chat_template": "CONFIG"}), &[(default, "DEFAULT"), (tool_use, with_tools)]);
    assert_eq!([ask(&in_folder, false), ask(&in_folder, true)], ["DEFAULT", "TOOLS1"]);
    let beside = model(json!({"chat_template": "CONFIG"}), &[(tool_use, with_tools)]);
    assert_eq!([ask(&beside, false), ask(&beside, true)], ["CONFIG", "TOOLS1"]);
    let none = model(json!({}), &[]);
    assert!(none.render(&Chat::default()).is_err());
}

#[test]
fn template_file_that_is_not_utf8_is_named() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("additional_chat_templates")).unwrap();
    std::fs::write(place.path().join("tokenizer.json"), byte_level().to_string()).unwrap();
    std::fs::write(place.path().join("additional_chat_templates/tool_use.jinja"), b"\xFF").unwrap();
    let mut folder = model_folder(json!({}), json!({}), json!({}));
    folder.path = place.path().to_owned();
    let error = ModelText::open(&folder).unwrap().render(&Chat::default()).unwrap_err();
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("tool_use.jinja"), "{error}");
}
