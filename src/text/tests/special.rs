//! Named special tokens and end tokens, from every file that may list them.

use serde_json::{Value, json};

use super::{byte_level, model_folder, open_files, sentence_piece};
use crate::text::ModelText;
use crate::text::special::named_tokens;

/// The files of a model: `tokenizer_config.json`, `special_tokens_map.json`, `config.json`.
fn named(config: Value, map: Value, model: Value) -> Vec<(String, String)> {
    let mut folder = model_folder(model, json!({}), config);
    folder.special_tokens_map = map;
    named_tokens(&folder, |token| (token == "<|endoftext|>").then_some(5))
}

fn model(config: Value, map: Value, model: Value) -> ModelText {
    let mut folder = model_folder(model, json!({}), config);
    folder.special_tokens_map = map;
    open_files(folder, &[("tokenizer.json", byte_level().to_string().as_bytes())]).unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, token)| ((*name).to_owned(), (*token).to_owned())).collect()
}

#[test]
fn map_wins_over_a_configuration_without_added_tokens() {
    let map = json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>"});
    let class = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<x>", "pad_token": "<p>"});
    let both = pairs(&[("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<p>")]);
    assert_eq!(named(class.clone(), map.clone(), json!({})), both);
    let mut with_added = class;
    with_added["added_tokens_decoder"] = json!({"0": {"content": "<unk>"}});
    let config_first = pairs(&[("bos_token", "<s>"), ("eos_token", "<x>"), ("pad_token", "<p>")]);
    assert_eq!(named(with_added, map, json!({})), config_first);
}

#[test]
fn class_defaults_apply_if_no_file_names_a_token() {
    let class = |name: &str| named(json!({"tokenizer_class": name}), json!({}), json!({}));
    let llama = pairs(&[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]);
    assert_eq!(class("LlamaTokenizer"), llama);
    assert_eq!(class("LlamaTokenizerFast"), llama);
    assert_eq!(class("GPT2Tokenizer").len(), 3);
    assert_eq!(class("Qwen2TokenizerFast")[0].0, "eos_token", "no beginning-of-sequence token");
    assert_eq!(class("GemmaTokenizer")[0], ("bos_token".to_owned(), "<bos>".to_owned()));
    assert!(class("PreTrainedTokenizerFast").is_empty());
    assert_eq!(named(json!({}), json!({}), json!({"tokenizer_class": "LlamaTokenizer"})), llama);
    let stated =
        named(json!({"tokenizer_class": "LlamaTokenizer", "bos_token": null}), json!({"eos_token": "!"}), json!({}));
    assert_eq!(stated, pairs(&[("eos_token", "!"), ("unk_token", "<unk>")]), "null says that there is none");
}

#[test]
fn defaults_by_model_type_must_be_in_the_vocabulary() {
    let of_type = |name: &str| named(json!({}), json!({}), json!({"model_type": name}));
    assert_eq!(of_type("qwen3").len(), 3);
    assert!(of_type("llama").is_empty());
    assert!(of_type("unheard of").is_empty());
}

#[test]
fn additional_names_are_template_variables() {
    let config = json!({"image_token": "<img>", "audio_token": {"content": "<audio>"}, "add_bos_token": true,
        "extra_special_tokens": {"boi_token": "<boi>", "image_token": "<image>"},
        "model_specific_special_tokens": {"eoi_token": "<eoi>"}, "x_token": null, "model_max_length": 1e30});
    let all = [("audio_token", "<audio>"), ("boi_token", "<boi>"), ("eoi_token", "<eoi>"), ("image_token", "<image>")];
    assert_eq!(named(config, json!({"extra_special_tokens": ["<a>"]}), json!({})), pairs(&all));
}

#[test]
fn end_token_of_a_map_or_a_class_ends_answers() {
    let ends = |config, map, family| model(config, map, family).end_tokens().to_vec();
    assert_eq!(ends(json!({}), json!({"eos_token": "<|im_end|>"}), json!({})), [266]);
    assert_eq!(ends(json!({"eos_token": "!"}), json!({"eos_token": "<|im_end|>"}), json!({})), [u32::from(b'!'), 266]);
    assert!(ends(json!({"eos_token": null, "tokenizer_class": "GPT2Tokenizer"}), json!({}), json!({})).is_empty());
    assert_eq!(ends(json!({"tokenizer_class": "GPT2Tokenizer"}), json!({}), json!({})), [264]);
    assert_eq!(ends(json!({}), json!({}), json!({"model_type": "qwen2"})), [264]);
}

/// Opens a model with these files, whose `tokenizer.json` has no added tokens, and encodes a text.
fn tokens_without_added(config: Value, map: Value, text: &str) -> Vec<u32> {
    let mut folder = model_folder(json!({}), json!({}), config);
    folder.special_tokens_map = map;
    let mut tokenizer = sentence_piece();
    tokenizer["added_tokens"] = json!([]);
    tokenizer["post_processor"] = Value::Null;
    let model = open_files(folder, &[("tokenizer.json", tokenizer.to_string().as_bytes())]).unwrap();
    let tokens = model.encode_rendered(text).unwrap();
    assert_eq!(model.decode(&tokens).unwrap().contains("<s>"), !tokens.contains(&1));
    tokens
}

#[test]
fn token_that_only_another_file_lists_is_one_token() {
    let none = json!({});
    let tokens = |config, map| tokens_without_added(config, map, "<s>he");
    assert!(tokens(none.clone(), none.clone()).len() > 2, "nothing says that it is a token");
    let whole = [1, 266];
    assert_eq!(tokens(json!({"bos_token": "<s>"}), none.clone()), whole);
    assert_eq!(tokens(none.clone(), json!({"bos_token": {"content": "<s>"}})), whole);
    assert_eq!(tokens(json!({"extra_special_tokens": {"begin_token": "<s>"}}), none.clone()), whole);
    assert_eq!(tokens(json!({"additional_special_tokens": ["<s>"]}), none.clone()), whole);
    assert_eq!(tokens(none.clone(), json!({"additional_special_tokens": [{"content": "<s>"}]})), whole);
    let decoder = json!({"added_tokens_decoder": {"1": {"content": "<s>", "special": true}}});
    assert_eq!(tokens(decoder, none.clone()), whole);
    let class = json!({"tokenizer_class": "LlamaTokenizer"});
    assert_eq!(tokens(class, none.clone())[0], 1);
    let padding = json!({"pad_token": "<s>"});
    assert!(tokens(padding, none.clone()).len() > 2, "no prompt needs padding");
    let absent = json!({"bos_token": "<beginning>", "additional_special_tokens": [7, "", null, {"content": 5}]});
    assert!(tokens(absent, none).len() > 2);
}

#[test]
fn end_tokens_beyond_the_vocabulary_are_ignored_with_a_warning() {
    let model = model(json!({}), json!({}), json!({"eos_token_id": [266, 128_009, -1], "vocab_size": 300}));
    assert_eq!(**model.end_tokens(), [266]);
    let warnings = model.warnings();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("config.json") && warnings[0].contains("128009"), "{warnings:?}");
    assert!(warnings[1].contains("-1"), "{warnings:?}");
}
