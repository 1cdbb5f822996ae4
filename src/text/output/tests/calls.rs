//! Well-formed calls in each format.

use serde_json::{Value, json};

use super::{FinishReason, calls, output_parser, parse, streamed};

/// The arguments in [`ONE`].
fn arguments() -> Value {
    json!({"s": "a \"b\" 'c' \\ \n\t[x] {y} (z), é 😀", "n": -1.5e3, "deep": {"list": [1, [true, null], {}], "o": {"k": ""}}, "no": false})
}

/// A call in each format, without text around it.
const ONE: [(&str, &str); 9] = [
    (
        "hermes",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a \\\"b\\\" 'c' \\\\ \\n\\t[x] {y} (z), \\u00e9 \\ud83d\\ude00\", \"n\": -1.5e3, \"deep\": {\"list\": [1, [true, null], {}], \"o\": {\"k\": \"\"}}, \"no\": false}}\n</tool_call>",
    ),
    (
        "mistral",
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"s\": \"a \\\"b\\\" 'c' \\\\ \\n\\t[x] {y} (z), é 😀\", \"n\": -1.5e3, \"deep\": {\"list\": [1, [true, null], {}], \"o\": {\"k\": \"\"}}, \"no\": false}, \"id\": \"abcdefghi\"}]",
    ),
    (
        "mistral",
        "[TOOL_CALLS]f[ARGS]{\"s\": \"a \\\"b\\\" 'c' \\\\ \\n\\t[x] {y} (z), é 😀\", \"n\": -1.5e3, \"deep\": {\"list\": [1, [true, null], {}], \"o\": {\"k\": \"\"}}, \"no\": false}",
    ),
    (
        "llama",
        "{\"name\": \"f\", \"parameters\": {\"s\": \"a \\\"b\\\" 'c' \\\\ \\n\\t[x] {y} (z), é 😀\", \"n\": -1.5e3, \"deep\": {\"list\": [1, [true, null], {}], \"o\": {\"k\": \"\"}}, \"no\": false}}",
    ),
    (
        "pythonic",
        "[f(s='a \"b\" \\'c\\' \\\\ \\n\\t[x] {y} (z), \\u00e9 \\U0001F600', n=-1.5e3, deep={'list': [1, (True, None), {}], \"o\": {'k': '',}}, no=False)]",
    ),
    (
        "lfm",
        "<|tool_call_start|>[f(s=\"a \\\"b\\\" 'c' \\\\ \\n\\t[x] {y} (z), \\xe9 😀\", n=-1.5e3, deep={\"list\": [1, [true, null], {}], \"o\": {\"k\": \"\"}}, no=false)]<|tool_call_end|>",
    ),
    (
        "tool_code",
        "```tool_code\nprint(default_api.f(s='a \"b\" \\'c\\' \\\\ \\n\\t[x] {y} (z), é 😀', n=-1.5e3, deep={'list': [1, [True, None], {}], 'o': {'k': ''}}, no=False))\n```",
    ),
    (
        "function-gemma",
        "<start_function_call>call:f{s:<escape>a \"b\" 'c' \\ \n\t[x] {y} (z), é 😀<escape>,n:-1.5e3,deep:{list:[1,[true,null],{}],o:{k:<escape><escape>}},no:false}<end_function_call>",
    ),
    (
        "gemma-4",
        "<|tool_call>call:f{s:<|\"|>a \"b\" 'c' \\ \n\t[x] {y} (z), é 😀<|\"|>,n:-1.5e3,deep:{list:[1,[true,null],{}],o:{k:<|\"|><|\"|>}},no:false}<tool_call|>",
    ),
];

/// Two calls, the second without arguments, and the same with text before and after.
const TWO: [(&str, &str, &str, &str); 9] = [
    (
        "hermes",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>\n<tool_call>\n{\"arguments\": {}, \"name\": \"g\"}\n</tool_call>",
        "Both. ",
        " Done.",
    ),
    (
        "hermes",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n<tool_call>{\"name\": \"g\"}</tool_call>",
        "Both. ",
        "",
    ),
    (
        "mistral",
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
        "Both. ",
        " Done.",
    ),
    ("mistral", "[TOOL_CALLS]f[CALL_ID]abc123DEF[ARGS]{\"x\": 1}[TOOL_CALLS]g[ARGS]{}", "Both. ", ""),
    (
        "llama",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"x\": 1}}; {\"name\": \"g\", \"parameters\": {}}",
        "Both. ",
        " Done.",
    ),
    ("pythonic", "[f(x=1), g()]", "", " Done."),
    ("tool_code", "```tool_code\nf(x=1)\ng()\n```", "Both. ", " Done."),
    (
        "function-gemma",
        "<start_function_call>call:f{x:1}<end_function_call><start_function_call>call:g{}<end_function_call>",
        "Both. ",
        " Done.",
    ),
    ("gemma-4", "<|tool_call>call:f{x:1}<tool_call|><|tool_call>call:g{}<tool_call|>", "Both. ", " Done."),
];

#[test]
fn a_call_of_each_format_has_its_name_and_its_arguments() {
    for (format, answer) in ONE {
        let parsed = parse(format, answer);
        assert_eq!(calls(&parsed), [("f".to_owned(), arguments())], "{format}: {answer}");
        assert_eq!((parsed.text.as_str(), &parsed.warnings), ("", &Vec::new()), "{format}");
    }
}

#[test]
fn several_calls_keep_their_order_and_leave_the_text() {
    for (format, answer, before, behind) in TWO {
        let expected = [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({}))];
        let parsed = parse(format, &format!("{before}{answer}{behind}"));
        assert_eq!(calls(&parsed), expected, "{format}: {answer}");
        let seam = if before.is_empty() || behind.is_empty() { "" } else { " " };
        let expected = format!("{}{seam}{}", before.trim_end(), behind.trim_start());
        assert_eq!(parsed.text, expected, "{format}: {answer}");
        assert_eq!(parsed.warnings, Vec::<String>::new(), "{format}: {answer}");
    }
}

#[test]
fn arguments_stream_before_a_call_is_complete() {
    for (format, answer) in ONE {
        let at = answer.find("[x]").unwrap();
        let output_parser = output_parser(format);
        let delta = output_parser.streaming(&super::request()).push(&answer[..at]);
        let begun = &delta.last.calls[0];
        assert!(!begun.is_complete, "{format}");
        assert_eq!(begun.named.as_ref().map(|(_, name)| name.as_str()), Some("f"), "{format}");
        assert_eq!(begun.arguments, r#"{"s":"a \"b\" 'c' \\ \n\t"#, "{format}");
    }
}

#[test]
fn stream_equals_the_whole_answer_for_every_cut() {
    let answers = ONE.map(|(format, answer)| (format, answer.to_owned()));
    let more = TWO.map(|(format, answer, before, behind)| (format, format!("{before}{answer}{behind}")));
    for (format, answer) in answers.into_iter().chain(more) {
        let (output_parser, whole) = (output_parser(format), parse(format, &answer));
        for (at, _) in answer.char_indices() {
            let delta = streamed(&output_parser, &answer, &[at]);
            let said_calls: Vec<_> =
                delta.calls.iter().map(|call| (call.named.clone().unwrap(), &call.arguments)).collect();
            let calls: Vec<_> =
                whole.calls.iter().map(|call| ((call.id.clone(), call.name.clone()), &call.arguments)).collect();
            assert_eq!((delta.text, said_calls), (whole.text.clone(), calls), "{format} cut at {at}: {answer}");
        }
    }
}

#[test]
fn ids_have_nine_characters_and_depend_only_on_request_and_index() {
    let ids = |request: &str| {
        let parsed = output_parser("mistral").parse(TWO[2].1, &request.into(), FinishReason::Stop);
        parsed.calls.into_iter().map(|call| call.id).collect::<Vec<_>>()
    };
    let of_one = ids("one");
    assert!(of_one.iter().all(|id| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric())), "{of_one:?}");
    assert_eq!(of_one, ids("one"));
    assert_ne!(of_one[0], of_one[1]);
    assert_ne!(of_one, ids("two"));
}

#[test]
fn markers_inside_string_arguments_are_text() {
    let inside = "</tool_call><tool_call>[TOOL_CALLS]```}]) <think>";
    let answers = [
        ("hermes", format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": \"{inside}\"}}}}</tool_call>")),
        ("mistral", format!("[TOOL_CALLS][{{\"name\": \"f\", \"arguments\": {{\"x\": \"{inside}\"}}}}]")),
        ("llama", format!("{{\"name\": \"f\", \"parameters\": {{\"x\": \"{inside}\"}}}}")),
        ("pythonic", format!("[f(x='{inside}')]")),
        ("tool_code", format!("```tool_code\nf(x='{inside}')\n```")),
        (
            "function-gemma",
            format!("<start_function_call>call:f{{x:<escape>{inside}<<escap<escape>}}<end_function_call>"),
        ),
    ];
    for (format, answer) in answers {
        let expected = if format == "function-gemma" { format!("{inside}<<escap") } else { inside.to_owned() };
        assert_eq!(calls(&parse(format, &answer)), [("f".to_owned(), json!({"x": expected}))], "{format}");
    }
}

#[test]
fn line_breaks_that_a_model_forgot_to_escape_are_escaped() {
    let parsed = parse("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"one\ntwo\"}}</tool_call>");
    assert_eq!(parsed.calls[0].arguments, r#"{"x":"one\ntwo"}"#);
}

#[test]
fn missing_null_and_empty_arguments_are_an_empty_object() {
    for arguments in
        ["", ", \"arguments\": null", ", \"arguments\": {}", ", \"arguments\": \"\"", ", \"arguments\": \" null \""]
    {
        for (format, open, close) in
            [("hermes", "<tool_call>", "</tool_call>"), ("mistral", "[TOOL_CALLS][", "]"), ("llama", "", "")]
        {
            let answer = format!("{open}{{\"name\": \"f\"{arguments}}}{close}");
            let parsed = parse(format, &answer);
            assert_eq!(calls(&parsed), [("f".to_owned(), json!({}))], "{format}: {answer}");
            assert_eq!((parsed.text.as_str(), parsed.warnings.len()), ("", 0), "{format}: {answer}");
        }
    }
}

#[test]
fn arguments_may_be_a_json_string() {
    let object = json!({"a": 1, "b": ["é \"x\"\n", null], "c": {}});
    for field in ["arguments", "parameters"] {
        for first in [true, false] {
            let (name, text) = (json!("f"), json!(format!(" {object:#} ")));
            let fields = if first {
                format!("\"name\": {name}, \"{field}\": {text}")
            } else {
                format!("\"{field}\": {text}, \"name\": {name}")
            };
            let answer = format!("<tool_call>{{{fields}}}</tool_call>");
            let parsed = parse("hermes", &answer);
            assert_eq!(calls(&parsed), [("f".to_owned(), object.clone())], "{answer}");
            assert_eq!(parsed.warnings, Vec::<String>::new(), "{answer}");
            for (at, _) in answer.char_indices() {
                let delta = streamed(&output_parser("hermes"), &answer, &[at]);
                assert_eq!(delta.calls[0].arguments, parsed.calls[0].arguments, "{answer} cut at {at}");
            }
        }
    }
}

#[test]
fn texts_around_calls_stay_apart() {
    let call = "<tool_call>{\"name\": \"g\"}</tool_call>";
    for (answer, text) in [
        (format!("Let me look.\n{call}\nDone."), "Let me look. Done."),
        (format!("Let me look.{call} Done."), "Let me look. Done."),
        (format!("Let me look.{call}Done."), "Let me look. Done."),
        (format!("One  {call}\n{call}\n\nTwo{call}Three"), "One Two Three"),
        (format!("{call}\nDone."), "Done."),
        (format!("Let me look.\n{call}\n"), "Let me look."),
        (format!("See\n{call}\n<tool_call>oops"), "See <tool_call>oops"),
        (format!("See {call}\n< 1"), "See < 1"),
        (format!("<think>Hm</think>\n\n{call}\nDone."), "Done."),
    ] {
        let format = if answer.starts_with("<think>") { "qwen" } else { "hermes" };
        assert_eq!(parse(format, &answer).text, text, "{answer}");
        for (at, _) in answer.char_indices() {
            assert_eq!(streamed(&output_parser(format), &answer, &[at]).text, text, "{answer} cut at {at}");
        }
    }
}
