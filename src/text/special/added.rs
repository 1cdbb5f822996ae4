//! Special tokens that only the files beside `tokenizer.json` list. They are added to the tokenizer, as in
//! `transformers`, so that a template that writes one gets one token. Tokens outside of the vocabulary are left out,
//! because the model has no embedding for them.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::{content, named_tokens};
use crate::hub::ModelFolder;

/// Names of tokens that prompts do not need. Some models name an ordinary token here, such as `!` for padding.
const UNNEEDED: [&str; 5] = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Fields with lists of special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// Adds the listed tokens to the tokenizer's special tokens. Existing tokens do not change.
pub(in super::super) fn add_stated(tokenizer: &mut Tokenizer, folder: &ModelFolder) {
    let mut known: HashSet<String> = tokenizer.get_added_vocabulary().get_vocab().keys().cloned().collect();
    let files = [&folder.tokenizer_config, &folder.special_tokens_map];
    let listed = files.into_iter().flat_map(|file| LISTS.map(|name| &file[name])).filter_map(Value::as_array).flatten();
    let decoder = folder.tokenizer_config["added_tokens_decoder"].as_object();
    let objects = decoder.into_iter().flat_map(|tokens| tokens.values()).chain(listed).filter_map(added);
    let find = |token: &str| tokenizer.token_to_id(token);
    let named = named_tokens(folder, find).into_iter().filter(|(name, _)| !UNNEEDED.contains(&name.as_str()));
    let stated = objects.chain(named.map(|(_, token)| AddedToken::from(token, true)));
    let new: Vec<_> =
        stated.filter(|token| find(&token.content).is_some() && known.insert(token.content.clone())).collect();
    tokenizer.add_tokens(&new);
}

/// A token and its options: a string, or an object.
fn added(token: &Value) -> Option<AddedToken> {
    let flag = |name: &str| token[name].as_bool();
    let is_special = flag("special").unwrap_or(true);
    let added = AddedToken::from(content(token)?, is_special)
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .single_word(flag("single_word").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!is_special));
    (!added.content.is_empty()).then_some(added)
}
