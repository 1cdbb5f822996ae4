//! Chat templates render as in Hugging Face's Jinja2, and hostile ones end. Jinja2 made the expected strings, in the
//! set-up of `transformers`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{byte_level, model_folder, open_files};
use crate::error::{Code, Error, Result};
use crate::text::{Chat, Content, Load, Message, ModelText};

fn with_config(tokenizer_config: Value, files: &[(&str, &[u8])]) -> Result<ModelText> {
    let tokenizer = byte_level().to_string();
    let mut all = vec![("tokenizer.json", tokenizer.as_bytes())];
    all.extend(files);
    open_files(model_folder(json!({}), json!({}), tokenizer_config), &all)
}

fn message(role: &str, content: &str) -> Message {
    let content = Some(Content::Text(content.to_owned()));
    Message { role: role.to_owned(), content, ..Message::default() }
}

fn chat() -> Chat {
    chat_of(vec![message("system", "Be brief."), message("user", " Hi & <bye>\n"), message("assistant", "Yes?")])
}

fn chat_of(messages: Vec<Message>) -> Chat {
    Chat { messages, ..Chat::default() }
}

fn render(template: &str) -> Result<String> {
    with_config(json!({"chat_template": template, "bos_token": "<s>", "eos_token": {"content": "</s>"}}), &[])?
        .render(&chat())
        .map(|rendered| rendered.text)
}

#[track_caller]
fn renders(template: &str, expected: &str) {
    assert_eq!(render(template).unwrap(), expected);
}

#[track_caller]
fn fails(template: &str) -> Error {
    let start = Instant::now();
    let error = render(template).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "{template} took {:?}", start.elapsed());
    error
}

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn chat_is_rendered_up_to_the_answer() {
    renders(
        CHATML,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi & <bye>\n<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>assistant\n",
    );
}

#[test]
fn whitespace_around_blocks_is_trimmed_as_in_hugging_face() {
    renders(
        "{{ bos_token }}\n{% for m in messages %}\n    {% if loop.first %}\n  [{{ m.role }}]\n    {% endif %}\n{% endfor %}\nend\n",
        "<s>\n  [system]\nend",
    );
    renders("a\n  {%- if true %}\n b {{- eos_token }} c\n  {%+ endif %}\n", "a b</s> c\n  ");
}

#[test]
fn namespaces_loop_controls_and_python_methods_work() {
    renders(
        "{% set ns = namespace(n=0, last='') %}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{% set ns.last = m.content.strip().split(' ')[-1].upper() %}{% if ns.n == 1 %}{% break %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.last }} {{ messages[0].content.startswith('Be') }} {{ messages[1:] | length }} {{ messages[-1]['role'].title() }} {{ none }} {{ 'x'.replace('x', 'y').rstrip('y') ~ 1 }}",
        "1 <BYE> True 2 Assistant None 1",
    );
}

#[test]
fn variables_of_a_chat_are_defined_and_others_are_not() {
    renders(
        "{{ tools is none }} {{ documents is none }} {{ unheard is defined }} {{ unheard }}{{ messages[0].name is defined }} {{ pad_token is defined }}",
        "True True False False False",
    );
    let model = with_config(json!({"chat_template": "{{ messages[0].name }}"}), &[]).unwrap();
    let named = Message { name: Some("Ada".to_owned()), ..message("user", "x") };
    assert_eq!(model.render(&chat_of(vec![named])).unwrap().text, "Ada");
}

#[test]
fn json_is_written_as_python_writes_it() {
    renders("{{ messages[1] | tojson }}", r#"{"role": "user", "content": " Hi & <bye>\n"}"#);
    renders(
        "{{ {'b': [1, 2.5, true, none], 'a': {}, 'é': [], 'q': '\"\\\\'} | tojson(indent=2) }}",
        "{\n  \"b\": [\n    1,\n    2.5,\n    true,\n    null\n  ],\n  \"a\": {},\n  \"é\": [],\n  \"q\": \"\\\"\\\\\"\n}",
    );
    renders(
        "{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=true, sort_keys=true, separators=[',', ':']) }}",
        r#"{"a":"\u00e9\ud83d\ude00","b":1}"#,
    );
    renders("{{ [1.0, 3, -2] | tojson }}", "[1.0, 3, -2]");
    assert_eq!(fails("{{ unheard | tojson }}").code(), Code::TokenizerError);
}

#[test]
fn generation_tags_are_ignored() {
    renders(
        "{% for m in messages %}\n{%- generation -%}\n {{ m.role }} {% endgeneration %}\n{% endfor %}",
        "system user assistant ",
    );
    renders("{% set generation = 'kept' %}{{ generation }}", "kept");
}

#[test]
fn exception_raised_by_the_template_is_an_invalid_param() {
    let error = fails("{{ raise_exception('Roles must alternate: ' + messages[0].role) }}");
    assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("messages")));
    assert!(error.message().ends_with("Roles must alternate: system"), "{error}");
    let error = fails("{% macro check() %}{{ raise_exception('inside') }}{% endmacro %}{{ check() }}");
    assert_eq!(error.code(), Code::InvalidParams);
}

#[test]
fn failing_template_of_the_model_is_a_tokenizer_error() {
    for template in ["{{ messages[0].content.nonsense() }}", "{{ unheard.of }}", "{{ 1 / 0 }}", "{% include 'x' %}"] {
        let error = fails(template);
        assert_eq!(error.code(), Code::TokenizerError, "{template}: {error}");
        assert!(error.message().contains("chat template failed"), "{error}");
    }
}

#[test]
fn broken_template_fails_only_chats() {
    let model = with_config(json!({"chat_template": "{% for %}"}), &[]).unwrap();
    assert!(model.encode("plain prompts still work").is_ok());
    let error = model.render(&chat()).unwrap_err();
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("chat template is broken"), "{error}");
}

#[test]
fn error_of_a_model_without_a_template_suggests_prompt() {
    let error = with_config(json!({}), &[]).unwrap().render(&chat()).unwrap_err();
    assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("messages")));
    assert!(error.message().contains("`prompt`"), "{error}");
}

#[test]
fn template_is_found_in_every_supported_file() {
    let config = json!({"chat_template": "config"});
    let list =
        json!({"chat_template": [{"name": "tool_use", "template": "tool"}, {"name": "default", "template": "list"}]});
    let jinja: (&str, &[u8]) = ("chat_template.jinja", b"jinja");
    let json: (&str, &[u8]) = ("chat_template.json", br#"{"chat_template": "json"}"#);
    let rendered = |config: &Value, files: &[(&str, &[u8])]| {
        with_config(config.clone(), files).unwrap().render(&chat()).map(|rendered| rendered.text)
    };
    assert_eq!(rendered(&config, &[jinja, json]).unwrap(), "jinja");
    assert_eq!(rendered(&config, &[json]).unwrap(), "config");
    assert_eq!(rendered(&list, &[]).unwrap(), "list");
    assert_eq!(rendered(&json!({}), &[json]).unwrap(), "json");
    for bad in [json!({"chat_template": 7}), json!({"chat_template": [{"name": "a"}, {"name": "b"}]})] {
        let error = rendered(&bad, &[]).unwrap_err();
        assert_eq!(error.code(), Code::ModelLoadError);
        assert!(error.message().contains("tokenizer_config.json"), "{error}");
    }
    assert_eq!(rendered(&config, &[("chat_template.jinja", b"\xFF")]).unwrap_err().code(), Code::ModelLoadError);
}

#[test]
fn endless_template_runs_out_of_budget() {
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% set x = a + b %}{% endfor %}{% endfor %}{% endfor %}";
    let error = fails(loops);
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("budget"), "{error}");
}

#[test]
fn endless_output_is_stopped() {
    for template in [
        "{% for a in range(10000) %}{{ 'x' * 10000 }}{% endfor %}".to_owned(),
        format!("{{% for a in range(10000) %}}{}{{% endfor %}}", "y".repeat(10_000)),
        "{{ 'x' * 90000000 }}".to_owned(),
    ] {
        assert_eq!(fails(&template).code(), Code::TokenizerError);
    }
}

#[test]
fn recursion_is_stopped() {
    let macros = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}".to_owned();
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    let blocks = "{% if true %}".repeat(50_000) + &"{% endif %}".repeat(50_000);
    for template in [macros, parentheses, blocks] {
        assert!(matches!(fails(&template).code(), Code::TokenizerError | Code::ModelLoadError));
    }
}

#[test]
fn value_nested_without_end_is_stopped() {
    let nested = |open: &str, close: &str, used: &str| {
        let value = format!("{}ns.x{}", open.repeat(30), close.repeat(30));
        format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(100000) %}}{{% set ns.x = {value} %}}{{% if i == 8000 %}}{used}{{% endif %}}{{% endfor %}}"
        )
    };
    let shared = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    let templates = [
        nested("[", "]", ""),
        nested("[", "]", "{{ ns.x | tojson }}"),
        nested("{'a':", "}", "{{ ns.x | string | length }}"),
        format!("{shared}{{{{ ns.x | tojson }}}}"),
        format!("{shared}{{{{ ns.x }}}}"),
    ];
    let thread = super::pool::pool(1, Duration::from_mins(1));
    for template in templates {
        let (sender, receiver) = std::sync::mpsc::channel();
        let shown = template.clone();
        let job = move || with_config(json!({"chat_template": template}), &[])?.render(&chat());
        thread.run(Load::default(), job, move |result| sender.send(result).unwrap()).unwrap();
        assert_eq!(receiver.recv().unwrap().unwrap_err().code(), Code::TokenizerError, "{shown}");
    }
}

#[test]
fn oversized_template_is_refused() {
    let error = fails(&"x".repeat((1 << 20) + 1));
    assert_eq!(error.code(), Code::ModelLoadError);
}

#[test]
fn printable_characters_are_those_of_python() {
    renders(
        "{{ 'a b'.isprintable() }} {{ ''.isprintable() }} {{ 'a\u{a0}'.isprintable() }} {{ '\u{200b}'.isprintable() }}",
        "True True False False",
    );
}

#[test]
fn the_smallest_width_is_refused_as_others_that_are_too_wide() {
    let smallest = "(-170141183460469231731687303715884105727 - 1)";
    let error = fails(&format!("{{{{ '%*d' % ({smallest}, 1) }}}}"));
    assert!(error.message().contains("a width is at most"), "{error}");
}
