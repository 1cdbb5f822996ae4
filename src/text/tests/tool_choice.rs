//! Answers that must call a tool: random allowed tokens parse as calls of the tools, with arguments that match their
//! schemas.

use serde_json::Map;

use super::*;
use crate::constraint::Constraint;
use crate::error::{Code, Error};
use crate::request::{FinishReason, Request, StopRules, TokenId};
use crate::text::{
    Chat, Content, ExpectedAnswer, Message, OutputParser, ParsedOutput, StreamState, StructuredOutput, ToolCall,
    ToolChoice,
};

/// Markers that are special tokens of this model.
const SPECIAL: [&str; 4] = ["[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"];

fn model(template: &str) -> Arc<ModelText> {
    let mut tokenizer = byte_level();
    for (id, content) in (300..).zip(SPECIAL) {
        tokenizer["added_tokens"]
            .as_array_mut()
            .unwrap()
            .push(json!({"id": id, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
    }
    let config = json!({ "chat_template": template });
    let folder = model_folder(json!({}), json!({}), config);
    Arc::new(open_files(folder, &[("tokenizer.json", tokenizer.to_string().as_bytes())]).unwrap())
}

fn tool(name: &str, parameters: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

fn tools() -> Vec<Value> {
    let closed = |properties: Value, required: Value| {
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false,
            "$defs": {"unit": {"enum": ["°C", "\"F\""]}}})
    };
    let weather = closed(
        json!({"unit": {"$ref": "#/$defs/unit"}, "days": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}}),
        json!(["unit"]),
    );
    let free = closed(json!({"a": {"type": "boolean"}, "b": {"const": null}, "c": {"const": {"d": [1]}}}), json!([]));
    vec![tool("weather", &weather), tool("free", &free), json!({"type": "function", "function": {"name": "now"}})]
}

fn chat(choice: ToolChoice) -> Chat {
    let content = Some(Content::Text("?".to_owned()));
    let messages = vec![Message { role: "user".to_owned(), content, ..Message::default() }];
    Chat { messages, tools: Some(tools()), choice, ..Chat::default() }
}

fn expected(model: &ModelText, chat: &Chat, structured: Option<&StructuredOutput>) -> Result<ExpectedAnswer> {
    let output_parser = model.output_parser(chat, &model.render(chat)?);
    model.expected_answer(chat, output_parser, structured)
}

fn compiled(model: &ModelText, chat: &Chat) -> Result<(Constraint, OutputParser)> {
    let ExpectedAnswer { constraint, parser } = expected(model, chat, None)?;
    Ok((constraint.unwrap(), parser.unwrap()))
}

/// A random answer as its reader gets it; `None` if it is incomplete.
fn answer(
    model: &Arc<ModelText>,
    constraint: &Constraint,
    output_parser: &OutputParser,
    mut seed: u64,
) -> Option<String> {
    let (mut matcher, mut text) = (constraint.matcher(), String::new());
    let mut stream = model.stream(&[], model.markup(Some(output_parser)));
    for _ in 0..400 {
        let allowed = matcher.allowed().unwrap();
        let num_tokens = TokenId::try_from(allowed.bitmask.len() * 32).unwrap();
        let is_allowed = |token: &TokenId| allowed.bitmask[*token as usize / 32] >> (token % 32) & 1 == 1;
        let choices: Vec<_> = (0..num_tokens).filter(is_allowed).collect();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(seed >> 33).unwrap();
        if choices.is_empty() || (allowed.may_end && number.is_multiple_of(2)) {
            assert!(allowed.may_end);
            stream.finish(&mut text);
            return Some(text);
        }
        let token = choices[number / 2 % choices.len()];
        matcher.accept(token).unwrap();
        stream.push(token, &mut text);
    }
    None
}

fn is_of_a_tool(call: &ToolCall) -> bool {
    let arguments: Map<String, Value> = serde_json::from_str(&call.arguments).unwrap();
    let is_known = |(key, value): (&String, &Value)| match (call.name.as_str(), key.as_str()) {
        ("weather", "unit") => *value == "°C" || *value == "\"F\"",
        ("weather", "days") => value.as_array().is_some_and(|days| days.len() <= 2),
        ("free", "a") => value.is_boolean(),
        ("free", "b") => value.is_null(),
        ("free", "c") => *value == json!({"d": [1]}),
        _ => false,
    };
    arguments.iter().all(is_known) && (call.name != "weather" || arguments.contains_key("unit"))
}

/// Random answers repeat calls.
fn are_about_repeated_calls(parsed: &ParsedOutput) -> bool {
    parsed.warnings.iter().all(|warning| warning.contains("repeated its call"))
}

/// Templates of the formats that have a grammar, and whether an answer may contain several calls.
const TEMPLATES: [(&str, bool); 9] = [
    ("<tool_call>{{ tools }}", true),
    ("<tool_call></think>{{ tools }}", true),
    ("[TOOL_CALLS]{{ tools }}", true),
    ("[TOOL_CALLS][ARGS]{{ tools }}", true),
    ("[TOOL_CALLS][ARGS][THINK]{{ tools }}", true),
    ("<|python_tag|>{{ tools }}", false),
    ("func_name1(a){{ tools }}", true),
    ("<|tool_call_start|>{{ tools }}", true),
    ("```tool_code{{ tools }}", true),
];

fn sampled(template: &str, choice: ToolChoice) -> Vec<(String, ParsedOutput)> {
    answers(template, &chat(choice), None)
}

/// Random answers to a chat, and their output.
fn answers(template: &str, chat: &Chat, structured: Option<&StructuredOutput>) -> Vec<(String, ParsedOutput)> {
    let model = model(template);
    let ExpectedAnswer { constraint, parser } = expected(&model, chat, structured).unwrap();
    let (constraint, output_parser, request) = (constraint.unwrap(), parser.unwrap(), Arc::from("request"));
    let answers = (0..40).filter_map(|seed| answer(&model, &constraint, &output_parser, seed));
    answers.map(|answer| (answer.clone(), output_parser.parse(&answer, &request, FinishReason::Stop))).collect()
}

#[test]
fn required_calls_call_tools_with_valid_arguments() {
    for (template, may_be_several) in TEMPLATES {
        let answers = sampled(template, ToolChoice::Required);
        assert!(answers.len() > 12, "{template}: {}", answers.len());
        for (answer, parsed) in &answers {
            assert!(
                !parsed.calls.is_empty() && parsed.calls.iter().all(is_of_a_tool),
                "{template}: {answer}: {parsed:?}"
            );
            assert_eq!(parsed.text, "", "{template}: {answer}");
            assert!(are_about_repeated_calls(parsed), "{template}: {answer}: {parsed:?}");
        }
        let names: std::collections::BTreeSet<_> =
            answers.iter().flat_map(|(_, parsed)| &parsed.calls).map(|call| &call.name).collect();
        assert_eq!(names.len(), 3, "{template}");
        assert_eq!(answers.iter().any(|(_, parsed)| parsed.calls.len() > 1), may_be_several, "{template}");
    }
}

#[test]
fn named_tool_choice_calls_that_tool_once() {
    for (template, _) in TEMPLATES {
        let answers = sampled(template, ToolChoice::Named("free".to_owned()));
        assert!(answers.len() > 12, "{template}: {}", answers.len());
        for (answer, parsed) in answers {
            assert!(
                parsed.calls.len() == 1 && parsed.calls[0].name == "free" && is_of_a_tool(&parsed.calls[0]),
                "{template}: {answer}"
            );
        }
    }
}

/// Whether this text is a possible answer.
fn may_be(template: &str, text: &str) -> bool {
    let model = model(template);
    let (constraint, _) = compiled(&model, &chat(ToolChoice::Required)).unwrap();
    let mut matcher = constraint.matcher();
    let tokens = model.encode_rendered(text).unwrap();
    let is_allowed = tokens.iter().all(|token| {
        let words = matcher.allowed().unwrap().bitmask;
        let is_allowed = words.get(*token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1);
        is_allowed && matcher.accept(*token).is_ok()
    });
    is_allowed && matcher.allowed().unwrap().may_end
}

#[test]
fn reasoning_may_come_first_and_must_end_if_the_prompt_opened_it() {
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let (free, opened) = ("<tool_call></think>{{ tools }}", "<tool_call>{{ tools }}<think>");
    assert!(may_be(free, call));
    assert!(may_be(free, &format!("<think>now or\nnever <tool_call></think>\n\n{call}")));
    assert!(!may_be(free, &format!("now</think>\n\n{call}")));
    assert!(may_be(opened, &format!("now</think>\n\n{call}")));
    assert!(!may_be(opened, call));
    let (marked, call) = ("[TOOL_CALLS][ARGS][THINK]{{ tools }}", "[TOOL_CALLS]now[ARGS]{}");
    assert!(may_be(marked, call));
    assert!(may_be(marked, &format!("[THINK]now[/THINK]\n\n{call}")));
    assert!(!may_be(marked, "Now."));
}

fn refusal(template: &str, chat: &Chat) -> Error {
    compiled(&model(template), chat).expect_err("it cannot be enforced")
}

#[test]
fn unenforceable_tool_choices_are_refused() {
    let required = chat(ToolChoice::Required);
    for template in
        ["{{ tools }}", "</think>{{ tools }}", "<start_function_call>{{ tools }}", "<tool_call><function={{ tools }}"]
    {
        let error = refusal(template, &required);
        assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("toolChoice")), "{template}: {error}");
    }
    let with = |parameters: Value| Chat { tools: Some(vec![tool("f", &parameters)]), ..required.clone() };
    let error = refusal("<tool_call>{{ tools }}", &with(json!({"properties": {"x": {"not": {}}}})));
    assert_eq!((error.code(), error.param()), (Code::GuidanceError, Some("tools")));
    assert!(
        error.message().contains("the tool `f`") && error.message().contains("parameters.properties.x.not"),
        "{error}"
    );
    let error = refusal("func_name1({{ tools }}", &with(json!({"properties": {"a b": {}}})));
    assert!(error.message().contains("\"a b\""), "{error}");
    let huge = with(json!({"properties": {"x": {"enum": (0..200_000).collect::<Vec<_>>()}}}));
    assert_eq!(refusal("<tool_call>{{ tools }}", &huge).param(), Some("toolChoice"));
}

#[test]
fn optional_calls_have_no_constraint() {
    let (model, chat) = (model("<tool_call>{{ tools }}"), chat(ToolChoice::Auto));
    let expected = expected(&model, &chat, None).unwrap();
    assert!(expected.constraint.is_none() && expected.parser.unwrap().call_stop().is_none());
}

#[test]
fn at_most_one_call_is_exactly_one_where_a_call_is_required() {
    for (template, _) in TEMPLATES {
        let answers = answers(template, &Chat { is_single_call: true, ..chat(ToolChoice::Required) }, None);
        assert!(answers.len() > 12, "{template}: {}", answers.len());
        for (answer, parsed) in answers {
            assert!(parsed.calls.len() == 1 && is_of_a_tool(&parsed.calls[0]), "{template}: {answer}");
        }
    }
}

#[test]
fn optional_calls_end_an_answer_with_at_most_one_of_them() {
    let model = model("<tool_call>{{ tools }}");
    let chat = Chat { is_single_call: true, ..chat(ToolChoice::Auto) };
    let ExpectedAnswer { constraint, parser } = expected(&model, &chat, None).unwrap();
    assert_eq!(constraint, None);
    let parser = parser.unwrap();
    let stop = StopRules { calls: parser.call_stop(), ..Request::of([1], 100).stop };
    let (mut stream, mut text) = (model.answer_stream(&stop, model.markup(Some(&parser))), String::new());
    let call = "So: <tool_call>{\"name\": \"now\"}";
    let mut push = |part: &str| {
        let tokens = model.encode_rendered(part).unwrap();
        tokens.into_iter().map(|token| stream.push(token, &mut text)).last().unwrap()
    };
    assert_eq!(push(&call[..call.len() - 1]), StreamState::Open);
    assert_eq!(push("}</tool_call>"), StreamState::Stopped);
    assert_eq!(push(" and then"), StreamState::Stopped);
    assert_eq!(text, call);
}

/// An answer in place of calls: an object whose text may look like a call.
fn schema() -> StructuredOutput {
    StructuredOutput::Schema(json!({
        "type": "object",
        "properties": {
            "name": { "enum": ["<tool_call>", "[f()]", "now"] },
            "parts": { "type": "array", "items": { "$ref": "#/$defs/part" }, "maxItems": 2 },
        },
        "required": ["name", "parts"],
        "additionalProperties": false,
        "$defs": { "part": { "enum": [1, "```"] } },
    }))
}

fn is_of_the_schema(text: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return false };
    let is_part = |part: &Value| *part == 1 || *part == "```";
    fields.len() == 2
        && fields["name"].as_str().is_some_and(|name| ["<tool_call>", "[f()]", "now"].contains(&name))
        && fields["parts"].as_array().is_some_and(|parts| parts.len() <= 2 && parts.iter().all(is_part))
}

#[test]
fn answer_with_tools_and_a_schema_is_calls_or_a_text_of_the_schema() {
    for (template, may_be_several) in TEMPLATES {
        let answers = answers(template, &chat(ToolChoice::Auto), Some(&schema()));
        assert!(answers.len() > 12, "{template}: {}", answers.len());
        let (mut num_texts, mut most_calls) = (0, 0);
        for (answer, parsed) in &answers {
            most_calls = most_calls.max(parsed.calls.len());
            assert!(are_about_repeated_calls(parsed), "{template}: {answer}: {parsed:?}");
            if parsed.calls.is_empty() {
                num_texts += 1;
                assert!(is_of_the_schema(&parsed.text), "{template}: {answer}: {parsed:?}");
            } else {
                assert!(parsed.calls.iter().all(is_of_a_tool) && parsed.text.is_empty(), "{template}: {answer}");
            }
        }
        assert!(num_texts > 0 && num_texts < answers.len(), "{template}: {num_texts} of {}", answers.len());
        assert_eq!(most_calls > 1, may_be_several, "{template}");
    }
}

#[test]
fn list_of_a_schema_is_told_from_a_list_of_calls() {
    let list = StructuredOutput::Schema(json!({ "type": "array", "items": { "enum": [true, "f"] }, "maxItems": 3 }));
    for template in ["func_name1(a){{ tools }}", "[TOOL_CALLS]{{ tools }}"] {
        let answers = answers(template, &chat(ToolChoice::Auto), Some(&list));
        let (calls, texts): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, parsed)| !parsed.calls.is_empty());
        assert!(!calls.is_empty() && !texts.is_empty(), "{template}");
        for (answer, parsed) in texts {
            let list: Vec<Value> = serde_json::from_str(&parsed.text).unwrap();
            assert!(list.iter().all(|item| *item == true || *item == "f"), "{template}: {answer}");
        }
    }
}

#[test]
fn other_forms_of_structured_output_may_stand_in_place_of_calls() {
    let forms = [
        StructuredOutput::Regex("[a-f]{3}".to_owned()),
        StructuredOutput::Grammar("start: calls calls\ncalls: \"abc\" | \"def\"".to_owned()),
        StructuredOutput::Choices(vec!["one".to_owned(), "two".to_owned()]),
    ];
    for form in forms {
        let answers = answers("<tool_call>{{ tools }}", &chat(ToolChoice::Auto), Some(&form));
        let texts: Vec<_> = answers.iter().filter(|(_, parsed)| parsed.calls.is_empty()).collect();
        assert!(!texts.is_empty() && texts.len() < answers.len(), "{form:?}");
        for (_, ParsedOutput { text, .. }) in texts {
            let is_expected = match form {
                StructuredOutput::Regex(_) => text.len() == 3,
                StructuredOutput::Grammar(_) => text.len() == 6,
                _ => text == "one" || text == "two",
            };
            assert!(is_expected, "{form:?}: {text}");
        }
    }
}

#[test]
fn schema_has_no_effect_on_an_answer_that_must_call() {
    for choice in [ToolChoice::Required, ToolChoice::Named("now".to_owned())] {
        for (answer, parsed) in answers("<tool_call>{{ tools }}", &chat(choice), Some(&schema())) {
            assert!(!parsed.calls.is_empty() && parsed.text.is_empty(), "{answer}");
        }
    }
}

#[test]
fn schema_beside_tools_is_refused_where_calls_cannot_be_enforced() {
    let auto = chat(ToolChoice::Auto);
    for template in ["{{ tools }}", "<start_function_call>{{ tools }}", "<tool_call><function={{ tools }}"] {
        let error = expected(&model(template), &auto, Some(&schema())).expect_err("it cannot be enforced");
        assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("toolChoice")), "{template}: {error}");
        assert!(error.message().contains("must be 'none' beside `structured`"), "{error}");
    }
    let without_tools = Chat { tools: Some(Vec::new()), ..auto.clone() };
    assert!(expected(&model("{{ tools }}"), &without_tools, Some(&schema())).unwrap().constraint.is_some());
    let broken = StructuredOutput::Grammar("start: missing".to_owned());
    let error = expected(&model("<tool_call>{{ tools }}"), &auto, Some(&broken)).expect_err("it is broken");
    assert_eq!((error.code(), error.param()), (Code::GuidanceError, Some("structured.grammar")), "{error}");
}
