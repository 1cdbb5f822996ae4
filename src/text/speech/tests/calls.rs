//! Calls that are as they should be, in each format.

use serde_json::{Value, json};

use super::{calls, read, speech, streamed};

/// The arguments of the calls that [`answers`] are of.
fn arguments() -> Value {
    json!({"s": "a \"b\" 'c' \\ \n\t[x] {y} (z), é 😀", "n": -1.5e3, "deep": {"list": [1, [true, null], {}], "o": {"k": ""}}, "no": false})
}

/// A call of each format with no text around it.
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

/// Two calls, the second without arguments, and the same with text before and behind.
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
        let spoken = read(format, answer);
        assert_eq!(calls(&spoken), [("f".to_owned(), arguments())], "{format}: {answer}");
        assert_eq!((spoken.text.as_str(), &spoken.warnings), ("", &Vec::new()), "{format}");
    }
}

#[test]
fn several_calls_come_in_their_order_and_are_no_part_of_the_text() {
    for (format, answer, before, behind) in TWO {
        let expected = [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({}))];
        let spoken = read(format, &format!("{before}{answer}{behind}"));
        assert_eq!(calls(&spoken), expected, "{format}: {answer}");
        let seam = if before.is_empty() || behind.is_empty() { "" } else { " " };
        let expected = format!("{}{seam}{}", before.trim_end(), behind.trim_start());
        assert_eq!(spoken.text, expected, "{format}: {answer}");
        assert_eq!(spoken.warnings, Vec::<String>::new(), "{format}: {answer}");
    }
}

#[test]
fn arguments_stream_before_a_call_is_complete() {
    for (format, answer) in ONE {
        let at = answer.find("[x]").unwrap();
        let speech = speech(format);
        let (mut splitter, mut said) = (speech.splitter(&super::request()), super::Said::default());
        splitter.push(&answer[..at], &mut said);
        let begun = &said.calls[0];
        assert_eq!(begun.named.as_ref().map(|(_, name)| name.as_str()), Some("f"), "{format}");
        assert_eq!(begun.arguments, r#"{"s":"a \"b\" 'c' \\ \n\t"#, "{format}");
    }
}

#[test]
fn a_stream_says_what_the_whole_says_wherever_it_is_cut() {
    let answers = ONE.map(|(format, answer)| (format, answer.to_owned()));
    let more = TWO.map(|(format, answer, before, behind)| (format, format!("{before}{answer}{behind}")));
    for (format, answer) in answers.into_iter().chain(more) {
        let (speech, whole) = (speech(format), read(format, &answer));
        for (at, _) in answer.char_indices() {
            let said = streamed(&speech, &answer, &[at]);
            let said_calls: Vec<_> =
                said.calls.iter().map(|call| (call.named.clone().unwrap(), &call.arguments)).collect();
            let calls: Vec<_> =
                whole.calls.iter().map(|call| ((call.id.clone(), call.name.clone()), &call.arguments)).collect();
            assert_eq!((said.text, said_calls), (whole.text.clone(), calls), "{format} cut at {at}: {answer}");
        }
    }
}

#[test]
fn ids_are_nine_letters_and_digits_and_depend_on_request_and_place_alone() {
    let ids = |request: &str| {
        let spoken = speech("mistral").read(TWO[2].1, &request.into());
        spoken.calls.into_iter().map(|call| call.id).collect::<Vec<_>>()
    };
    let of_one = ids("one");
    assert!(of_one.iter().all(|id| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric())), "{of_one:?}");
    assert_eq!(of_one, ids("one"));
    assert_ne!(of_one[0], of_one[1]);
    assert_ne!(of_one, ids("two"));
}

#[test]
fn marks_inside_texts_of_arguments_are_text() {
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
        assert_eq!(calls(&read(format, &answer)), [("f".to_owned(), json!({"x": expected}))], "{format}");
    }
}

#[test]
fn line_breaks_that_a_model_forgot_to_escape_are_escaped() {
    let spoken = read("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"one\ntwo\"}}</tool_call>");
    assert_eq!(spoken.calls[0].arguments, r#"{"x":"one\ntwo"}"#);
}

#[test]
fn no_arguments_are_none_whether_left_out_or_null_or_an_empty_text() {
    for arguments in
        ["", ", \"arguments\": null", ", \"arguments\": {}", ", \"arguments\": \"\"", ", \"arguments\": \" null \""]
    {
        for (format, open, close) in
            [("hermes", "<tool_call>", "</tool_call>"), ("mistral", "[TOOL_CALLS][", "]"), ("llama", "", "")]
        {
            let answer = format!("{open}{{\"name\": \"f\"{arguments}}}{close}");
            let spoken = read(format, &answer);
            assert_eq!(calls(&spoken), [("f".to_owned(), json!({}))], "{format}: {answer}");
            assert_eq!((spoken.text.as_str(), spoken.warnings.len()), ("", 0), "{format}: {answer}");
        }
    }
}

#[test]
fn arguments_may_be_the_json_text_of_an_object() {
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
            let spoken = read("hermes", &answer);
            assert_eq!(calls(&spoken), [("f".to_owned(), object.clone())], "{answer}");
            assert_eq!(spoken.warnings, Vec::<String>::new(), "{answer}");
            for (at, _) in answer.char_indices() {
                let said = streamed(&speech("hermes"), &answer, &[at]);
                assert_eq!(said.calls[0].arguments, spoken.calls[0].arguments, "{answer} cut at {at}");
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
        assert_eq!(read(format, &answer).text, text, "{answer}");
        for (at, _) in answer.char_indices() {
            assert_eq!(streamed(&speech(format), &answer, &[at]).text, text, "{answer} cut at {at}");
        }
    }
}
