//! Opening a model's text: broken files are named, hostile ones are errors.

use serde_json::{Value, json};

use super::{byte_level, decoded_by, model_folder, open, open_files, opened, sentence_piece};
use crate::error::Code;
use crate::text::ModelText;

fn refuses(tokenizer: &Value, code: Code, word: &str) {
    let error = open(tokenizer).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.message().contains("tokenizer.json") && error.message().contains(word), "{error}");
}

fn end_tokens(config: Value, generation: Value, tokenizer: Value) -> crate::error::Result<Vec<u32>> {
    let folder = model_folder(config, generation, tokenizer);
    let model = open_files(folder, &[("tokenizer.json", byte_level().to_string().as_bytes())])?;
    Ok(model.end_tokens().to_vec())
}

#[test]
fn tokens_decode_to_the_encoded_text() {
    let text = "hello world, é 日本 😀\n\n  <|im_start|>x";
    let model = opened(&byte_level());
    let tokens = model.encode(text).unwrap();
    assert!(tokens.contains(&265) && tokens.contains(&258), "special tokens and merges are used: {tokens:?}");
    assert_eq!(model.decode(&tokens).unwrap(), "hello world, é 日本 😀\n\n  x");
    let model = opened(&sentence_piece());
    assert_eq!(model.decode(&model.encode("hé 日本 😀\n").unwrap()).unwrap(), "hé 日本 😀\n");
}

#[test]
fn plain_prompt_gets_added_tokens_and_rendered_chat_does_not() {
    let model = opened(&sentence_piece());
    assert_eq!(model.encode("he").unwrap(), [1, 266]);
    assert_eq!(model.encode_rendered("he").unwrap(), [266]);
    assert_eq!(model.encode_rendered("<s>he").unwrap()[0], 1, "the template writes its own");
}

#[test]
fn truncation_and_padding_settings_are_ignored() {
    let mut tokenizer = sentence_piece();
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"});
    assert_eq!(opened(&tokenizer).encode("hehehe").unwrap(), opened(&sentence_piece()).encode("hehehe").unwrap());
}

#[test]
fn missing_or_broken_tokenizer_is_named() {
    let none = || model_folder(json!({}), json!({}), json!({}));
    let error = open_files(none(), &[]).unwrap_err();
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("tokenizer.json does not exist"), "{error}");
    for bytes in [b"".as_slice(), b"{", b"[]", b"null", b"{\"model\":{}}", b"\xFF\xFE"] {
        let error = open_files(none(), &[("tokenizer.json", bytes)]).unwrap_err();
        assert_eq!(error.code(), Code::TokenizerError, "{error}");
        assert!(error.message().contains("tokenizer.json"), "{error}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(open_files(none(), &[("tokenizer.json", deep.as_bytes())]).unwrap_err().code(), Code::TokenizerError);
}

#[test]
fn tokenizer_file_has_a_size_limit() {
    let place = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(place.path().join("tokenizer.json")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let mut folder = model_folder(json!({}), json!({}), json!({}));
    folder.path = place.path().to_owned();
    let error = ModelText::open(&folder).unwrap_err();
    assert_eq!((error.code(), error.limit()), (Code::ModelLoadError, Some(67_108_864.0)));
}

#[test]
fn huge_token_id_is_refused_before_a_table_is_made() {
    let mut tokenizer = byte_level();
    tokenizer["model"]["vocab"]["x-huge"] = json!(u32::MAX);
    refuses(&tokenizer, Code::TokenizerError, "highest token id");
}

#[test]
fn token_beyond_the_vocabulary_never_leaves_encode() {
    let mut tokenizer = sentence_piece();
    tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([900_000]);
    let error = opened(&tokenizer).encode("he").unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("900000"), "{error}");
}

#[test]
fn decoder_that_cannot_be_streamed_is_refused_by_name() {
    let ctc = json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true});
    let suffix = json!({"type": "BPEDecoder", "suffix": "</w>"});
    let late = json!({"type": "Sequence", "decoders": [{"type": "Fuse"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]});
    for (decoder, name) in [(ctc, "CTC"), (suffix, "BPEDecoder"), (late, "Metaspace")] {
        refuses(&decoded_by(decoder), Code::UnsupportedModel, name);
    }
}

#[test]
fn decoder_cannot_make_tokens_too_long() {
    let replace =
        |pattern: &str, content: String| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
    refuses(&decoded_by(replace("h", "x".repeat(5_000))), Code::TokenizerError, "a replacement");
    let doubling = vec![replace("h", "hh".to_owned()); 20];
    refuses(&decoded_by(json!({"type": "Sequence", "decoders": doubling})), Code::TokenizerError, "a token");
    let mut long = byte_level();
    long["model"]["vocab"]["y".repeat(20_000)] = json!(350);
    refuses(&long, Code::TokenizerError, "a token");
}

#[test]
fn normalizer_cannot_make_a_prompt_too_long() {
    let replace = |content: String| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let doubling = json!({"type": "Sequence", "normalizers": vec![replace("aa".to_owned()); 40]});
    for normalizer in [replace("a".repeat(2_000)), doubling] {
        let mut tokenizer = byte_level();
        tokenizer["normalizer"] = normalizer;
        refuses(&tokenizer, Code::TokenizerError, "times as long");
    }
}

#[test]
fn decoder_with_a_catastrophic_regex_is_an_error() {
    // The crate panics if matching takes too many steps.
    let mut tokenizer = decoded_by(json!({"type": "Replace", "pattern": {"Regex": "(a*)*(a*)*(a*)*$"}, "content": ""}));
    tokenizer["model"]["vocab"]["a".repeat(60) + "!"] = json!(350);
    let outcome = open(&tokenizer);
    assert!(outcome.is_err_and(|error| error.code() == Code::TokenizerError));
}

#[test]
fn prompt_that_triggers_catastrophic_matching_is_an_error() {
    let mut tokenizer = byte_level();
    tokenizer["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "^(a+)+$"}, "content": ""});
    let model = opened(&tokenizer);
    assert!(model.encode("harmless").is_ok());
    let error = model.encode(&("a".repeat(60) + "!")).unwrap_err();
    assert_eq!(error.code(), Code::TokenizerError);
    assert!(error.message().contains("tokenizer.json"), "{error}");
    assert!(model.encode("harmless").is_ok(), "the model is usable afterwards");
}

#[test]
fn hostile_regexes_are_errors_or_harmless() {
    let patterns = [
        "(".repeat(100_000) + &")".repeat(100_000),
        "(?:".repeat(3_000) + "a" + &"){2}".repeat(3_000),
        "((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}".to_owned(),
        "[".repeat(50_000),
        "a{100000}".to_owned(),
        "(?<n>(\\g<n>))".to_owned(),
    ];
    for pattern in patterns {
        let mut tokenizer = byte_level();
        tokenizer["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
        let encoded = open(&tokenizer).and_then(|model| model.encode(&("a".repeat(40) + "!")));
        match encoded {
            Ok(tokens) => assert!(tokens.len() <= 41),
            Err(error) => assert_eq!(error.code(), Code::TokenizerError, "{error}"),
        }
    }
}

#[test]
fn end_tokens_of_all_files_are_joined_in_order() {
    let named =
        end_tokens(json!({"eos_token_id": 266}), json!({"eos_token_id": [266, 264]}), json!({"eos_token": "!"}));
    assert_eq!(named.unwrap(), [u32::from(b'!'), 264, 266]);
    let object = end_tokens(json!({"eos_token_id": null}), json!({}), json!({"eos_token": {"content": "<|im_end|>"}}));
    assert_eq!(object.unwrap(), [266]);
    let nested = end_tokens(json!({"text_config": {"eos_token_id": 7}}), json!({}), json!({"eos_token": "unheard of"}));
    assert_eq!(nested.unwrap(), [7]);
    assert!(end_tokens(json!({}), json!({}), json!({})).unwrap().is_empty());
}

#[test]
fn invalid_end_token_is_refused_with_its_file() {
    for (bad, shown) in
        [(json!(1.5), "1.5"), (json!([1, "x"]), "\"x\""), (json!({"id": 1}), "id"), (json!(true), "true")]
    {
        let error = end_tokens(json!({}), json!({"eos_token_id": bad}), json!({})).unwrap_err();
        assert_eq!(error.code(), Code::ModelLoadError);
        assert!(error.message().contains("generation_config.json") && error.message().contains(shown), "{error}");
    }
    let rows = end_tokens(json!({"vocab_size": 1000, "eos_token_id": 999}), json!({}), json!({}));
    assert_eq!(rows.unwrap(), [999], "a model may have more rows than its tokenizer has tokens");
}

#[test]
fn vocabulary_size_counts_unused_ids() {
    assert_eq!(opened(&byte_level()).vocab_size(), 291);
}

/// A chat that is rendered and passed as a prompt got a second beginning-of-sequence token.
#[test]
fn a_prompt_that_begins_with_the_first_token_gets_no_second_one() {
    let model = opened(&sentence_piece());
    let bos = model.encode("<s>").unwrap()[0];
    for (text, num_bos) in [("a", 1), ("<s>a", 1), ("<s><s>a", 2), ("a<s>", 2)] {
        let ids = model.encode(text).unwrap();
        let count = ids.iter().filter(|id| **id == bos).count();
        assert_eq!((ids[0], count), (bos, num_bos), "{text}");
    }
}
