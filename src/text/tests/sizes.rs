//! Limits that follow from the size of a text, and tokenizing in slices.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{byte_level, opened, sentence_piece};
use crate::error::Code;
use crate::text::size::max_bytes_per_token;
use crate::text::slices::{Failure, SLICE_BYTES, Slicer, Source, plain};

fn tokenizer(tokenizer: &Value) -> Tokenizer {
    Tokenizer::from_bytes(tokenizer.to_string()).unwrap()
}

/// The tokenizer with one change.
fn altered(mut tokenizer: Value, pointer: &str, value: Value) -> Tokenizer {
    *tokenizer.pointer_mut(pointer).unwrap() = value;
    self::tokenizer(&tokenizer)
}

fn of_folder(folder: &str) -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("tokenizer.json");
    Tokenizer::from_file(path).unwrap()
}

/// The regular expressions of GPT-2, Llama 3 and GPT-4o that split a text into words.
const PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

fn split_by(pattern: &str) -> Tokenizer {
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    altered(byte_level(), "/pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]}))
}

/// Tokenizers like published ones.
static SHAPES: LazyLock<Vec<Tokenizer>> = LazyLock::new(shapes);

fn shapes() -> Vec<Tokenizer> {
    let metaspace = |scheme: &str| {
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        let mut tokenizer = sentence_piece();
        tokenizer["normalizer"] = Value::Null;
        altered(tokenizer, "/pre_tokenizer", metaspace)
    };
    let mut shapes = vec![tokenizer(&byte_level()), tokenizer(&sentence_piece())];
    shapes.push(altered(byte_level(), "/normalizer", json!({"type": "NFC"})));
    shapes.push(altered(byte_level(), "/pre_tokenizer/add_prefix_space", json!(true)));
    shapes.extend(["first", "always", "never"].map(metaspace));
    shapes.extend(PATTERNS.map(split_by));
    shapes.extend(["models/demo", "tools/conformance/fixtures/walk-byte-fallback"].map(of_folder));
    shapes
}

fn whole(tokenizer: &Tokenizer, text: &str, is_framed: bool) -> Vec<u32> {
    tokenizer.encode_fast(text, is_framed).unwrap().get_ids().to_vec()
}

/// Words, code, other scripts, spaces, line breaks and special tokens.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z]{1,9}",
        6 => Just(" ".to_owned()),
        2 => "[ \n\t\r]{1,4}",
        2 => "[0-9]{1,5}",
        2 => "[.,;:'!?(){}\\[\\]<>=+-]{1,3}",
        2 => "[éüßа-яあ-ん日本語]{1,4}",
        1 => "\\PC{1,6}",
        1 => prop_oneof![Just("<s>"), Just("<|im_end|>"), Just("<tool é ▁>"), Just("'ll"), Just("▁"), Just("e\u{301}")]
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..150).prop_map(|pieces| pieces.concat())
}

fn sliced(
    slicer: &Slicer,
    tokenizer: &Tokenizer,
    text: &str,
    (is_framed, most): (bool, usize),
) -> Result<Vec<u32>, Failure> {
    slicer.encode(&Source { tokenizer, text, tokens: &plain(tokenizer, text) }, is_framed, most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_token_never_stands_for_more_bytes_than_it_is_said_to(text in texts()) {
        for tokenizer in &*SHAPES {
            let most = max_bytes_per_token(tokenizer).unwrap();
            let num_tokens = whole(tokenizer, &text, false).len();
            prop_assert!(num_tokens * most >= text.len(), "{num_tokens} tokens of at most {most} bytes: {text:?}");
        }
    }

    #[test]
    fn slices_have_the_tokens_of_the_whole(text in texts()) {
        for tokenizer in &*SHAPES {
            let mut slicer = Slicer::of(tokenizer).unwrap();
            slicer.slice_bytes = 24;
            for is_framed in [false, true] {
                let tokens = sliced(&slicer, tokenizer, &text, (is_framed, usize::MAX)).unwrap();
                prop_assert_eq!(tokens, whole(tokenizer, &text, is_framed), "{:?}", text);
            }
        }
    }
}

#[test]
fn slices_are_cut_between_words() {
    let text = "What is the answer to it all\nand why ".repeat(20);
    for tokenizer in &*SHAPES {
        let mut slicer = Slicer::of(tokenizer).unwrap();
        slicer.slice_bytes = 24;
        // The slice ends long before the end of the text.
        let failure = sliced(&slicer, tokenizer, &text, (true, 30)).unwrap_err();
        assert!(matches!(failure, Failure::TooMany(31..=60)), "{failure:?}");
    }
}

#[test]
fn tokenizers_that_look_across_words_have_no_slicer() {
    let unigram =
        json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [["<unk>", 0.0], ["a", -1.0]]});
    let mut spans = byte_level();
    spans["model"]["vocab"]["eĠb"] = json!(300);
    let spans_words = Slicer::of(&tokenizer(&spans)).unwrap();
    let looks_back = split_by(r"(?<=a) |\p{L}+|\s+|.");
    let at_ends = split_by(r"\p{L}+$|\p{L}|\s+|.");
    for tokenizer in [altered(byte_level(), "/model", unigram), looks_back, at_ends] {
        assert!(Slicer::of(&tokenizer).is_none(), "{:?}", tokenizer.get_pre_tokenizer());
    }
    let text = "e b".repeat(100);
    let mut slicer = spans_words;
    slicer.slice_bytes = 24;
    let tokenizer = tokenizer(&spans);
    assert_eq!(sliced(&slicer, &tokenizer, &text, (false, usize::MAX)).unwrap(), whole(&tokenizer, &text, false));
}

#[test]
fn tokenizer_that_can_drop_text_has_no_size_limit() {
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let erase = json!({"type": "Replace", "pattern": {"String": "a"}, "content": ""});
    let regex = json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "});
    for normalizer in [strip, erase, regex] {
        let nested = json!({"type": "Sequence", "normalizers": [normalizer]});
        assert_eq!(max_bytes_per_token(&altered(byte_level(), "/normalizer", nested)), None);
    }
    assert_eq!(max_bytes_per_token(&altered(byte_level(), "/pre_tokenizer", json!({"type": "WhitespaceSplit"}))), None);
    assert_eq!(max_bytes_per_token(&altered(byte_level(), "/added_tokens/0/lstrip", json!(true))), None);
    assert_eq!(
        max_bytes_per_token(&altered(sentence_piece(), "/model/byte_fallback", json!(false))),
        None,
        "unknown text"
    );
    let lower = max_bytes_per_token(&altered(byte_level(), "/normalizer", json!({"type": "Lowercase"})));
    assert_eq!(lower, max_bytes_per_token(&tokenizer(&byte_level())).map(|bytes| 4 * bytes));
}

#[test]
fn long_text_fails_once_it_has_too_many_tokens() {
    let text = opened(&byte_level());
    let long = "hello world ".repeat(3 * SLICE_BYTES / 12);
    let error = text.encode_at_most(&long, 1000).unwrap_err();
    assert_eq!((error.code(), error.limit()), (Code::ContextLengthExceeded, Some(1000.0)));
    assert!(error.requested().unwrap() < long.len() as f64 / 2.0, "{error}");
    let whole = "a".repeat(5 << 20);
    let error = text.encode(&whole).unwrap_err();
    assert_eq!((error.code(), error.limit()), (Code::InvalidParams, Some(f64::from(4 << 20))), "{error}");
}
