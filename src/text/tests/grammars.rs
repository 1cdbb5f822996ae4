//! Grammars with schemas inside, and nesting at the limits.

use serde_json::{Map, Value, json};

use super::constraints::{answers, demo, follow, message, refusal};
use crate::text::StructuredOutput;

#[test]
fn schemas_in_a_grammar_are_checked_like_others() {
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a~1b"}}, "required": ["a"], "additionalProperties": false, "$defs": {"a/b": {"type": "boolean"}, "c": {"if": {}}}});
    let grammar = format!("start: \"<%json {{}}>\" value // %json {{\"not\": 1}}\nvalue: %json {schema:#}\n");
    let answers = answers(&demo(), &StructuredOutput::Grammar(grammar));
    assert!(answers.len() > 50);
    for answer in answers {
        let value: Value = serde_json::from_str(answer.strip_prefix("<%json {}>").unwrap()).unwrap();
        assert!(value["a"].is_boolean(), "{answer}");
    }
}

#[test]
fn many_schemas_in_a_grammar_are_read_in_one_pass() {
    let grammar = format!("start: {}\n", "%json {\"items\": ".repeat(10_000));
    let start = std::time::Instant::now();
    assert!(message(&StructuredOutput::Grammar(grammar)).contains("structured.grammar"));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let marks = "start: \"a\" # %json {\"not\": 1}\n// \" %json {\"not\": 1}\nb: /%json {\"not\": 1}\\/ \"/ \"\\\" %json {}\"\n";
    demo().constraint(&StructuredOutput::Grammar(marks.to_owned())).unwrap();
    assert!(message(&StructuredOutput::Grammar(format!("{marks}c: %json {{\"not\": 1}}"))).contains("%json.not"));
}

/// Runs work with a quarter of the stack of the text pool.
fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(128 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn levels_of_schemas_and_rules_of_grammars_are_limited() {
    let nested = |levels: usize, inner: Value| (0..levels).fold(inner, |inner, _| json!({"items": inner}));
    let chain = |parts: usize, levels: usize| {
        let target = |part: usize| nested(levels, json!({"$ref": format!("#/$defs/d{part}")}));
        let mut defs: Map<_, _> = (0..parts).map(|part| (format!("d{part}"), target(part + 1))).collect();
        defs.insert(format!("d{parts}"), json!({"type": "boolean"}));
        StructuredOutput::Schema(json!({"$ref": "#/$defs/d0", "$defs": defs}))
    };
    let deep = chain(80, 40);
    on_large_stack(move || demo().constraint(&deep).map(drop)).unwrap();
    let error = refusal(&chain(200, 40));
    assert!(error.message().contains("levels in all its parts together; at most 4096 are allowed"), "{error}");
    let rules = |count: usize| {
        let rules: Vec<_> = (0..count).map(|rule| format!("r{rule}: \"a\" r{}\n", rule + 1)).collect();
        StructuredOutput::Grammar(format!("start: r0\n{}r{count}: \"b\"", rules.concat()))
    };
    let many = rules(900);
    on_large_stack(move || demo().constraint(&many).map(drop)).unwrap();
    assert!(message(&rules(5_000)).contains("at most 1000 are allowed"));
    let unknown = message(&StructuredOutput::Grammar("start: <unknown>".to_owned()));
    assert!(unknown.contains("special token") && !unknown.contains("backtrace"), "{unknown}");
    let conditions =
        format!("start: r::0\nr::_: \"a\" %if {}bit_clear(_, 0){}", "not(".repeat(5_000), ")".repeat(5_000));
    assert!(message(&StructuredOutput::Grammar(conditions)).contains("at most 200 are allowed"));
}

/// Grammars with rules and sentences at the nesting limits.
fn deepest() -> Vec<StructuredOutput> {
    let rules = |name: char, of: fn(String) -> String| {
        let rule = |at: usize| format!("{name}{at}: {}\n", of(format!("{name}{}", at + 1)));
        let rules: Vec<_> = (0..990).map(rule).collect();
        StructuredOutput::Grammar(format!("start: {name}0\n{}{name}990: \"b\"\n", rules.concat()))
    };
    let nested = |levels: usize, open: &str, close: &str| format!("{}b{}", open.repeat(levels), close.repeat(levels));
    vec![
        rules('r', |next| format!("\"a\" {next}")),
        rules('r', |next| format!("{next} \"a\"")),
        rules('A', |next| format!("\"a\" {next}")),
        rules('A', |next| format!("{next} \"a\"")),
        rules('A', |next| format!("(\"a\" | {next} \"c\")")),
        rules('A', |next| format!("~({next} \"a\")")),
        StructuredOutput::Regex(nested(200, "(a", ")?")),
        StructuredOutput::Regex(nested(3_000, "(", ")")),
        StructuredOutput::Regex(format!("{}b", "a?".repeat(5_000))),
        StructuredOutput::Schema(json!({"pattern": nested(200, "(a|", "c)*")})),
    ]
}

#[test]
fn deepest_grammars_are_followed_on_the_stack_of_the_engine_thread() {
    for structured in deepest() {
        let asked = structured.clone();
        let Ok(constraint) = on_large_stack(move || demo().constraint(&asked)) else { continue };
        let follower = std::thread::Builder::new().stack_size(1 << 20);
        follower.spawn(move || follow(&constraint)).unwrap().join().unwrap();
    }
}
