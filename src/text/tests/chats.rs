//! The input of chat templates, and input that is rejected because a template would ignore it.

use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::text::date;
use crate::text::template::{Owner, Template};
use crate::text::{Chat, Content, Message, ModelText, PromptTemplate, Rendered, TextOptions};

use super::{byte_level, model_folder, open_files, open_files_with};

fn message(role: &str, content: &str) -> Message {
    let content = Some(Content::Text(content.to_owned()));
    Message { role: role.to_owned(), content, ..Message::default() }
}

fn chat(messages: Vec<Message>) -> Chat {
    Chat { messages, ..Chat::default() }
}

fn prefill(content: Option<Content>) -> Chat {
    Chat { continues_final: true, ..chat(vec![Message { content, ..message("assistant", "") }]) }
}

fn render(template: &str, chat: &Chat) -> Result<String> {
    Template::compile(template, Owner::Model, &[], date::now)?.render_chat(chat).map(|rendered| rendered.text)
}

#[track_caller]
fn refused(result: Result<String>, param: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some(param)), "{error}");
    error
}

fn model(chat_template: &Value) -> ModelText {
    let config = json!({"chat_template": chat_template, "bos_token": "<s>"});
    let tokenizer = byte_level().to_string();
    open_files(model_folder(json!({}), json!({}), config), &[("tokenizer.json", tokenizer.as_bytes())]).unwrap()
}

#[test]
fn message_variables_are_exactly_the_given_fields() {
    let calls =
        vec![json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [2.5]}}})];
    let caller = Message { content: None, tool_calls: calls, ..message("assistant", "") };
    let result = Message { tool_call_id: Some("1".to_owned()), name: Some("f".to_owned()), ..message("tool", "3") };
    let thinker = Message { reasoning: Some("hm".to_owned()), ..message("assistant", "4") };
    let rendered =
        render("{% for m in messages %}{{ m | tojson }}\n{% endfor %}", &chat(vec![caller, result, thinker]));
    let expected = [
        r#"{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [2.5]}}}]}"#,
        r#"{"role": "tool", "content": "3", "name": "f", "tool_call_id": "1"}"#,
        r#"{"thinking": "hm", "role": "assistant", "content": "4", "reasoning_content": "hm"}"#,
    ];
    assert_eq!(rendered.unwrap().trim_end(), expected.join("\n"));
}

#[test]
fn parts_are_joined_for_a_template_without_support_for_parts() {
    let parts = Some(Content::Parts(vec!["One ".to_owned(), "two".to_owned()]));
    let chat = chat(vec![Message { content: parts, ..message("user", "") }]);
    assert_eq!(render("{{ messages[0].content }} .textual", &chat).unwrap(), "One two .textual");
    for access in ["part['text']", "part[\"text\"]", "part.text"] {
        let template = format!("{{% for part in messages[0].content %}}[{{{{ {access} }}}}]{{% endfor %}}");
        assert_eq!(render(&template, &chat).unwrap(), "[One ][two]", "{access}");
    }
    // As in Granite, which reads the texts of documents.
    let documents = "{% for it in documents or [] %}{{ it['text'] }}{% endfor %}{{ 'User: ' + messages[0].content }}";
    assert_eq!(render(documents, &chat).unwrap(), "User: One two");
}

/// As in Mistral's templates.
#[test]
fn parts_of_a_tools_result_are_joined() {
    let parts = || Some(Content::Parts(vec!["One ".to_owned(), "two".to_owned()]));
    let from = |role: &str| Message { content: parts(), ..message(role, "") };
    let template = "{% for m in messages %}{% if m.role == 'user' %}{% for part in m.content %}[{{ part.text }}]\
                    {% endfor %}{% else %}({{ m.content }}){% endif %}{% endfor %}";
    assert_eq!(render(template, &chat(vec![from("user"), from("tool")])).unwrap(), "[One ][two](One two)");
}

#[test]
fn variable_that_the_template_does_not_read_is_refused_by_name() {
    let with = |name: &str| {
        let variables = [(name.to_owned(), json!(false))].into_iter().collect();
        Chat { variables, ..chat(vec![message("user", "x")]) }
    };
    let template = "{{ enable_thinking }}";
    assert_eq!(render(template, &with("enable_thinking")).unwrap(), "False");
    refused(render(template, &with("enable")), "templateVariables.enable");
    refused(render(template, &with("enable_thinkin")), "templateVariables.enable_thinkin");
}

#[test]
fn tools_are_refused_if_the_template_ignores_them() {
    let with_tools = |tools: Vec<Value>| Chat { tools: Some(tools), ..chat(vec![message("user", "x")]) };
    let tool = json!({"type": "function", "function": {"name": "f"}});
    refused(render("{{ messages[0].content }}", &with_tools(vec![tool.clone()])), "tools");
    assert_eq!(render("{{ messages[0].content }}", &with_tools(vec![])).unwrap(), "x");
    assert_eq!(render("{{ tools[0].function.name }}", &with_tools(vec![tool])).unwrap(), "f");
}

#[test]
fn model_may_have_a_separate_template_for_tools() {
    let model = model(&json!([
        {"name": "default", "template": "without"},
        {"name": "tool_use", "template": "with {{ tools | length }}"},
    ]));
    let plain = chat(vec![message("user", "x")]);
    assert_eq!(model.render(&plain).unwrap().text, "without");
    let tools = Some(vec![json!({"type": "function", "function": {"name": "f"}})]);
    assert_eq!(model.render(&Chat { tools, ..plain }).unwrap().text, "with 1");
}

#[test]
fn continued_message_is_the_end_of_the_prompt() {
    let kept = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}";
    let trimmed = "{% for m in messages %}<{{ m.role }}>\n{{ m.content | trim }}</>{% endfor %}";
    let text = |text: &str| Some(Content::Text(text.to_owned()));
    assert_eq!(render(kept, &prefill(text("The answer "))).unwrap(), "<assistant>The answer ");
    assert_eq!(render(trimmed, &prefill(text("The answer "))).unwrap(), "<assistant>\nThe answer");
    assert_eq!(render(kept, &prefill(text(""))).unwrap(), "<assistant>");
    let parts = Some(Content::Parts(vec!["The ".to_owned(), "answer".to_owned()]));
    assert_eq!(render(kept, &prefill(parts)).unwrap(), "<assistant>The answer");
}

#[test]
fn message_that_cannot_be_continued_is_refused() {
    let template = "{{ messages[0].content }}";
    refused(render(template, &prefill(None)), "continueFinalMessage");
    refused(render(template, &prefill(Some(Content::Parts(Vec::new())))), "continueFinalMessage");
    let text = Some(Content::Text("the answer".to_owned()));
    refused(render("nothing of it", &prefill(text.clone())), "continueFinalMessage");
    let error = refused(render("{{ messages[0].content | upper }}", &prefill(text)), "continueFinalMessage");
    assert!(error.message().contains("does not show the last message"), "{error}");
}

fn text(rendered: Result<Rendered>) -> Result<String> {
    rendered.map(|rendered| rendered.text)
}

fn prompt(source: &str, variables: &Value) -> PromptTemplate {
    let variables = variables.as_object().unwrap().clone();
    PromptTemplate { source: source.to_owned(), variables, ..PromptTemplate::default() }
}

#[test]
fn callers_template_renders_with_its_variables() {
    let model = model(&Value::Null);
    let source = "{{ bos_token }}{% for word in words %}{{ word }}{{ '-' if not loop.last }}{% endfor %} {{ n + 1 }} {{ x | tojson }}";
    let variables = json!({"words": ["a", "b"], "n": 1, "x": {"y": [null, true, 0.5]}});
    let rendered = model.render_prompt(&prompt(source, &variables)).unwrap();
    assert_eq!(rendered.text, r#"<s>a-b 2 {"y": [null, true, 0.5]}"#);
}

#[test]
fn failing_template_of_the_caller_is_an_invalid_param() {
    let model = model(&Value::Null);
    let empty = || json!({});
    let fails = |source: &str| refused(text(model.render_prompt(&prompt(source, &empty()))), "prompt.template");
    assert!(fails("{% for %}").message().contains("broken"));
    assert!(fails("{{ 1 / 0 }}").message().contains("failed"));
    assert!(fails("{{ raise_exception('no name') }}").message().ends_with("no name"));
    assert!(fails(&"x".repeat((1 << 20) + 1)).message().contains("at most"));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}";
    assert!(fails(endless).message().contains("budget"));
    assert!(fails("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}").message().contains("longer than"));
    refused(text(model.render_prompt(&prompt("{{ name }}", &json!({"nam": "Ada"})))), "prompt.variables.nam");
}

#[test]
fn a_template_that_was_given_at_load_replaces_all_templates_of_the_folder() {
    let listed = json!([{"name": "default", "template": "default"}, {"name": "tool_use", "template": "{{ tools }}"}]);
    let config = json!({"chat_template": listed, "bos_token": "<s>"});
    let options = TextOptions {
        chat_template: Some("{{ bos_token }}{{ messages[0].content }}{{ tools | length if tools }}".to_owned()),
        tool_prompt: None,
    };
    let tokenizer = byte_level().to_string();
    let folder = || model_folder(json!({}), json!({}), config.clone());
    let files = [("tokenizer.json", tokenizer.as_bytes()), ("chat_template.jinja", b"file".as_slice())];
    let model = open_files_with(folder(), &files, &options).unwrap();
    let plain = chat(vec![message("user", "x")]);
    let tools = Some(vec![json!({"type": "function", "function": {"name": "f"}})]);
    assert_eq!(text(model.render(&plain)).unwrap(), "<s>x");
    assert_eq!(text(model.render(&Chat { tools, ..plain.clone() })).unwrap(), "<s>x1");
    let raising = "{{ raise_exception('no') }}".to_owned();
    let raising = TextOptions { chat_template: Some(raising), tool_prompt: None };
    refused(text(open_files_with(folder(), &files, &raising).unwrap().render(&plain)), "messages");
    for broken in ["{% if %}".to_owned(), "x".repeat((1 << 20) + 1)] {
        let options = TextOptions { chat_template: Some(broken), tool_prompt: None };
        let error = open_files_with(folder(), &files, &options).unwrap_err();
        assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("chatTemplate")), "{error}");
    }
}
