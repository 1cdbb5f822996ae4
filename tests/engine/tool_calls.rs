//! Tool calls and reasoning whose markers are special tokens, which have no text of their own.

use std::sync::Arc;

use mlx_serving::clock::RealClock;
use mlx_serving::engine::{Config, Draft, Prompt};
use mlx_serving::executor::Backend;
use mlx_serving::executor::sim::{Profile, Script, SimBackend};
use mlx_serving::request::{FinishReason, Served, Sharing};
use mlx_serving::text::{Chat, Content, Message, ModelText, ParsedOutput};
use serde_json::{Value, json};

use super::support::{Answer, Caller, SLOW, draft, model_folder};

/// Special tokens of the model. The last one ends a turn.
const SPECIAL: [&str; 6] = ["[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "[THINK]", "[/THINK]", "<|eom_id|>"];
const CALL: &str = r#"[TOOL_CALLS]f[ARGS]{"x": "one two"}"#;
const ANSWER: &str = r#"[THINK]hm[/THINK]So [TOOL_CALLS]f[ARGS]{"x": "one two"}"#;

/// An engine with a model that has this template and always answers with this text.
fn answering(answer: &'static str, template: &str, profile: &str) -> Caller {
    answering_with(&Config::default(), answer, template, profile)
}

fn answering_with(config: &Config, answer: &'static str, template: &str, profile: &str) -> Caller {
    let folder = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(model_folder()).expect("readable") {
        let file = file.expect("readable");
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    let added = tokenizer["added_tokens"].as_array_mut().expect("a list");
    for (id, content) in (327..).zip(SPECIAL) {
        added.push(json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
    }
    std::fs::write(&path, tokenizer.to_string()).expect("written");
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("written");
    let profile = Profile::named(profile).expect("a listed profile");
    let backend = move || {
        let vocabulary = Box::new(move |folder: &_| {
            let text = ModelText::open(folder)?;
            let sentence = text.encode_rendered(&format!("{answer}<|eom_id|>"))?;
            Ok((Script::new(vec![sentence], text.end_tokens()[0]).expect("there are words"), text.vocab_size()))
        });
        Ok(Box::new(SimBackend::new(profile, Arc::new(RealClock), vocabulary)) as Box<dyn Backend>)
    };
    Caller::open(config, Box::new(backend), folder.path().to_owned())
}

const MISTRAL: &str = "{# [TOOL_CALLS] [THINK] <|eom_id|> #}{{ tools }} go";

fn chat(tools: &[&str]) -> Draft {
    let messages = vec![Message {
        role: "user".to_owned(),
        content: Some(Content::Text("Do it.".to_owned())),
        ..Message::default()
    }];
    let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
    let tools = (!tools.is_empty()).then(|| tools.iter().map(tool).collect());
    Draft { prompt: Prompt::Chat(Chat { messages, tools, ..Chat::default() }), ..draft("", 100) }
}

fn parsed(answer: &Answer) -> &ParsedOutput {
    answer.parsed.as_ref().expect("the request has a parser")
}

fn finish_reason(answer: &Answer) -> FinishReason {
    answer.end.as_ref().expect("ended").as_ref().expect("well").finish_reason
}

#[test]
fn special_tokens_are_parsed_as_markers_and_leave_the_text() {
    let caller = answering(ANSWER, MISTRAL, SLOW);
    let answer = caller.answer(caller.stream(chat(&["f"])));
    let ParsedOutput { text, reasoning, calls, warnings, .. } = parsed(&answer);
    assert_eq!((text.as_str(), reasoning.as_str(), warnings.len()), ("So", "hm", 0));
    assert_eq!((calls[0].name.as_str(), calls[0].arguments.as_str()), ("f", r#"{"x":"one two"}"#));
    assert_eq!((&answer.text, &answer.reasoning), (text, reasoning));
    let arguments: String = answer.deltas.iter().map(|delta| delta.arguments.as_str()).collect();
    assert_eq!(arguments, calls[0].arguments);
    assert_eq!(finish_reason(&answer), FinishReason::ToolCalls, "the end token is not in the configuration");
}

#[test]
fn unused_markers_have_no_text() {
    let caller = answering(ANSWER, MISTRAL, "instant");
    let without_tools = caller.ask(chat(&[]));
    let ParsedOutput { text, reasoning, calls, .. } = parsed(&without_tools);
    assert_eq!((text.as_str(), reasoning.as_str(), calls.len()), (r#"So f{"x": "one two"}"#, "hm", 0));
    let plain = caller.ask(draft("x go", 100));
    assert_eq!((plain.whole.as_str(), plain.parsed), (r#"hmSo f{"x": "one two"}"#, None));
}

#[test]
fn malformed_call_is_text_with_its_markers() {
    let caller = answering("[TOOL_CALLS]g[ARGS]{}", MISTRAL, "instant");
    let answer = caller.ask(chat(&["f"]));
    assert_eq!((parsed(&answer).text.as_str(), parsed(&answer).warnings.len()), ("[TOOL_CALLS]g[ARGS]{}", 1));
    assert_eq!(finish_reason(&answer), FinishReason::Stop);
}

#[test]
fn held_text_is_delivered_at_the_end() {
    let caller = answering("So [TOOL_CALLS]f[ARGS]{\"x\": 1", MISTRAL, SLOW);
    let answer = caller.answer(caller.stream(chat(&["f"])));
    assert_eq!(answer.text, "So [TOOL_CALLS]f[ARGS]{\"x\": 1");
    assert_eq!(
        (&answer.text, answer.deltas.last().map(|delta| delta.is_withdrawn)),
        (&parsed(&answer).text, Some(true))
    );
}

#[test]
fn stop_sequence_inside_a_call_ends_the_answer() {
    let caller = answering(CALL, MISTRAL, "instant");
    let ask = |stop: &str| caller.ask(Draft { stop_sequences: vec![stop.to_owned()], ..chat(&["f"]) });
    let inside = ask("two");
    assert_eq!(parsed(&inside).text, r#"[TOOL_CALLS]f[ARGS]{"x": "one "#);
    assert_eq!((parsed(&inside).calls.len(), finish_reason(&inside)), (0, FinishReason::Stop));
    let at_a_marker = ask("[ARGS]");
    assert_eq!(parsed(&at_a_marker).text, "[TOOL_CALLS]f");
}

#[test]
fn answers_are_shared_only_with_equal_markup_and_parsed_for_each_reader() {
    let caller = answering(ANSWER, "{# [TOOL_CALLS] [THINK] #}{{ bos_token }} go", "instant");
    let shared = |draft: Draft| Draft { sharing: Sharing::Auto, temperature: Some(0.0), ..draft };
    let served = |answer: &Answer| answer.end.as_ref().expect("ended").as_ref().expect("well").served;
    // The same prompt and the same tokens of the answer. Only the visible text differs.
    let first = caller.ask(shared(chat(&[])));
    let again = caller.answer(caller.stream(shared(chat(&[]))));
    let plain = caller.ask(shared(draft(" go", 100)));
    assert_eq!(
        (served(&again), &again.text, again.parsed.as_ref()),
        (Served::Cached, &parsed(&first).text, first.parsed.as_ref())
    );
    assert_eq!(served(&plain), Served::Computed);
}

#[test]
fn parsers_of_released_readers_are_dropped() {
    // Rows are parked before the call in the answer is complete.
    let config = Config { buffer_tokens: 4, ..Config::default() };
    let caller = answering_with(&config, ANSWER, MISTRAL, SLOW);
    let left = caller.stream_from_start(chat(&["f"]));
    caller.tokens(left, 2);
    caller.engine.release(left);
    let cancelled = caller.stream_from_start(chat(&["f"]));
    caller.tokens(cancelled, 3);
    caller.engine.cancel(cancelled);
    let answer = caller.answer(cancelled);
    assert_eq!(finish_reason(&answer), FinishReason::Cancelled);
    assert!(parsed(&answer).calls.is_empty());
}
