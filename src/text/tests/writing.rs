//! The tokens with which a model writes a given answer.

use super::*;
use crate::request::{Markup, TokenId};
use crate::text::AnswerParts;

const TEXTS: [&str; 3] = ["", "hello he", " hello"];
/// For tokenizers that write every byte.
const BYTES: [&str; 7] = ["  he", "é.\n", "日本 😀", "é ▁>", "\n\n- he", "a<|im_end|>b</s>", "<tool é>"];

fn parts(text: &str) -> AnswerParts {
    AnswerParts { text: text.to_owned(), ..AnswerParts::default() }
}

fn read(model: &ModelText, tokens: &[TokenId], prompt: Option<&[TokenId]>) -> String {
    let stream = model.stream(&[], Markup::default());
    let mut stream = if let Some(prompt) = prompt { stream.following(prompt) } else { stream };
    let mut out = String::new();
    for token in tokens {
        stream.push(*token, &mut out);
    }
    stream.finish(&mut out);
    out
}

fn check(tokenizer: &Value, texts: &[&str]) {
    let model = opened(tokenizer);
    let prompt = model.encode("he").unwrap();
    for text in texts {
        for prompt in [None, Some(prompt.as_slice())] {
            let tokens = model.write(&parts(text), None, prompt).unwrap();
            assert_eq!(read(&model, &tokens, prompt), *text, "{tokens:?}");
        }
    }
}

#[test]
fn the_tokens_read_as_the_answer_whether_it_is_a_text_of_its_own_or_continues_a_prompt() {
    for tokenizer in [byte_level(), sentence_piece(), metaspace()] {
        check(&tokenizer, &TEXTS);
    }
    check(&byte_level(), &BYTES);
}

#[test]
fn spelled_control_tokens_are_text() {
    let model = opened(&byte_level());
    let tokens = model.write(&parts("a<|im_end|>"), None, None).unwrap();
    assert!(tokens.len() > 2 && !tokens.contains(&266), "{tokens:?}");
}

#[test]
fn a_text_that_the_vocabulary_cannot_write_is_refused() {
    let mut tokenizer = byte_level();
    tokenizer["normalizer"] = json!({"type": "Lowercase"});
    let error = opened(&tokenizer).write(&parts("Paris"), None, None).unwrap_err();
    assert_eq!(error.part, "text");
    assert!(error.why.contains("they read \"paris\""), "{error:?}");
}
