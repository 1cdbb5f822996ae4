//! Constraints of each kind: random answers from the allowed tokens must satisfy them.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Map;

use super::*;
use crate::constraint::{AllowedTokens, Constraint, ConstraintError};
use crate::error::{Code, Error};
use crate::hub::open_folder;
use crate::request::TokenId;
use crate::text::{Load, StructuredOutput};

pub(super) fn demo() -> Arc<ModelText> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    Arc::new(ModelText::open(&open_folder(&path).unwrap()).unwrap())
}

fn choices(texts: &[&str]) -> StructuredOutput {
    StructuredOutput::Choices(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn tokens(allowed: &AllowedTokens) -> Vec<TokenId> {
    let num_tokens = u32::try_from(allowed.bitmask.len() * 32).unwrap();
    (0..num_tokens).filter(|token| allowed.bitmask[*token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

/// An answer of random allowed tokens; `None` if it is incomplete after `max_tokens`.
pub(super) fn answer(model: &ModelText, constraint: &Constraint, mut seed: u64, max_tokens: usize) -> Option<String> {
    let mut matcher = constraint.matcher();
    let mut delta = Vec::new();
    loop {
        let allowed = matcher.allowed().unwrap();
        let choices = tokens(&allowed);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(seed >> 33).unwrap();
        if choices.is_empty() || (allowed.may_end && number.is_multiple_of(3)) {
            assert!(allowed.may_end);
            return Some(model.decode(&delta).unwrap());
        }
        if delta.len() == max_tokens {
            return None;
        }
        delta.push(choices[number / 3 % choices.len()]);
        matcher.accept(*delta.last().unwrap()).unwrap();
    }
}

pub(super) fn answers(model: &ModelText, structured: &StructuredOutput) -> Vec<String> {
    let constraint = model.constraint(structured).unwrap();
    (0..100).filter_map(|seed| answer(model, &constraint, seed, 200)).collect()
}

pub(super) fn refusal(structured: &StructuredOutput) -> Error {
    let error = demo().constraint(structured).expect_err("it cannot be enforced");
    assert_eq!(error.code(), Code::GuidanceError, "{error}");
    error
}

pub(super) fn message(structured: &StructuredOutput) -> String {
    refusal(structured).message().to_owned()
}

#[test]
fn answers_are_choices_and_each_choice_is_possible() {
    let texts = ["yes", "yes, please", "no", "\"quoted\"\\\n", "é日本😀"];
    let answers = answers(&demo(), &choices(&texts));
    assert!(answers.len() == 100 && answers.iter().all(|answer| texts.contains(&answer.as_str())), "{answers:?}");
    for text in texts {
        assert!(answers.iter().any(|answer| answer == text), "{text}");
    }
}

#[test]
fn text_satisfies_the_constraint_with_tokenizers_that_trim_its_start() {
    let texts = ["hello", "he he", "he  llo", "é日本", "w.w"];
    for tokenizer in [byte_level(), sentence_piece(), metaspace()] {
        let answers = answers(&opened(&tokenizer), &choices(&texts));
        assert!(answers.len() == 100 && answers.iter().all(|answer| texts.contains(&answer.as_str())), "{answers:?}");
    }
}

#[test]
fn words_that_a_tokenizer_joins_with_spaces_can_be_structured() {
    let texts = ["he", "he he", "h . he", "o"];
    let word_piece = decoded_by(json!({"type": "WordPiece", "prefix": "##", "cleanup": false}));
    for tokenizer in [decoded_by(Value::Null), word_piece] {
        let model = opened(&tokenizer);
        let answers = answers(&model, &choices(&texts));
        assert!(answers.len() == 100 && answers.iter().all(|answer| texts.contains(&answer.as_str())), "{answers:?}");
        assert!(texts.iter().all(|text| answers.iter().any(|answer| answer == text)), "{answers:?}");
        assert!(model.constraint(&choices(&["hehe", "he"])).is_ok(), "one of them can be written");
        let error = model.constraint(&choices(&["hh"])).unwrap_err();
        assert!(error.message().contains("`structured.choices`"), "{error}");
    }
}

#[test]
fn answer_cannot_start_with_a_character_that_the_tokenizer_removes() {
    let model = opened(&sentence_piece());
    assert!(answers(&model, &choices(&[" he", "he"])).iter().all(|answer| answer == "he"));
    let error = model.constraint(&choices(&[" he"])).unwrap_err();
    assert!(error.message().contains("`structured.choices`"), "{error}");
}

#[test]
fn a_regex_matches_from_end_to_end() {
    let answers = answers(&demo(), &StructuredOutput::Regex(r"\d{2}/(é|[a-c]+)".to_owned()));
    assert_eq!(answers.len(), 100);
    for answer in answers {
        let (number, rest) = answer.split_once('/').unwrap();
        assert!(number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()), "{answer}");
        assert!(rest == "é" || (!rest.is_empty() && rest.bytes().all(|byte| b"abc".contains(&byte))), "{answer}");
    }
}

#[test]
fn a_grammar_can_nest() {
    let grammar = "start: \"(\" start \")\" | \"[\" start \"]\" | \"x\"".to_owned();
    let answers = answers(&demo(), &StructuredOutput::Grammar(grammar));
    assert!(answers.iter().any(|answer| answer.len() > 3));
    for answer in answers {
        let (opening, closing) = answer.split_once('x').unwrap();
        let mirrored: String = opening.chars().rev().map(|c| if c == '(' { ')' } else { ']' }).collect();
        assert_eq!(closing, mirrored);
    }
}

/// Whether the white space is empty, one space, or a line break with an indentation of at most 32 characters.
fn is_bounded(space: &str) -> bool {
    let is_indent = |rest: &str| rest.len() <= 32 && rest.bytes().all(|byte| b" \t".contains(&byte));
    ["", " "].contains(&space) || space.strip_prefix('\n').is_some_and(is_indent)
}

#[test]
fn json_of_a_schema_has_limited_white_space() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": -3, "maximum": 12}, "b": {"enum": ["x", null, 1.5]}},
        "required": ["a", "b"],
        "additionalProperties": false,
    });
    let answers = answers(&demo(), &StructuredOutput::Schema(schema));
    assert!(answers.len() > 90);
    for answer in answers {
        let value: Value = serde_json::from_str(&answer).unwrap();
        let number = value["a"].as_f64().unwrap();
        assert!((-3.0..=12.0).contains(&number) && number.fract() == 0.0, "{answer}");
        assert!([json!("x"), Value::Null, json!(1.5)].contains(&value["b"]), "{answer}");
        assert_eq!(value.as_object().unwrap().len(), 2);
        assert!(answer.split(|c: char| !c.is_whitespace()).all(is_bounded), "{answer:?}");
    }
}

#[test]
fn numbers_without_bounds_are_finite_in_javascript() {
    let constraint = demo().constraint(&StructuredOutput::Schema(json!({"type": ["number", "null"]}))).unwrap();
    for seed in 0..100 {
        let answer = answer(&demo(), &constraint, seed, 400).unwrap_or_default();
        assert!(answer.parse::<f64>().is_ok_and(|number| number.abs() < 1e16) || answer == "null" || answer.is_empty());
    }
}

#[test]
fn complete_answer_may_end_and_forbidden_token_is_an_error() {
    let model = demo();
    let constraint = model.constraint(&choices(&["yes"])).unwrap();
    let mut matcher = constraint.matcher();
    for token in model.encode("yes").unwrap() {
        assert!(!matcher.allowed().unwrap().may_end);
        matcher.accept(token).unwrap();
    }
    assert_eq!(matcher.allowed(), Ok(AllowedTokens { bitmask: Vec::new(), may_end: true }));
    let mut matcher = constraint.matcher();
    assert_eq!(matcher.accept(model.encode("no").unwrap()[0]), Err(ConstraintError::TooComplex));
}

#[test]
fn special_tokens_are_never_allowed() {
    let constraint = demo().constraint(&StructuredOutput::Regex("(?s:.*)".to_owned())).unwrap();
    let allowed = tokens(&constraint.matcher().allowed().unwrap());
    assert!(allowed.len() > 300 && (0..=4).all(|special| !allowed.contains(&special)));
}

#[test]
fn equal_constraints_are_compiled_once() {
    let model = demo();
    let [first, again, other] =
        [["a", "b"], ["a", "b"], ["b", "a"]].map(|texts| model.constraint(&choices(&texts)).unwrap());
    assert!(first == again && first != other);
    assert_eq!(first.spec(), r#"{"choices":["a","b"]}"#);
}

#[test]
fn unenforceable_keyword_is_refused_with_its_path() {
    let named = [
        (json!({"uniqueItems": true}), "structured.schema.uniqueItems"),
        (json!({"properties": {"a": {"items": {"not": {}}}}}), "structured.schema.properties.a.items.not"),
        (json!({"anyOf": [{}, {"minLenght": 2}]}), "structured.schema.anyOf[1].minLenght"),
        (json!({"$ref": "#/$defs/d", "$defs": {"d": {"if": {}}}}), "structured.schema.$defs.d.if"),
        (json!({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"if": {}}}}), "structured.schema.$defs.a/b.if"),
        (json!({"x-guidance": {"lenient": true}}), "structured.schema.x-guidance"),
        (json!({"items": {"type": "string", "format": "regex"}}), "structured.schema.items.format"),
        (json!({"$ref": "https://example.com/schema"}), "structured.schema.$ref"),
        (json!({"items": 3}), "structured.schema.items"),
        (json!({"properties": []}), "structured.schema.properties"),
    ];
    for (schema, path) in named {
        let error = refusal(&StructuredOutput::Schema(schema));
        assert!(error.message().starts_with(&format!("`{path}` ")), "{error}");
        assert_eq!(error.param(), Some("structured.schema"));
    }
    let embedded = StructuredOutput::Grammar("start: \"a\" %json { \"uniqueItems\": true }".to_owned());
    assert_eq!(message(&embedded), "`structured.grammar.%json.uniqueItems` is a keyword that cannot be enforced");
}

#[test]
fn names_and_values_may_look_like_keywords() {
    let schema = json!({
        "properties": {"not": {"const": {"if": 1}}, "$ref": {"enum": [{"uniqueItems": 2}]}},
        "default": {"contains": 3}, "title": "t", "deprecated": true, "examples": [{"not": 1}],
    });
    demo().constraint(&StructuredOutput::Schema(schema)).unwrap();
}

#[test]
fn broken_constraints_are_refused_with_the_reason() {
    let broken = [
        (StructuredOutput::Regex("(".to_owned()), "`structured.regex` cannot be enforced", "unclosed group"),
        (StructuredOutput::Regex("(?=a)b".to_owned()), "`structured.regex`", "look-around"),
        (StructuredOutput::Regex(String::new()), "`structured.regex`", "without text"),
        (StructuredOutput::Regex(r"[^\s\S]".to_owned()), "`structured.regex`", ""),
        (StructuredOutput::Regex("a\\".to_owned()), "`structured.regex`", "backslash"),
        (StructuredOutput::Schema(json!({"pattern": "a\\"})), "`structured.schema.pattern`", "backslash"),
        (StructuredOutput::Grammar("start[ temperature = 2]: /a+/".to_owned()), "`structured.grammar`", "temperature"),
        (StructuredOutput::Grammar("begin: \"a\"".to_owned()), "`structured.grammar`", "no start rule"),
        (StructuredOutput::Grammar("start: missing".to_owned()), "`structured.grammar`", "missing"),
        (StructuredOutput::Schema(json!({"type": "text"})), "`structured.schema`", "Invalid type: text"),
        (StructuredOutput::Schema(json!(false)), "`structured.schema`", "false"),
        (StructuredOutput::Schema(json!({"$ref": "#/$defs/none"})), "`structured.schema`", "none"),
        (
            StructuredOutput::Schema(json!({"oneOf": [{"type": "string"}, {"maxLength": 1}]})),
            "`structured.schema`",
            "oneOf",
        ),
        (StructuredOutput::Schema(json!({"type": "integer", "multipleOf": 0})), "`structured.schema`", "multipleOf"),
        (choices(&[]), "`structured.choices`", "at least one"),
        (choices(&["a", ""]), "`structured.choices`", "none of them empty"),
    ];
    for (structured, start, reason) in broken {
        let message = message(&structured);
        assert!(message.starts_with(start) && message.contains(reason), "{message}");
    }
}

#[test]
fn large_constraints_are_refused_with_the_limit() {
    let names = |num: usize| (0..num).map(|index| (format!("p{index}"), json!({}))).collect::<Map<_, _>>();
    let too_large = [
        (StructuredOutput::Regex("a".repeat(17 << 10)), 16_384.0),
        (StructuredOutput::Grammar(format!("start: \"{}\"", "a".repeat(256 << 10))), 262_144.0),
        (StructuredOutput::Schema(json!({"const": "a".repeat(256 << 10)})), 262_144.0),
        (StructuredOutput::Choices(vec!["a".to_owned(); 4_097]), 4_096.0),
        (StructuredOutput::Choices(vec!["a".repeat(1_000); 66]), 65_536.0),
    ];
    for (structured, limit) in too_large {
        assert_eq!(refusal(&structured).limit(), Some(limit));
    }
    let many = message(&StructuredOutput::Schema(json!({"properties": names(513)})));
    assert!(many.starts_with("`structured.schema.properties` has 513 entries"), "{many}");
}

#[test]
fn constraints_at_the_limits_can_be_followed() {
    let names: Map<_, _> = (0..512).map(|index| (format!("p{index}"), json!({"type": "string"}))).collect();
    let schemas = [
        json!({"type": "object", "properties": names}),
        json!({"type": "integer", "multipleOf": 997}),
        json!({"type": "number", "minimum": 0, "multipleOf": 0.05}),
        json!({"enum": (0..10_000).collect::<Vec<_>>()}),
    ];
    for schema in schemas {
        let text = schema.to_string();
        let constraint = demo().constraint(&StructuredOutput::Schema(schema)).unwrap();
        let mut matcher = constraint.matcher();
        for step in 0..20 {
            let allowed = matcher.allowed();
            let choices = tokens(&allowed.unwrap_or_else(|unable| panic!("{unable} at {step} of {text:.80}")));
            let Some(token) = choices.get(step * 7 % choices.len().max(1)) else { break };
            matcher.accept(*token).unwrap();
        }
    }
}

/// Constraints that are hostile: sizes that multiply, states that explode, circular references, ambiguous grammars.
/// Compiling them must end within the time budget of the text pool, and each step must end quickly.
fn hostile() -> Vec<StructuredOutput> {
    let ten = |inner: String| format!("({inner}){{10}}");
    let names: Map<_, _> = (0..512).map(|index| (format!("p{index}"), json!({"type": "string"}))).collect();
    let multiples: Vec<_> =
        [9_973, 9_967, 9_949].iter().map(|of| json!({"type": "integer", "multipleOf": of})).collect();
    let circle = |other: &str| json!({"anyOf": [{"$ref": other}, {"type": "array", "items": {"$ref": "#"}}]});
    let regexes =
        ["(a{1000}){1000}", "(a|b|ab|ba){1,5000}", ".*a.{200}b.{200}.*", "(x*)*y", "[^x]{0,100000}"].map(str::to_owned);
    let grammars = [
        "start: start start | \"a\"",
        "start: a a a a a a a a\na: b b b b b b b b\nb: c c c c c c c c\nc: \"a\"?",
        "start: \"a\"{1,1000000000}",
        "start: start",
    ];
    let schemas = [
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "string", "minLength": 1_000_000_000, "pattern": "a{1000}{1000}"}),
        json!({"type": "integer", "multipleOf": 1_000_000_007}),
        json!({"allOf": multiples}),
        json!({"type": "object", "properties": names}),
        json!({"enum": (0..20_000).collect::<Vec<_>>()}),
        json!({"type": "object", "minProperties": 1_000, "patternProperties": {"a.*b": {}, "b.*a": {}}}),
        json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": circle("#/$defs/b"), "b": circle("#/$defs/a")}}),
        json!({"$ref": "#"}),
    ];
    let towers = StructuredOutput::Regex((0..9).fold("a".to_owned(), |inner, _| ten(inner)));
    let regexes = regexes.into_iter().map(StructuredOutput::Regex).chain([towers]);
    let grammars = grammars.into_iter().map(|text| StructuredOutput::Grammar(text.to_owned()));
    regexes.chain(grammars).chain(schemas.into_iter().map(StructuredOutput::Schema)).collect()
}

#[test]
fn hostile_constraints_end_within_the_budget() {
    let thread = super::pool::pool(64, Duration::from_mins(1));
    let model = demo();
    for structured in hostile() {
        let (sender, receiver) = channel();
        let (asked, compiler) = (structured.clone(), Arc::clone(&model));
        let compile = move || compiler.constraint(&asked);
        thread.run(Load::default(), compile, move |constraint| drop(sender.send(constraint))).unwrap();
        match receiver.recv().unwrap() {
            Err(error) => assert_eq!(error.code(), Code::GuidanceError, "{structured:?}: {error}"),
            // On a thread with the default stack.
            Ok(constraint) => follow(&constraint),
        }
    }
}

/// Advances into an answer until it ends or exceeds a limit.
pub(super) fn follow(constraint: &Constraint) {
    let mut matcher = constraint.matcher();
    for step in 0..100 {
        let Ok(allowed) = matcher.allowed() else { return };
        let choices = tokens(&allowed);
        let Some(token) = choices.get(step * 7 % choices.len().max(1)) else { return };
        if matcher.accept(*token).is_err() {
            return;
        }
    }
}
