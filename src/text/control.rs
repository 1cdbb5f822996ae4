//! Protects prompts from forged control tokens. A tokenizer creates a control token wherever a text spells one. If a
//! string from outside of the template spells one, the prompt is tokenized in another way: the template's own control
//! tokens get names that the prompt does not contain, and the tokenizer looks for its added tokens under these names.
//! Other prompts are tokenized as usual.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tokenizers::{AddedToken, AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizer, Token, Tokenizer};

use super::jinja::Rendered;
use crate::request::TokenId;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The tokens that only a template may write, by the first character of their spelling.
#[derive(Debug, Default)]
pub(super) struct ControlTokens {
    by_first: BTreeMap<char, Vec<ControlToken>>,
    /// The tokenizer looks for some of them after normalizing, which can create their spelling.
    has_normalized: bool,
}

#[derive(Debug)]
struct ControlToken {
    spelling: String,
    id: TokenId,
}

/// A control token in a prompt.
struct ControlSpan {
    range: Range<usize>,
    id: TokenId,
}

impl ControlTokens {
    /// Special tokens, and those added tokens that the model's templates write as markers, such as `<tool_response>`.
    pub(super) fn of(tokenizer: &Tokenizer, templates: [&str; 2]) -> Self {
        let mut tokens = Self::default();
        for (id, token) in tokenizer.get_added_vocabulary().get_added_tokens_decoder() {
            let is_mark = || {
                let has_sign = token.content.chars().any(|c| !c.is_alphanumeric() && !c.is_whitespace());
                has_sign && templates.iter().any(|template| template.contains(&token.content))
            };
            let Some(first) = token.content.chars().next().filter(|_| token.special || is_mark()) else { continue };
            tokens.has_normalized |= token.normalized;
            let same = tokens.by_first.entry(first).or_default();
            same.push(ControlToken { spelling: token.content.clone(), id: *id });
        }
        for same in tokens.by_first.values_mut() {
            same.sort_by_key(|token| std::cmp::Reverse(token.spelling.len()));
        }
        tokens
    }

    fn all(&self) -> impl Iterator<Item = &ControlToken> {
        self.by_first.values().flatten()
    }

    /// Whether a text spells a control token.
    pub(super) fn are_spelled(&self, text: &str) -> bool {
        text.char_indices().any(|(at, first)| {
            let mut same = self.by_first.get(&first).into_iter().flatten();
            same.any(|token| text[at..].starts_with(&token.spelling))
        })
    }

    /// The control tokens of the template, if the prompt also contains forged ones; otherwise `None`.
    fn spans(&self, rendered: &Rendered) -> Option<Vec<ControlSpan>> {
        let (mut spans, mut is_forged) = (Vec::new(), false);
        let mut from = 0;
        for (at, first) in rendered.text.char_indices() {
            let Some(same) = self.by_first.get(&first).filter(|_| at >= from) else { continue };
            for token in same.iter().filter(|token| rendered.text[at..].starts_with(&token.spelling)) {
                let range = at..at + token.spelling.len();
                if is_outside(rendered, &range) {
                    is_forged = true;
                } else {
                    from = range.end;
                    spans.push(ControlSpan { range, id: token.id });
                    break;
                }
            }
        }
        is_forged.then_some(spans)
    }

    /// Whether a string from outside spells a control token.
    pub(super) fn are_forged(&self, tokenizer: &Tokenizer, rendered: &Rendered) -> bool {
        !rendered.outside.is_empty() && self.forged_spans(tokenizer, rendered).is_some()
    }

    fn forged_spans(&self, tokenizer: &Tokenizer, rendered: &Rendered) -> Option<Vec<ControlSpan>> {
        self.spans(rendered).or_else(|| self.normalized_spans(tokenizer, rendered))
    }

    /// The tokens of a prompt in which only the template can write control tokens.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        rendered: &Rendered,
        is_framed: bool,
    ) -> Result<Vec<TokenId>, Failure> {
        let Some(spans) = self.forged_spans(tokenizer, rendered) else {
            return Ok(tokenizer.encode_fast(rendered.text.as_str(), is_framed)?.get_ids().to_vec());
        };
        let names = Names::unlike(&rendered.text)?;
        let mut text = String::with_capacity(rendered.text.len());
        let mut from = 0;
        for span in spans {
            text.push_str(&rendered.text[from..span.range.start]);
            text.push_str(&names.of(span.id));
            from = span.range.end;
        }
        text.push_str(&rendered.text[from..]);
        self.encode_named(tokenizer, &names, &text, is_framed)
    }

    /// Like [`Self::spans`], for control tokens that appear only after normalizing.
    fn normalized_spans(&self, tokenizer: &Tokenizer, rendered: &Rendered) -> Option<Vec<ControlSpan>> {
        if !self.has_normalized || tokenizer.get_normalizer().is_none() {
            return None;
        }
        let ids: BTreeSet<TokenId> = self.all().map(|token| token.id).collect();
        let vocabulary = tokenizer.get_added_vocabulary();
        let split = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), &rendered.text);
        let (mut spans, mut is_forged) = (Vec::new(), false);
        for (_, (start, end), tokens) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            for id in tokens.iter().flatten().map(|token| token.id).filter(|id| ids.contains(id)) {
                if is_outside(rendered, &(start..end)) {
                    is_forged = true;
                } else {
                    spans.push(ControlSpan { range: start..end, id });
                }
            }
        }
        is_forged.then_some(spans)
    }

    /// Encodes a text that contains control tokens by name. Repeats the steps of `Tokenizer::encode`.
    fn encode_named(
        &self,
        tokenizer: &Tokenizer,
        names: &Names,
        text: &str,
        is_framed: bool,
    ) -> Result<Vec<TokenId>, Failure> {
        let vocabulary = self.renamed(tokenizer, names);
        let mut split = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut split)?;
        }
        let model = tokenizer.get_model();
        split.tokenize(|part| self.tokenize(part.get(), &|text| model.tokenize(text)))?;
        let encoding = split.into_encoding(None, 0, OffsetType::None)?;
        Ok(tokenizer.post_process(encoding, None, is_framed)?.get_ids().to_vec())
    }

    /// The added tokens of a tokenizer, with control tokens under their names.
    fn renamed(&self, tokenizer: &Tokenizer, names: &Names) -> AddedVocabulary {
        let control: BTreeSet<TokenId> = self.all().map(|token| token.id).collect();
        let mut tokens: Vec<(TokenId, AddedToken)> = Vec::new();
        for (id, token) in tokenizer.get_added_vocabulary().get_added_tokens_decoder() {
            let mut token = token.clone();
            if control.contains(id) {
                token.content = names.of(*id);
            }
            tokens.push((*id, token));
        }
        tokens.sort_by_key(|(id, _)| *id);
        let ids = Ids(tokens.iter().map(|(id, token)| (token.content.clone(), *id)).collect());
        let tokens: Vec<AddedToken> = tokens.into_iter().map(|(_, token)| token).collect();
        let mut vocabulary = AddedVocabulary::new();
        vocabulary.add_tokens(&tokens, &ids, tokenizer.get_normalizer());
        vocabulary
    }

    /// The model's vocabulary may contain the spelling of a control token. Then that text is split after its first
    /// character, and the parts are tokenized by themselves, until no part has such a token.
    fn tokenize(&self, text: &str, whole: &dyn Fn(&str) -> Result<Vec<Token>, Failure>) -> Result<Vec<Token>, Failure> {
        let mut all = Vec::new();
        let mut parts = vec![Range { start: 0, end: text.len() }];
        while let Some(part) = parts.pop() {
            let tokens = whole(&text[part.clone()])?;
            let splits = self.splits(&text[part.clone()], &tokens);
            if splits.is_empty() {
                all.extend(tokens.into_iter().map(|token| moved(token, part.start)));
                continue;
            }
            let mut end = part.end;
            for start in splits.into_iter().rev().map(|split| part.start + split).chain([part.start]) {
                parts.push(start..end);
                end = start;
            }
        }
        Ok(all)
    }

    /// Where a text is split: after the first character of each spelling of a control token that is among its tokens.
    fn splits(&self, text: &str, tokens: &[Token]) -> Vec<usize> {
        let ids: BTreeSet<TokenId> = tokens.iter().map(|token| token.id).collect();
        let is_there = |token: &&ControlToken| ids.contains(&token.id) && token.spelling.chars().nth(1).is_some();
        let spelled: Vec<&ControlToken> = self.all().filter(is_there).collect();
        if spelled.is_empty() {
            return Vec::new();
        }
        let is_spelled = |at: usize| spelled.iter().any(|token| text[at..].starts_with(&token.spelling));
        text.char_indices().filter(|(at, _)| is_spelled(*at)).map(|(at, first)| at + first.len_utf8()).collect()
    }
}

fn moved(token: Token, by: usize) -> Token {
    Token { offsets: (token.offsets.0 + by, token.offsets.1 + by), ..token }
}

/// Whether any of these bytes came from outside of the template.
fn is_outside(rendered: &Rendered, range: &Range<usize>) -> bool {
    let first = rendered.outside.partition_point(|outside| outside.end <= range.start);
    rendered.outside.get(first).is_some_and(|outside| outside.start < range.end)
}

/// Names for control tokens, made of a character that the text does not contain.
struct Names(char);

impl Names {
    /// Picks a character from the private use area.
    fn unlike(text: &str) -> Result<Self, Failure> {
        const PRIVATE: std::ops::RangeInclusive<char> = '\u{10_0000}'..='\u{10_FFFD}';
        let used: BTreeSet<char> = text.chars().filter(|c| PRIVATE.contains(c)).collect();
        let free = PRIVATE.into_iter().find(|c| !used.contains(c));
        free.map(Self).ok_or_else(|| "the text uses every character for private use".into())
    }

    fn of(&self, id: TokenId) -> String {
        format!("{0}{id}{0}", self.0)
    }
}

/// A model that knows only the ids of added tokens.
struct Ids(BTreeMap<String, TokenId>);

impl Model for Ids {
    type Trainer = tokenizers::models::TrainerWrapper;

    fn tokenize(&self, _: &str) -> tokenizers::Result<Vec<Token>> {
        Ok(Vec::new())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.get(token).copied()
    }

    fn id_to_token(&self, _: u32) -> Option<String> {
        None
    }

    fn get_vocab(&self) -> std::collections::HashMap<String, u32> {
        std::collections::HashMap::new()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.len()
    }

    fn save(&self, _: &std::path::Path, _: Option<&str>) -> tokenizers::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }

    fn get_trainer(&self) -> Self::Trainer {
        tokenizers::models::TrainerWrapper::from(tokenizers::models::bpe::BpeTrainer::default())
    }
}
