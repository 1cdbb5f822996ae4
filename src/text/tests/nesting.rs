//! Templates and regular expressions that nest too deeply are rejected before a library recurses into them. Those at
//! the limit need at most a sixteenth of the stack of a loading thread.

use serde_json::{Value, json};

use super::{byte_level, model_folder, open, open_files};
use crate::error::Code;
use crate::text::jinja::MAX_DEPTH as MAX_TEMPLATE_DEPTH;
use crate::text::nesting::{LOAD_STACK_BYTES, MAX_REGEX_BRACKETS};
use crate::text::{Chat, ModelText, PromptTemplate};

/// Templates with about this many levels, each with another construct.
fn templates(levels: usize) -> Vec<String> {
    let inside = |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(levels), close.repeat(levels));
    let barriers = |operator: &str| format!("{{{{ a{} }}}}", operator.repeat(levels));
    let mut all: Vec<_> =
        [".a", "()", "[1:]", "|e", " is a", " and a", " or a", "~a", "+a", "-a", "*a", "**a", " == a", " in a"]
            .map(barriers)
            .into();
    all.extend(
        [("not ", ""), ("-", ""), ("1 if a else ", ""), ("(", ")"), ("[", "]"), ("{1:", "}"), ("f(", ")")]
            .map(|(open, close)| inside(open, close)),
    );
    all.push(format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(levels)));
    all.push(format!("{}{}", "{% if a %}".repeat(levels), "{% endif %}".repeat(levels)));
    all.push(format!("{}{}", "{% for a in b %}".repeat(levels), "{% endfor %}".repeat(levels)));
    all.push(format!("{{% set a = {}1 %}}", "not ".repeat(levels)));
    all.push(format!("{{% raw %}}{{#{{% endraw %}}{{{{ {}1 }}}}", "not ".repeat(levels)));
    all.push(format!("{{# ' #}}{{{{ {}1 }}}}", "- ".repeat(levels)));
    all
}

fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(LOAD_STACK_BYTES / 16);
    thread.spawn(work).unwrap().join().unwrap()
}

fn with_template(template: &str) -> ModelText {
    let (tokenizer, config) = (byte_level().to_string(), json!({"chat_template": template}));
    open_files(model_folder(json!({}), json!({}), config), &[("tokenizer.json", tokenizer.as_bytes())]).unwrap()
}

fn rendered(source: String) -> crate::error::Result<String> {
    let model = with_template("");
    let prompt = PromptTemplate { source, ..PromptTemplate::default() };
    on_small_stack(move || model.render_prompt(&prompt).map(|rendered| rendered.text))
}

#[test]
fn templates_beyond_the_limit_are_refused_without_stack_overflow() {
    // Branches, and items of one operator, are not nested in each other.
    let is_flat =
        |template: &str| [" and ", " or ", "~a", " == ", " in ", "elif"].iter().any(|it| template.contains(it));
    for template in templates(30_000) {
        let result = rendered(template.clone());
        let of_model = on_small_stack({
            let template = template.clone();
            move || with_template(&template).render(&Chat::default()).map(drop)
        });
        if is_flat(&template) {
            continue;
        }
        let error = result.expect_err(&template[..60]);
        assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("prompt.template")), "{error}");
        assert_eq!(of_model.unwrap_err().code(), Code::ModelLoadError);
    }
    let error = rendered(format!("\n\n{{{{ {}1 }}}}", "not ".repeat(30_000))).unwrap_err();
    assert!(error.message().contains("line 3: an expression is nested deeper than 200 levels"), "{error}");
}

#[test]
fn templates_at_the_limit_need_a_small_part_of_the_stack() {
    let levels = MAX_TEMPLATE_DEPTH - 4;
    // Constructs with a lower limit of the parser fail with its error.
    for template in templates(levels) {
        drop(rendered(template));
    }
    let text = rendered(format!("{{{{ {}1 }}}}", "not ".repeat(2 * MAX_TEMPLATE_DEPTH - 2))).unwrap();
    assert_eq!(text, "True");
}

#[test]
fn long_templates_without_nesting_are_accepted() {
    let many = MAX_TEMPLATE_DEPTH * 4;
    let flat = [
        "{{ 1 + 1 }}".repeat(many),
        format!("{{{{ [{}] | length }}}}", "1 + 1, ".repeat(many)),
        "{% if a %}{% elif not b %}{% else %}{{ 'x' ~ a }}{% endif %}".repeat(many),
        format!("{{{{ '{}' }}}}", "not (".repeat(many)),
        format!("{{# {} #}}", "not (".repeat(many)),
        "not (".repeat(many),
    ];
    for template in flat {
        rendered(template.clone()).unwrap_or_else(|error| panic!("{template:.40}: {error}"));
    }
}

/// A tokenizer that splits with a regular expression.
fn split_by(regex: &str) -> Value {
    let mut tokenizer = byte_level();
    tokenizer["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    tokenizer
}

#[test]
fn regexes_of_a_tokenizer_have_a_limit_of_brackets() {
    // No text contains the character in the middle: to match nested repetitions around a letter would take minutes.
    let nested =
        |levels: usize, open: &str, close: &str| format!("{}\u{e000}{}", open.repeat(levels), close.repeat(levels));
    for (open_, close) in [("(", ")"), ("(?=", ")"), ("(?:", "b){0,1}"), ("[", "]"), ("(?<!", ")"), ("(?>", ")*")] {
        let beyond = split_by(&nested(MAX_REGEX_BRACKETS + 1, open_, close));
        let error = on_small_stack(move || open(&beyond)).unwrap_err();
        assert_eq!(error.code(), Code::TokenizerError);
        assert!(error.message().contains("tokenizer.json") && error.message().contains("`pre_tokenizer`"), "{error}");
        assert!(error.message().contains("at most 1000 are allowed"), "{error}");
        let within = split_by(&nested(MAX_REGEX_BRACKETS / 2, open_, close));
        // The regex engine has limits of its own.
        on_small_stack(move || drop(open(&within)));
    }
    let words = (0..5_000).map(|word| word.to_string()).collect::<Vec<_>>().join("|");
    open(&split_by(&words)).unwrap();
}

#[test]
fn regexes_are_checked_in_every_part_of_a_tokenizer() {
    let regex = "(".repeat(MAX_REGEX_BRACKETS + 1);
    let replace = json!({"type": "Replace", "pattern": {"Regex": regex}, "content": ""});
    let chain = |name: &str| json!({"type": "Sequence", name: [replace]});
    for (part, value) in [
        ("normalizer", replace.clone()),
        ("normalizer", chain("normalizers")),
        ("decoder", chain("decoders")),
        ("pre_tokenizer", json!({"type": "Sequence", "Regex": {"Regex": regex}})),
    ] {
        let mut tokenizer = byte_level();
        tokenizer[part] = value;
        let error = open(&tokenizer).unwrap_err();
        assert!(error.message().contains(&format!("`{part}` opens 1001 brackets")), "{error}");
    }
}

#[test]
fn parts_of_a_tokenizer_have_a_limit_of_levels() {
    let sequences = |levels: usize| {
        (0..levels).fold(json!({"type": "NFC"}), |inner, _| json!({"type": "Sequence", "normalizers": [inner]}))
    };
    let with = |levels: usize| {
        let mut tokenizer = byte_level();
        tokenizer["normalizer"] = sequences(levels);
        open(&tokenizer)
    };
    with(10).unwrap();
    let error = with(20).unwrap_err();
    assert!(error.message().contains("`normalizer` is nested too deeply: at most 24 levels are allowed"), "{error}");
}
