//! Tokenizes a long text in slices. That bounds the memory, and lets the work end once the text has too many tokens.
//!
//! Slices have the same tokens as the whole text if two things hold at each cut. First, no token spans the cut: no
//! token of the vocabulary contains the two characters around the cut next to each other, so no merge of byte pair
//! encoding crosses it. Second, the rules that split text into words do not look across the cut: it lies between a
//! letter and a space or line break that a letter follows, no rule looks back, and the text around each cut is
//! tokenized in one and in two parts for comparison. A tokenizer without this proof has no slicer, and its texts are
//! tokenized whole.

use std::ops::Range;

use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::size::pattern_of;
use super::token_table::byte_level;
use crate::request::TokenId;

/// Bytes of a slice. Tokenizing takes about 150 bytes of memory for each byte of text.
pub(super) const SLICE_BYTES: usize = 64 << 10;
/// The longest text, or part of a text, that is tokenized at once. It takes about 600 MB.
pub(super) const MAX_WHOLE_BYTES: usize = 4 << 20;
/// Bytes on each side of a cut that are tokenized for comparison.
const WINDOW_BYTES: usize = 128;
/// Text that exercises the rules for words. A tokenizer that tokenizes its parts differently has no slicer.
const PROBE: &str = "The quick brown fox doesn't jump over 12 lazy dogs, they'll say (twice)!\n\nIn def main(args):\n    \
                     return [x for x in args if x > 0]  # a comment\n\tif so else not\nüber die Straße und çà et là \
                     слово за словом\nCamelCase words andSome more 1234 of   them\r\nend of it";

/// Finds cuts in texts for one tokenizer.
#[derive(Debug)]
pub(super) struct Slicer {
    /// Bytes of a slice. A slice is longer if there is no cut.
    pub(super) slice_bytes: usize,
    spaces: Cuts,
    line_breaks: Option<Cuts>,
    /// The normalizer writes a space before each text, so a slice is passed without its own first space.
    drops_space: bool,
    /// Tokens that the tokenizer adds before and after a text.
    before: Vec<TokenId>,
    behind: Vec<TokenId>,
}

/// A text, and the function that tokenizes a range of it, with or without the tokens that the tokenizer adds.
pub(super) struct Source<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) text: &'a str,
    pub(super) tokens: &'a dyn Fn(Range<usize>, bool) -> Result<Vec<TokenId>, tokenizers::Error>,
}

/// Tokenizes ranges of a text without further rules.
pub(super) fn plain<'a>(
    tokenizer: &'a Tokenizer,
    text: &'a str,
) -> impl Fn(Range<usize>, bool) -> Result<Vec<TokenId>, tokenizers::Error> + 'a {
    |range, is_framed| Ok(tokenizer.encode_fast(&text[range], is_framed)?.get_ids().to_vec())
}

/// Why a text has no tokens.
#[derive(Debug)]
pub(super) enum Failure {
    Tokenizer(tokenizers::Error),
    /// A part without a cut has this many bytes, which is too many.
    Uncut(usize),
    /// The text has at least this many tokens.
    TooMany(usize),
}

/// Indexed by the last byte of a character: whether a cut may follow this character. It may if no token contains this
/// character directly before the character after the cut.
#[derive(Debug, Clone)]
struct Cuts([bool; 256]);

impl Slicer {
    /// The slicer of a tokenizer, if slices provably have the tokens of the whole text.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return None };
        let is_plain = bpe.dropout.is_none_or(|dropout| dropout == 0.0)
            && bpe.continuing_subword_prefix.is_none()
            && bpe.end_of_word_suffix.is_none();
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        // Such a token includes the space after a cut.
        let takes_space = added.values().any(|token| token.rstrip && token.content.ends_with(char::is_alphabetic));
        let normal = tokenizer.get_normalizer().map_or(Some(Normal::default()), Normal::of)?;
        let words = tokenizer.get_pre_tokenizer().map_or(Some(Words { adds_space: false }), Words::of)?;
        if !is_plain || takes_space || !normal.is_consistent() {
            return None;
        }
        let vocab = tokenizer.get_vocab(true);
        let tokens = || vocab.keys().map(String::as_str);
        let space = normal.space.as_deref().unwrap_or(" ");
        let spaces = Cuts::of(tokens(), &[" ", "Ġ", "▁", space]);
        let line_breaks = (!words.adds_space && normal.prefix.is_none()).then(|| Cuts::of(tokens(), &["\n", "Ċ"]));
        let (before, behind) = frame(tokenizer)?;
        let slice_bytes = SLICE_BYTES;
        let slicer = Self { slice_bytes, spaces, line_breaks, drops_space: normal.prefix.is_some(), before, behind };
        let cuts = (1..PROBE.len()).filter(|at| slicer.is_place(PROBE, *at));
        let has_cuts = cuts.clone().next().is_some();
        (has_cuts && cuts.into_iter().all(|at| slicer.is_cut(tokenizer, PROBE, at))).then_some(slicer)
    }

    /// The tokens of a text, including those that the tokenizer adds if `is_framed`. Fails with more than `most`
    /// tokens.
    pub(super) fn encode(&self, source: &Source<'_>, is_framed: bool, most: usize) -> Result<Vec<TokenId>, Failure> {
        let Source { tokenizer, text, .. } = *source;
        let mut tokens = if is_framed { self.before.clone() } else { Vec::new() };
        let mut start = 0;
        while start < text.len() {
            let end = self.next_cut(tokenizer, text, start);
            if end - start > MAX_WHOLE_BYTES {
                return Err(Failure::Uncut(end - start));
            }
            tokens.extend(self.slice(source, start, end).map_err(Failure::Tokenizer)?);
            if tokens.len() > most {
                return Err(Failure::TooMany(tokens.len()));
            }
            start = end;
        }
        if is_framed {
            tokens.extend(&self.behind);
        }
        Ok(tokens)
    }

    fn slice(&self, source: &Source<'_>, start: usize, end: usize) -> Result<Vec<TokenId>, tokenizers::Error> {
        // A later slice starts with the space of its cut. It is left out, because the normalizer writes it.
        let start = if start > 0 && self.drops_space { start + 1 } else { start };
        (source.tokens)(start..end, false)
    }

    /// The end of the slice that begins at `start`: the last cut within its size, else the first cut beyond.
    fn next_cut(&self, tokenizer: &Tokenizer, text: &str, start: usize) -> usize {
        let soft = start + self.slice_bytes;
        if soft >= text.len() {
            return text.len();
        }
        let is_cut = |at: &usize| self.is_place(text, *at) && self.is_cut(tokenizer, text, *at);
        let within = (start + self.slice_bytes / 2..soft).rev().find(is_cut);
        within.or_else(|| (soft..text.len()).find(is_cut)).unwrap_or(text.len())
    }

    /// Whether the characters around a position allow a cut there.
    fn is_place(&self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        let cuts = match bytes[at] {
            b' ' => &self.spaces,
            b'\n' => match &self.line_breaks {
                Some(cuts) => cuts,
                None => return false,
            },
            _ => return false,
        };
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        cuts.0[usize::from(bytes[at - 1])]
            && is_letter(text[..at].chars().next_back())
            && is_letter(text[at + 1..].chars().next())
    }

    /// Whether the text around a position has the same tokens in one and in two parts.
    fn is_cut(&self, tokenizer: &Tokenizer, text: &str, at: usize) -> bool {
        let start = text.floor_char_boundary(at.saturating_sub(WINDOW_BYTES));
        let end = text.ceil_char_boundary((at + WINDOW_BYTES).min(text.len()));
        let window = &text[start..end];
        let tokens = plain(tokenizer, window);
        let source = Source { tokenizer, text: window, tokens: &tokens };
        let of = |start, end| self.slice(&source, start, end);
        let (whole, at) = (of(0, window.len()), at - start);
        match (whole, of(0, at), of(at, window.len())) {
            (Ok(whole), Ok(mut parts), Ok(rest)) => {
                parts.extend(rest);
                parts == whole
            }
            _ => false,
        }
    }
}

impl Cuts {
    /// `behind` lists the spellings of the character after a cut.
    fn of<'a>(tokens: impl Iterator<Item = &'a str>, behind: &[&str]) -> Self {
        let mut cuts = [true; 256];
        for token in tokens {
            for (at, _) in behind.iter().flat_map(|behind| token.match_indices(behind)) {
                let Some(c) = token[..at].chars().next_back() else { continue };
                let last = token.as_bytes()[at - 1];
                // As a character, and as the byte that it encodes in byte-level vocabularies.
                [Some(last), byte_level(c)].into_iter().flatten().for_each(|byte| cuts[usize::from(byte)] = false);
            }
        }
        Self(cuts)
    }
}

/// The effect of a normalizer that treats each position of a text on its own.
#[derive(Debug, Default)]
struct Normal {
    /// The replacement of a space.
    space: Option<String>,
    /// The text that it writes before each text.
    prefix: Option<String>,
}

impl Normal {
    fn of(normalizer: &NormalizerWrapper) -> Option<Self> {
        match normalizer {
            // A letter and a space do not compose.
            NormalizerWrapper::NFC(_) => Some(Self::default()),
            NormalizerWrapper::Prepend(prepend) => {
                Some(Self { prefix: Some(prepend.prepend.clone()), ..Self::default() })
            }
            NormalizerWrapper::Replace(replace) => {
                let space = Some(replace.content.clone()).filter(|_| pattern_of(replace).as_deref() == Some(" "));
                Some(Self { space: Some(space?), ..Self::default() })
            }
            NormalizerWrapper::Sequence(stages) => stages.as_ref().iter().try_fold(Self::default(), |all, stage| {
                let Self { space, prefix } = Self::of(stage)?;
                let is_once = (all.space.is_none() || space.is_none()) && (all.prefix.is_none() || prefix.is_none());
                is_once.then(|| Self { space: all.space.or(space), prefix: all.prefix.or(prefix) })
            }),
            _ => None,
        }
    }

    /// Whether the prefix equals the replacement of a space.
    fn is_consistent(&self) -> bool {
        self.prefix.is_none() || self.prefix == self.space
    }
}

/// How a pre-tokenizer splits a text.
struct Words {
    /// It may add a space before a text without one.
    adds_space: bool,
}

impl Words {
    fn of(pre_tokenizer: &PreTokenizerWrapper) -> Option<Self> {
        match pre_tokenizer {
            PreTokenizerWrapper::ByteLevel(bytes) => Some(Self { adds_space: bytes.add_prefix_space }),
            PreTokenizerWrapper::Metaspace(_) => Some(Self { adds_space: true }),
            PreTokenizerWrapper::Digits(_) => Some(Self { adds_space: false }),
            PreTokenizerWrapper::Split(split) => match &split.pattern {
                SplitPattern::String(_) => Some(Self { adds_space: false }),
                SplitPattern::Regex(regex) => (!looks_back(regex)).then_some(Self { adds_space: false }),
            },
            PreTokenizerWrapper::Sequence(stages) => {
                stages.as_ref().iter().try_fold(Self { adds_space: false }, |all, stage| {
                    Some(Self { adds_space: all.adds_space | Self::of(stage)?.adds_space })
                })
            }
            _ => None,
        }
    }
}

/// Whether a pattern can examine text before its match, or the start or end of the text. White space at the end of the
/// text is never next to a cut.
fn looks_back(regex: &str) -> bool {
    let regex = regex.replace("\\s+$", "").replace("[^", "[");
    ["(?<", "^", "$", "\\A", "\\b", "\\B", "\\G", "\\z", "\\Z", "\\K"].iter().any(|sign| regex.contains(sign))
}

/// The tokens that the tokenizer adds before and after a text.
fn frame(tokenizer: &Tokenizer) -> Option<(Vec<TokenId>, Vec<TokenId>)> {
    let plain = tokenizer.encode_fast("a", false).ok()?;
    let framed = tokenizer.encode_fast("a", true).ok()?;
    let (plain, framed) = (plain.get_ids(), framed.get_ids());
    let at = framed.windows(plain.len().max(1)).position(|tokens| tokens == plain)?;
    Some((framed[..at].to_vec(), framed[at + plain.len()..].to_vec()))
}
