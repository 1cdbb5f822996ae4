//! Small tokenizers like published ones, and folders with them.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod capabilities;
mod chats;
mod conformance;
mod constraints;
mod conversations;
mod dates;
mod demo;
mod grammars;
mod models;
mod nesting;
mod pool;
mod schemas;
mod sizes;
mod special;
mod stops;
mod streams;
mod templates;
mod tool_choice;
mod tool_prompt;
mod user_text;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{ModelText, TextOptions};
use crate::error::Result;
use crate::hub::ModelFolder;

/// The character for a byte in byte-level vocabularies, derived as GPT-2 defines it.
fn byte_char(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let num_before = (0..byte).filter(|byte| !is_printable(*byte)).count();
    char::from_u32(256 + u32::try_from(num_before).unwrap()).unwrap()
}

/// Byte-level BPE, as in GPT-2, Llama 3 and Qwen. Every byte is a token, some tokens end inside a character, and one id
/// is unused.
fn byte_level() -> Value {
    let mut vocab: BTreeMap<String, u32> =
        (0..=255).map(|byte| (byte_char(byte).to_string(), u32::from(byte))).collect();
    let merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w"), ("ð", "Ł"), ("ðŁ", "ĺ"), ("Ã", "©"), ("é", "l")];
    for (index, (left, right)) in merges.iter().enumerate() {
        vocab.insert(format!("{left}{right}"), 256 + u32::try_from(index).unwrap());
    }
    vocab.insert("él".to_owned(), 290);
    let special = |id: u32, content: &str, is_special: bool| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": is_special});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [
            special(264, "<|endoftext|>", true),
            special(265, "<|im_start|>", true),
            special(266, "<|im_end|>", true),
            special(267, "<tool é ▁>", false),
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>()},
    })
}

/// BPE with byte tokens, as in Llama 2 and Mistral. A text starts with a beginning-of-sequence token.
fn sentence_piece() -> Value {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(
        ["▁", "▁▁", "h", "e", "l", "o", "he", "▁he", "é", "日本", "▁日", "w", ".", "<0x", ">"].map(str::to_owned),
    );
    let vocab: BTreeMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": ["h e", "▁ he", "▁ ▁"]},
    })
}

/// The same vocabulary with another decoder.
fn decoded_by(decoder: Value) -> Value {
    let mut tokenizer = sentence_piece();
    tokenizer["decoder"] = decoder;
    tokenizer
}

fn metaspace() -> Value {
    decoded_by(json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}))
}

fn model_folder(config: Value, generation_config: Value, tokenizer_config: Value) -> ModelFolder {
    ModelFolder {
        path: std::path::PathBuf::new(),
        config,
        generation_config,
        tokenizer_config,
        special_tokens_map: json!({}),
        tensors: BTreeMap::new(),
        weight_files: Vec::new(),
        weight_bytes: 0,
    }
}

/// Opens a model with these files.
fn open_files(folder: ModelFolder, files: &[(&str, &[u8])]) -> Result<ModelText> {
    open_files_with(folder, files, &TextOptions::default())
}

/// Opens a model with these files and options.
fn open_files_with(mut folder: ModelFolder, files: &[(&str, &[u8])], options: &TextOptions) -> Result<ModelText> {
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(place.path().join(name), bytes).unwrap();
    }
    folder.path = place.path().to_owned();
    ModelText::open_with(&folder, options)
}

fn open(tokenizer: &Value) -> Result<ModelText> {
    let folder = model_folder(json!({}), json!({}), json!({}));
    open_files(folder, &[("tokenizer.json", tokenizer.to_string().as_bytes())])
}

fn opened(tokenizer: &Value) -> Arc<ModelText> {
    Arc::new(open(tokenizer).unwrap())
}
