//! Reasoning, in tags that the model writes or that the prompt has opened.

use super::{calls, read, request, speech, streamed, template};
use crate::text::speech::{Manner, Spoken};

fn read_behind(prompt: &str, begun: Option<&str>, answer: &str) -> Spoken {
    let manner = Manner::of(&template("qwen"), &template("qwen"), |_| None);
    manner.speech(vec!["f".to_owned()], prompt, begun).unwrap().read(answer, &request())
}

#[track_caller]
fn says(spoken: &Spoken, reasoning: &str, text: &str) {
    assert_eq!((spoken.reasoning.as_str(), spoken.text.as_str()), (reasoning, text));
    assert!(spoken.warnings.is_empty());
}

#[test]
fn reasoning_comes_apart_from_text_and_without_its_tags() {
    says(&read("qwen", "<think>\nwell,\n\n1 < 2\n</think>\n\nThe answer.\n"), "well,\n\n1 < 2", "The answer.\n");
    says(&read("qwen", " \n<think>a</think>b"), "a", "b");
    says(&read("qwen", "<think>\n\n</think>\n\nb"), "", "b");
}

#[test]
fn reasoning_that_the_prompt_has_opened_ends_at_its_closing_tag() {
    says(&read_behind("<|im_start|>assistant\n<think>\n", None, "so\n</think>\n\nyes"), "so", "yes");
    says(&read_behind("<think>\n\n</think>\n\n", None, "yes"), "", "yes");
    says(&read_behind("what is <think>?<|im_end|>", None, "a </think> b"), "", "a </think> b");
}

#[test]
fn an_answer_that_was_begun_inside_reasoning_goes_on_there() {
    says(&read_behind("…<think>\nLet me", Some("<think>\nLet me"), " see</think>yes"), "see", "yes");
    says(&read_behind("…</think>So", Some("<think>hm</think>So"), " yes"), "", " yes");
}

#[test]
fn tags_behind_the_beginning_of_an_answer_are_text() {
    says(&read("qwen", "Use <think> and </think>."), "", "Use <think> and </think>.");
    says(&read("qwen", "<think>a</think><think>b</think>"), "a", "<think>b</think>");
}

#[test]
fn reasoning_without_an_end_is_reasoning() {
    says(&read("qwen", "<think>on and on </thin"), "on and on </thin", "");
    says(&read_behind("<think>", None, "on and on"), "on and on", "");
}

#[test]
fn a_call_may_follow_reasoning_that_mentions_one() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let answer = format!("<think>I could {call}</think>\n\n{call}");
    let spoken = read("qwen", &answer);
    says(&spoken, &format!("I could {call}"), "");
    assert_eq!(calls(&spoken).len(), 1);
    for (at, _) in answer.char_indices() {
        let said = streamed(&speech("qwen"), &answer, &[at]);
        assert_eq!((said.reasoning, said.calls.len()), (spoken.reasoning.clone(), 1), "cut at {at}");
    }
}

#[test]
fn a_tag_that_opens_reasoning_again_at_its_beginning_is_no_part_of_it() {
    let prompt = "<|im_start|>assistant\n<think>\n";
    says(&read_behind(prompt, None, "<think>\nHm</think>Yes"), "Hm", "Yes");
    says(&read_behind(prompt, None, "\n<think>\n<think>Hm</think>\n\nYes"), "Hm", "Yes");
    says(&read("qwen", "<think> <think>Hm</think>Yes"), "Hm", "Yes");
    says(&read_behind(prompt, None, "<think></think>Yes"), "", "Yes");
    says(&read_behind(prompt, None, "<thin"), "<thin", "");
    says(&read_behind(prompt, None, "Hm <think> x</think>Yes"), "Hm <think> x", "Yes");
}

#[test]
fn a_call_in_reasoning_without_an_end_is_none_and_the_reader_hears_of_it() {
    let call = "<tool_call>\n{\"name\": \"f\"}\n</tool_call>";
    for answer in
        [format!("<think>I call\n{call}"), format!("<think>{call} so"), "<think>I call <<tool_call>{".to_owned()]
    {
        let spoken = read("qwen", &answer);
        assert_eq!((spoken.calls.len(), spoken.text.as_str()), (0, ""), "{answer}");
        assert_eq!(spoken.warnings, ["the reasoning has no end, and a tool call in it was not read"], "{answer}");
    }
    let closed = read("qwen", &format!("<think>I could {call}</think>No."));
    assert_eq!((closed.text.as_str(), closed.warnings.len()), ("No.", 0));
    assert_eq!(read("qwen", "<think>on <tool_ca").warnings.len(), 0);
}
