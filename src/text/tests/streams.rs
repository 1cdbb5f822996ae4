//! Incremental text equals the text of a full decode by the tokenizers crate.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{byte_level, decoded_by, metaspace, opened, sentence_piece};
use crate::request::{Markup, ReasoningTags, TokenId};
use crate::text::{ModelText, StreamState, TokenSpelling};

struct Shape {
    model: Arc<ModelText>,
    reference: Tokenizer,
}

impl Shape {
    fn new(tokenizer: &Value) -> Self {
        Self { model: opened(tokenizer), reference: Tokenizer::from_bytes(tokenizer.to_string()).unwrap() }
    }

    fn streamed(&self, tokens: &[TokenId]) -> String {
        let mut stream = self.model.stream(&[], Markup::default());
        let mut out = String::new();
        for token in tokens {
            assert_eq!(stream.push(*token, &mut out), StreamState::Open);
        }
        stream.finish(&mut out);
        out
    }

    fn check(&self, tokens: &[TokenId]) {
        let expected = self.reference.decode(tokens, true).unwrap();
        assert_eq!(self.streamed(tokens), expected, "streamed {tokens:?}");
        assert_eq!(self.model.decode(tokens).unwrap(), expected, "decoded {tokens:?}");
    }
}

#[test]
fn each_token_has_a_spelling_by_itself() {
    let text = |bytes: &'static [u8]| TokenSpelling::Text(bytes.into());
    let bytes = opened(&byte_level());
    assert_eq!(bytes.spell(259), text(b" w"), "a later token of the text, with its space");
    assert_eq!(bytes.spell(260), text(b"\xF0\x9F"), "a part of a character");
    assert_eq!(bytes.spell(267), text("<tool é ▁>".as_bytes()));
    assert_eq!(bytes.spell(264), TokenSpelling::Special("<|endoftext|>".to_owned()));
    assert_eq!(bytes.spell(1 << 30), TokenSpelling::Special(String::new()));
    assert_eq!(opened(&sentence_piece()).spell(4), text(b"\x01"), "the token of a byte");
}

fn shapes() -> Vec<Shape> {
    let strip = |start: usize, stop: usize| json!({"type": "Strip", "content": " ", "start": start, "stop": stop});
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let chain = |stages: &[Value]| decoded_by(json!({"type": "Sequence", "decoders": stages}));
    let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    let never = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true});
    let words = json!({"type": "WordPiece", "prefix": "h", "cleanup": true});
    let tokenizers = [
        byte_level(),
        sentence_piece(),
        metaspace(),
        decoded_by(Value::Null),
        decoded_by(never),
        decoded_by(words),
        decoded_by(json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})),
        chain(&[]),
        chain(&[replace.clone(), bytes.clone(), fuse.clone()]),
        chain(&[replace.clone(), bytes.clone(), fuse.clone(), strip(3, 0)]),
        chain(&[replace.clone(), strip(1, 0), bytes.clone()]),
        chain(&[chain_of(&[replace, bytes.clone()]), fuse.clone()]),
        chain(&[space, bytes, fuse, strip(1, 0)]),
        word_level(),
    ];
    tokenizers.iter().map(Shape::new).collect()
}

/// Whole words with a space between any two. Everything else is a special token.
fn word_level() -> Value {
    let words = ["<unk>", "one", "two", " ", "é", "日本", "😀", "'s", ".", "▁", "<0x0A>", "Ġ"];
    let vocab: Value = words
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let unknown = json!({"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [unknown], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    })
}

fn chain_of(stages: &[Value]) -> Value {
    json!({"type": "Sequence", "decoders": stages})
}

thread_local! {
    // Opening takes a few milliseconds each, so all cases share them.
    static SHAPES: Vec<Shape> = shapes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random tokens, including unused ids and ids beyond the vocabulary.
    #[test]
    fn pieces_together_are_the_full_decode(tokens in prop::collection::vec(0_u32..300, 0..24)) {
        SHAPES.with(|shapes| shapes.iter().for_each(|shape| shape.check(&tokens)));
    }

    /// Bytes of real characters, cut and mixed, because most random tokens are not valid text.
    #[test]
    fn pieces_of_real_characters_are_the_full_decode(text in "[aé日😀▁ ]{0,8}", cut in 0_usize..30, flip in any::<Option<u8>>()) {
        let mut bytes = text.into_bytes();
        if let (Some(flip), false) = (flip, bytes.is_empty()) {
            let at = cut % bytes.len();
            bytes[at] = flip;
        }
        bytes.drain(..cut.min(bytes.len()) / 4);
        let plain: Vec<TokenId> = bytes.iter().map(|byte| u32::from(*byte)).collect();
        let fallback: Vec<TokenId> = bytes.iter().map(|byte| u32::from(*byte) + 3).collect();
        SHAPES.with(|shapes| {
            for shape in shapes {
                shape.check(&plain);
                shape.check(&fallback);
            }
        });
    }

    /// Spaces at the start, at the end and between words are preserved.
    #[test]
    fn text_that_was_tokenized_is_streamed_as_it_was(text in "[ aheł\n日😀.]{0,12}") {
        SHAPES.with(|shapes| {
            for shape in &shapes[..2] {
                let tokens = shape.model.encode(&text).unwrap();
                assert_eq!(shape.streamed(&tokens), text, "{tokens:?}");
            }
        });
    }

    /// One space joins words, from the second word on.
    #[test]
    fn words_are_streamed_with_spaces_between_them(tokens in prop::collection::vec(0_u32..16, 0..12)) {
        SHAPES.with(|shapes| shapes.last().unwrap().check(&tokens));
    }

    /// Only the bytes of one incomplete character are held back.
    #[test]
    fn byte_level_text_is_delivered_at_once(tokens in prop::collection::vec(0_u32..270, 1..12)) {
        SHAPES.with(|shapes| {
            let shape = &shapes[0];
            let mut stream = shape.model.stream(&[], Markup::default());
            let mut out = String::new();
            for index in 0..tokens.len() {
                stream.push(tokens[index], &mut out);
                let full = shape.reference.decode(&tokens[..=index], true).unwrap();
                let incomplete = full.strip_prefix(out.as_str()).unwrap();
                assert!(incomplete.is_empty() || incomplete == "\u{FFFD}", "{incomplete:?} was held back");
            }
        });
    }
}

proptest! {
    /// Prompt and answer read as one text, for each cut between characters.
    #[test]
    fn an_answer_that_continues_a_prompt_is_the_rest_of_one_text(
        tokens in prop::collection::vec(prop_oneof![Just(1_u32), 259_u32..274], 1..10),
        at in 0_usize..10,
    ) {
        SHAPES.with(|shapes| {
            for shape in shapes.iter().filter(|shape| shape.model.token_table().trim.stop == 0) {
                let (prompt, answer) = tokens.split_at(at.min(tokens.len()));
                let mut stream = shape.model.stream(&[], Markup::default()).following(prompt);
                let mut out = shape.model.decode(prompt).unwrap();
                for token in answer {
                    stream.push(*token, &mut out);
                }
                stream.finish(&mut out);
                assert_eq!(out, shape.model.decode(&tokens).unwrap(), "{prompt:?} and {answer:?}");
            }
        });
    }
}

#[test]
fn first_space_is_kept_in_a_continuation_and_removed_in_a_text() {
    let model = opened(&sentence_piece());
    let text = |prompt: Option<&[TokenId]>| {
        let stream = model.stream(&[], Markup::default());
        let mut stream = match prompt {
            Some(prompt) => stream.following(prompt),
            None => stream,
        };
        let mut out = String::new();
        stream.push(266, &mut out);
        out
    };
    assert_eq!(text(None), "he");
    assert_eq!(text(Some(&[1, 266])), " he");
    assert_eq!(text(Some(&[1])), "he", "special tokens alone are no text");
    assert_eq!(text(Some(&[])), "he");
}

#[test]
fn character_is_never_split() {
    let model = opened(&byte_level());
    let mut stream = model.stream(&[], Markup::default());
    let mut pieces = Vec::new();
    for byte in "a😀é".bytes() {
        let mut out = String::new();
        stream.push(u32::from(byte), &mut out);
        pieces.push(out);
    }
    assert_eq!(pieces, ["a", "", "", "", "😀", "", "é"]);
}

#[test]
fn incomplete_character_becomes_one_replacement_at_the_end() {
    let model = opened(&byte_level());
    let mut stream = model.stream(&[], Markup::default());
    let mut out = String::new();
    for byte in &"😀".as_bytes()[..3] {
        stream.push(u32::from(*byte), &mut out);
    }
    assert_eq!(out, "");
    stream.finish(&mut out);
    assert_eq!(out, "\u{FFFD}");
    stream.finish(&mut out);
    assert_eq!(out, "\u{FFFD}", "the end comes once");
}

#[test]
fn run_of_byte_tokens_is_delivered_after_it_ends() {
    let model = opened(&sentence_piece());
    let mut stream = model.stream(&[], Markup::default());
    let mut out = String::new();
    for byte in "é".bytes() {
        stream.push(u32::from(byte) + 3, &mut out);
    }
    assert_eq!(out, "");
    stream.push(261, &mut out);
    assert_eq!(out, "éh");
}

#[test]
fn special_and_unknown_tokens_have_no_text() {
    let model = opened(&byte_level());
    for token in [264, 265, 266, 268, 289, 291, 5_000, TokenId::MAX] {
        let mut out = String::new();
        let mut stream = model.stream(&[], Markup::default());
        stream.push(token, &mut out);
        stream.finish(&mut out);
        assert_eq!(out, "", "token {token}");
    }
    assert_eq!(model.decode(&[267]).unwrap(), "<tool é ▁>", "an added token that is not special is text");
}

#[test]
fn trailing_characters_of_a_trimming_decoder_are_held_until_more_text_follows() {
    let model = opened(&decoded_by(chain_of(&[
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "Fuse"}),
        json!({"type": "Strip", "content": " ", "start": 1, "stop": 2}),
    ])));
    let [space, h] = [259, 261];
    let text = |tokens: &[TokenId]| model.decode(tokens).unwrap();
    assert_eq!(text(&[space, h, space, space]), "h");
    assert_eq!(text(&[space, h, space, space, space]), "h ");
    assert_eq!(text(&[space, h, space, h]), "h h");
    assert_eq!(text(&[space, space]), "", "a text of nothing else ends in nothing, not in a panic");
    assert_eq!(text(&[]), "");
}

#[test]
fn stop_sequence_across_tokens_ends_the_stream() {
    let model = opened(&byte_level());
    let mut stream = model.stream(&["é😀".to_owned()], Markup::default());
    let mut out = String::new();
    let states: Vec<_> = "aé😀b".bytes().map(|byte| stream.push(u32::from(byte), &mut out)).collect();
    assert_eq!(states.iter().position(|state| *state == StreamState::Stopped), Some(6));
    assert_eq!(states.last(), Some(&StreamState::Stopped), "and stays ended");
    assert_eq!(stream.finish(&mut out), StreamState::Stopped);
    assert_eq!(out, "a");
}

#[test]
fn stop_sequence_completed_by_held_text_is_not_delivered() {
    let model = opened(&sentence_piece());
    let mut stream = model.stream(&["\n".to_owned()], Markup::default());
    let mut out = String::new();
    assert_eq!(stream.push(261, &mut out), StreamState::Open);
    assert_eq!(stream.push(u32::from(b'\n') + 3, &mut out), StreamState::Open);
    assert_eq!(stream.finish(&mut out), StreamState::Stopped);
    assert_eq!(out, "h");
}

#[test]
fn unfinished_stop_sequence_is_delivered_at_the_end() {
    let model = opened(&byte_level());
    let mut stream = model.stream(&["END".to_owned()], Markup::default());
    let mut out = String::new();
    for byte in "xEN".bytes() {
        stream.push(u32::from(byte), &mut out);
    }
    assert_eq!(out, "x");
    assert_eq!(stream.finish(&mut out), StreamState::Open);
    assert_eq!(out, "xEN");
}

#[test]
fn included_stop_sequence_is_delivered_and_nothing_after_it() {
    let model = opened(&byte_level());
    for (is_included, expected) in [(false, "a"), (true, "aé😀")] {
        let mut stream = model.stream(&["é😀".to_owned()], Markup::default()).include_stop(is_included);
        let mut out = String::new();
        for byte in "aé😀b".bytes() {
            stream.push(u32::from(byte), &mut out);
        }
        assert_eq!(stream.finish(&mut out), StreamState::Stopped);
        assert_eq!(out, expected);
    }
}

#[test]
fn included_stop_sequence_completed_by_held_text_is_delivered() {
    let model = opened(&sentence_piece());
    let is_included = true;
    let mut stream = model.stream(&["\n".to_owned()], Markup::default()).include_stop(is_included);
    let mut out = String::new();
    stream.push(261, &mut out);
    stream.push(u32::from(b'\n') + 3, &mut out);
    assert_eq!(stream.finish(&mut out), StreamState::Stopped);
    assert_eq!(out, "h\n");
}

/// The delivered text of an answer with these stop sequences, byte by byte, and whether one of them ended it.
fn delivered_with_reasoning(answer: &str, stops: &[&str], has_begun: bool) -> (String, bool) {
    let stops: Vec<_> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let reasoning_tags = Some(ReasoningTags { open: "<think>", close: "</think>", has_begun });
    let mut stream = opened(&byte_level()).stream(&stops, Markup { reasoning_tags, ..Markup::default() });
    let mut out = String::new();
    let has_stopped = answer.bytes().any(|byte| stream.push(u32::from(byte), &mut out) == StreamState::Stopped);
    (out.clone(), has_stopped || stream.finish(&mut out) == StreamState::Stopped)
}

#[test]
fn stop_sequences_ignore_reasoning() {
    let answer = "<think>a\n\nEND</think>\n\n4\n\nEND";
    let text = answer.find('4').expect("the text");
    let cut = |end: usize| (answer[..end].to_owned(), true);
    assert_eq!(delivered_with_reasoning(answer, &["END"], false), cut(text + 3));
    assert_eq!(delivered_with_reasoning(&answer[7..], &["END"], true), (answer[7..text + 3].to_owned(), true));
    assert_eq!(delivered_with_reasoning(answer, &["\n\n"], false), cut(text + 1));
    assert_eq!(delivered_with_reasoning(answer, &["never"], false), (answer.to_owned(), false));
    assert_eq!(delivered_with_reasoning("END <think>", &["END"], false), (String::new(), true), "no reasoning");
    assert_eq!(
        delivered_with_reasoning("<th", &["<t"], false),
        (String::new(), true),
        "a part of a tag is text at the end"
    );
    assert_eq!(
        delivered_with_reasoning("<think>END", &["END"], false),
        ("<think>END".to_owned(), false),
        "no end of it"
    );
}
