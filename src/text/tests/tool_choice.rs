//! Answers that must call a tool: random allowed tokens parse as calls of the tools, with arguments that match their
//! schemas.

use serde_json::Map;

use super::*;
use crate::constraint::Constraint;
use crate::error::{Code, Error};
use crate::request::TokenId;
use crate::text::{Chat, Content, Message, OutputParser, ParsedOutput, ToolCall, ToolChoice};

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

fn compiled(model: &ModelText, chat: &Chat) -> Result<(Constraint, OutputParser)> {
    let output_parser = model.output_parser(chat, &model.render(chat)?);
    let constraint = model.tool_call_constraint(chat, output_parser.as_ref())?;
    Ok((constraint.unwrap(), output_parser.unwrap()))
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
    let (model, chat) = (model(template), chat(choice));
    let (constraint, output_parser) = compiled(&model, &chat).unwrap();
    let request = Arc::from("request");
    let answers = (0..40).filter_map(|seed| answer(&model, &constraint, &output_parser, seed));
    answers.map(|answer| (answer.clone(), output_parser.parse(&answer, &request))).collect()
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
            assert_eq!((parsed.text.as_str(), parsed.warnings.len()), ("", 0), "{template}: {answer}");
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
    assert_eq!(model.tool_call_constraint(&chat, model.output_parser(&chat, "").as_ref()).unwrap(), None);
}
