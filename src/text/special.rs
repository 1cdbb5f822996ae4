//! Special tokens by name and the tokens that end an answer, gathered from the three files in which models state them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::hub::ModelFolder;
use crate::request::TokenId;

/// The names under which a chat template knows special tokens.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The special tokens that `tokenizer_config.json` names, for chat templates.
pub(super) fn special_tokens(folder: &ModelFolder) -> Vec<(String, String)> {
    let text = |name: &str| content(&folder.tokenizer_config[name]).map(str::to_owned);
    NAMES.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect()
}

/// A token as text: a string, or the `content` of an object that also says how it was added.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// Every token that any of the files says ends an answer, in order.
///
/// `num_ids` is the size of the tokenizer's vocabulary; a model may have more rows than its tokenizer has tokens. `named`
/// are tokens that end answers wherever they are known.
pub(super) fn end_tokens(
    folder: &ModelFolder,
    num_ids: usize,
    named: &[&str],
    find: impl Fn(&str) -> Option<TokenId>,
) -> Result<Arc<[TokenId]>> {
    let text_config = &folder.config["text_config"];
    let rows = [&folder.config["vocab_size"], &text_config["vocab_size"]].into_iter().filter_map(Value::as_u64).max();
    let limit = rows.unwrap_or(0).max(num_ids as u64);
    let stated = [
        ("generation_config.json", &folder.generation_config["eos_token_id"]),
        ("config.json", &folder.config["eos_token_id"]),
        ("config.json", &text_config["eos_token_id"]),
    ];
    let mut ends = BTreeSet::new();
    for (file, value) in stated {
        for id in ids(value) {
            ends.insert(checked(id, limit).ok_or_else(|| {
                let name = folder.path.join(file);
                let message = format!("{}: `eos_token_id` has {id}; token ids are below {limit}", name.display());
                Error::new(Code::ModelLoadError, message)
            })?);
        }
    }
    // A name that the tokenizer does not know can never be generated: nothing is lost without it.
    ends.extend(
        content(&folder.tokenizer_config["eos_token"]).into_iter().chain(named.iter().copied()).filter_map(find),
    );
    Ok(ends.into_iter().collect())
}

/// The entries of a field that may be absent, null, one id or a list of them.
fn ids(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(ids) => ids,
        id => std::slice::from_ref(id),
    }
}

fn checked(id: &Value, limit: u64) -> Option<TokenId> {
    id.as_u64().filter(|id| *id < limit).and_then(|id| TokenId::try_from(id).ok())
}
