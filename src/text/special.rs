//! Special tokens by name, and the tokens that end an answer. Both come from the files of a model, with the precedence
//! of `transformers`: `tokenizer_config.json`, `special_tokens_map.json`, then the defaults of the tokenizer's class.

mod added;
mod classes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::hub::ModelFolder;
use crate::request::TokenId;

pub(super) use added::add_stated;

/// Names of special tokens that every tokenizer has.
pub(super) const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Fields that are objects with further special tokens.
const MORE_FIELDS: [&str; 2] = ["extra_special_tokens", "model_specific_special_tokens"];
/// The name of the token that ends an answer.
const END: &str = "eos_token";

/// The named special tokens of a model, for chat templates.
///
/// If no file names the tokenizer's class, the defaults follow from the model's type, and those that `find` does not know are
/// left out.
pub(super) fn named_tokens(folder: &ModelFolder, find: impl Fn(&str) -> Option<TokenId>) -> Vec<(String, String)> {
    let (config, map) = (&folder.tokenizer_config, &folder.special_tokens_map);
    let mut tokens = class_defaults(folder, find);
    // The later file wins. A folder that lists added tokens in the configuration may contain an outdated map.
    let files = if config["added_tokens_decoder"].is_object() { [map, config] } else { [config, map] };
    for file in files {
        for (name, token) in stated(file) {
            match token {
                Some(token) => tokens.insert(name.to_owned(), token.to_owned()),
                None => tokens.remove(name),
            };
        }
    }
    tokens.into_iter().collect()
}

/// The tokens that end an answer, from all files, and warnings about ignored entries.
///
/// `num_ids` is the size of the tokenizer's vocabulary; a model may have more logits than its tokenizer has tokens.
/// `also` lists tokens that end answers if the tokenizer knows them.
pub(super) fn end_tokens(
    folder: &ModelFolder,
    num_ids: usize,
    also: &[&str],
    find: impl Fn(&str) -> Option<TokenId>,
) -> Result<(Arc<[TokenId]>, Vec<String>)> {
    let (stated, warnings) = stated_ids(folder, num_ids)?;
    let defaults = class_defaults(folder, &find);
    let in_files: Vec<_> = [&folder.tokenizer_config, &folder.special_tokens_map]
        .map(|file| file.get(END))
        .into_iter()
        .flatten()
        .collect();
    let default = defaults.get(END).map(String::as_str).filter(|_| in_files.is_empty());
    let named = in_files.into_iter().filter_map(content).chain(default).chain(also.iter().copied());
    // A token that the tokenizer does not know can never be generated.
    let ends: BTreeSet<_> = stated.into_iter().chain(named.filter_map(find)).collect();
    Ok((ends.into_iter().collect(), warnings))
}

/// The names and tokens of a file; `null` removes a token.
fn stated(file: &Value) -> impl Iterator<Item = (&str, Option<&str>)> {
    let top = file.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token"));
    let more = MORE_FIELDS.iter().filter_map(|name| file[name].as_object()).flatten();
    top.chain(more).filter_map(|(name, token)| {
        let text = content(token);
        let is_none = token.is_null() && NAMES.contains(&name.as_str());
        (text.is_some() || is_none).then_some((name.as_str(), text))
    })
}

/// The text of a token: a string, or the `content` of an object.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// The tokens of the tokenizer's class, for names that no file sets.
fn class_defaults(folder: &ModelFolder, find: impl Fn(&str) -> Option<TokenId>) -> BTreeMap<String, String> {
    let class =
        [&folder.tokenizer_config, &folder.config].into_iter().find_map(|file| file["tokenizer_class"].as_str());
    let defaults = match class {
        Some(class) => classes::defaults(class),
        None => folder.config["model_type"].as_str().map_or(&[][..], classes::defaults_of_family),
    };
    let is_there = |token: &str| class.is_some() || find(token).is_some();
    let tokens = defaults.iter().filter(|(_, token)| is_there(token));
    tokens.map(|(name, token)| ((*name).to_owned(), (*token).to_owned())).collect()
}

/// The end tokens that files give as ids. Ids beyond the logits are ignored with a warning: they can never be sampled.
fn stated_ids(folder: &ModelFolder, num_ids: usize) -> Result<(Vec<TokenId>, Vec<String>)> {
    let text_config = &folder.config["text_config"];
    let rows = [&folder.config["vocab_size"], &text_config["vocab_size"]].into_iter().filter_map(Value::as_u64).max();
    let limit = rows.unwrap_or(0).max(num_ids as u64);
    let files = [
        ("generation_config.json", &folder.generation_config["eos_token_id"]),
        ("config.json", &folder.config["eos_token_id"]),
        ("config.json", &text_config["eos_token_id"]),
    ];
    let (mut stated, mut warnings) = (Vec::new(), Vec::new());
    for (file, value) in files {
        for id in ids(value) {
            match id.as_u64().filter(|id| *id < limit).and_then(|id| TokenId::try_from(id).ok()) {
                Some(id) => stated.push(id),
                None if id.is_i64() || id.is_u64() => warnings.push(format!(
                    "{file}: `eos_token_id` has {id}, which is no token of this model: token ids are below {limit}"
                )),
                None => {
                    let shown: String = id.to_string().chars().take(80).collect();
                    let message =
                        format!("{}: `eos_token_id` has {shown}, expected token ids", folder.path.join(file).display());
                    return Err(Error::new(Code::ModelLoadError, message));
                }
            }
        }
    }
    Ok((stated, warnings))
}

/// The entries of a field that may be absent, `null`, one id or a list of ids.
fn ids(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(ids) => ids,
        id => std::slice::from_ref(id),
    }
}
