//! Answers that are written from their parts are read back as these parts, in each format.

use serde_json::json;

use super::{FinishReason, output_parser, request};
use crate::text::output::writer::{AnswerParts, Unwritable, write};

const FORMATS: [&str; 9] =
    ["hermes", "qwen", "mistral", "llama", "pythonic", "lfm", "tool_code", "function-gemma", "gemma-4"];

fn calls(names: &[&str]) -> Vec<(String, serde_json::Value)> {
    let arguments = json!({"place": "Zürich \"ZH\"", "days": [1, null, -0.5], "deep": {"a b": true}, "none": {}});
    names.iter().map(|name| ((*name).to_owned(), arguments.clone())).collect()
}

fn written(format: &str, parts: &AnswerParts) -> Result<String, Unwritable> {
    write(Some(&output_parser(format)), parts).map(|answer| answer.text)
}

#[test]
fn calls_are_read_back_in_each_format() {
    for format in FORMATS {
        for names in [&["get_weather"][..], &["f", "g"]] {
            let parts = AnswerParts { calls: calls(names), ..AnswerParts::default() };
            let answer = written(format, &parts).unwrap();
            let read = output_parser(format).parse(&answer, &request(), FinishReason::Stop);
            let read_calls: Vec<_> = read
                .calls
                .iter()
                .map(|call| (call.name.clone(), serde_json::from_str(&call.arguments).unwrap()))
                .collect();
            assert_eq!(read_calls, parts.calls, "{format}: {answer}");
            assert_eq!((read.text.as_str(), read.warnings.len()), ("", 0), "{format}: {answer}");
        }
    }
}

#[test]
fn text_before_calls_stays_text() {
    for format in FORMATS {
        let parts = AnswerParts { text: "I look.".to_owned(), calls: calls(&["f"]), ..AnswerParts::default() };
        if format == "pythonic" {
            let error = written(format, &parts).unwrap_err();
            assert!(error.part == "toolCalls" && error.why.contains("only at the beginning"), "{error:?}");
            continue;
        }
        let answer = written(format, &parts).unwrap();
        let read = output_parser(format).parse(&answer, &request(), FinishReason::Stop);
        assert_eq!((read.text.as_str(), read.calls.len()), ("I look.", 1), "{format}: {answer}");
    }
}

#[test]
fn hermes_calls_are_written_as_its_template_writes_them() {
    let call = |x: i32| ("f".to_owned(), json!({"x": x, "y": [1, 2]}));
    let parts = AnswerParts { calls: vec![call(1), call(2)], ..AnswerParts::default() };
    let one =
        |x| format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {{\"x\": {x}, \"y\": [1, 2]}}}}\n</tool_call>");
    assert_eq!(written("hermes", &parts).unwrap(), format!("{}\n{}", one(1), one(2)));
}

#[test]
fn reasoning_comes_before_text_and_calls() {
    let parts =
        AnswerParts { reasoning: Some("Hm.\n\nYes.".to_owned()), text: "Well.".to_owned(), calls: calls(&["f"]) };
    let read = output_parser("qwen").parse(&written("qwen", &parts).unwrap(), &request(), FinishReason::Stop);
    assert_eq!((read.reasoning.as_str(), read.text.as_str(), read.calls.len()), ("Hm.\n\nYes.", "Well.", 1));
}

#[test]
fn an_answer_that_starts_inside_the_reasoning_ends_it() {
    let mut parser = output_parser("qwen");
    parser.is_reasoning = true;
    for reasoning in [None, Some("Hm.".to_owned())] {
        let parts = AnswerParts { reasoning: reasoning.clone(), text: "Yes.".to_owned(), ..AnswerParts::default() };
        let read = parser.parse(&write(Some(&parser), &parts).unwrap().text, &request(), FinishReason::Stop);
        assert_eq!((read.reasoning, read.text.as_str()), (reasoning.unwrap_or_default(), "Yes."));
    }
}

#[test]
fn parts_that_the_model_cannot_write_are_named() {
    let reasoning = |text: &str| AnswerParts { reasoning: Some(text.to_owned()), ..AnswerParts::default() };
    let unknown = AnswerParts { calls: calls(&["f", "rm"]), ..AnswerParts::default() };
    let marked = ("f".to_owned(), json!({"x": "a<escape>b"}));
    let marked = AnswerParts { calls: vec![marked], ..AnswerParts::default() };
    let cases = [
        ("hermes", reasoning("Hm."), "reasoning", "reasoning tags"),
        ("qwen", reasoning("a </think> b"), "reasoning", "between the reasoning tags"),
        ("hermes", unknown, "toolCalls[1].name", "\"rm\", which is none of the request's `tools`: f, g, get_weather"),
        ("function-gemma", marked, "toolCalls", "cannot be written"),
    ];
    for (format, parts, part, why) in cases {
        let error = written(format, &parts).unwrap_err();
        assert!(error.part == part && error.why.contains(why), "{format}: {error:?}");
    }
    let plain = AnswerParts { calls: calls(&["f"]), ..AnswerParts::default() };
    assert_eq!(write(None, &plain).unwrap_err().part, "toolCalls");
}
