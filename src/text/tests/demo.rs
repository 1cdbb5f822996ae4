//! The demo model: its folder opens, it renders chats, and its tokens decode to the text.

use std::path::Path;
use std::sync::Arc;

use crate::hub::open_folder;
use crate::request::Markup;
use crate::text::{Chat, Content, Message, ModelText};

fn demo() -> Arc<ModelText> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    Arc::new(ModelText::open(&open_folder(&path).unwrap()).unwrap())
}

#[test]
fn demo_model_turns_a_chat_into_tokens() {
    let model = demo();
    let content = Some(Content::Text("Hello!".to_owned()));
    let messages = vec![Message { role: "user".to_owned(), content, ..Message::default() }];
    let prompt = model.render(&Chat { messages, ..Chat::default() }).unwrap();
    assert_eq!(prompt.text, "<|user|>Hello!<|end|><|assistant|>");
    let tokens = model.encode_rendered(&prompt).unwrap();
    assert_eq!(tokens.first(), Some(&3));
    assert_eq!(tokens[tokens.len() - 2..], [1, 4], "special tokens are one token each");
    assert_eq!(model.decode(&tokens).unwrap(), "Hello!");
    assert_eq!(**model.end_tokens(), [1]);
}

#[test]
fn demo_model_streams_the_text_it_was_given() {
    let model = demo();
    let text = "Once upon a time, é 日本 😀 — there was a model.\n";
    let tokens = model.encode(text).unwrap();
    assert!(tokens.iter().all(|token| (*token as usize) < model.vocab_size()));
    let (mut stream, mut out) = (model.stream(&[], Markup::default()), String::new());
    for token in tokens {
        stream.push(token, &mut out);
    }
    stream.finish(&mut out);
    assert_eq!(out, text);
}
