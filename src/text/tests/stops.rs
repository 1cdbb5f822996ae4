//! Stop sequences in text with random cuts. The reference searches the whole text in the simplest way.

use proptest::prelude::*;

use crate::error::Code;
use crate::text::stops::StopMatcher;
use crate::text::{MAX_STOP_SEQUENCE_BYTES, MAX_STOP_SEQUENCES, validate_stop_sequences};

/// The text before the first match to end, without and with the match. Of matches that end together, the longest
/// counts.
fn searched<'a>(text: &'a str, stops: &[String]) -> Option<[&'a str; 2]> {
    (0..=text.len()).filter(|end| text.is_char_boundary(*end)).find_map(|end| {
        let ending = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
        ending.map(String::len).max().map(|len| [&text[..end - len], &text[..end]])
    })
}

fn matched(chunks: &[&str], stops: &[String]) -> (String, bool) {
    run(StopMatcher::new(stops), chunks)
}

fn run(mut matcher: StopMatcher, chunks: &[&str]) -> (String, bool) {
    let mut out = String::new();
    for chunk in chunks {
        if matcher.push(chunk, &mut out) {
            return (out, true);
        }
    }
    matcher.finish(&mut out);
    (out, false)
}

fn cut(text: &str, mut cuts: Vec<usize>) -> Vec<&str> {
    for at in &mut cuts {
        *at = text.floor_char_boundary(*at);
    }
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few letters, so that sequences overlap, contain and resemble each other.
    #[test]
    fn outcome_is_that_of_a_search_over_the_whole_text(
        text in "[abé😀]{0,40}", stops in prop::collection::vec("[abé😀]{1,5}", 0..5), cuts in prop::collection::vec(0_usize..60, 0..20),
    ) {
        let chunks = cut(&text, cuts);
        let found = searched(&text, &stops);
        for (is_included, expected) in [false, true].into_iter().zip(found.unwrap_or([&text; 2])) {
            let mut matcher = StopMatcher::new(&stops);
            matcher.is_included = is_included;
            prop_assert_eq!(run(matcher, &chunks), (expected.to_owned(), found.is_some()));
        }
    }

    /// The held text is the longest end of the text that starts a sequence.
    #[test]
    fn no_more_is_held_back_than_needed(text in "[abc]{1,30}", stops in prop::collection::vec("[abc]{2,6}", 1..4)) {
        let text = searched(&text, &stops).map_or(&text[..], |[before, _]| before);
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for end in 1..=text.len() {
            matcher.push(&text[end - 1..end], &mut out);
            let longest = (0..end).find(|start| stops.iter().any(|stop| stop.starts_with(&text[*start..end]))).unwrap_or(end);
            prop_assert_eq!(&out, &text[..longest]);
        }
    }
}

#[test]
fn first_match_to_end_wins_and_then_the_longest() {
    let stops = |list: &[&str]| list.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>();
    assert_eq!(matched(&["xabcd"], &stops(&["abcd", "bc"])), ("xa".to_owned(), true));
    assert_eq!(matched(&["xabc"], &stops(&["bc", "abc"])), ("x".to_owned(), true));
    assert_eq!(matched(&["aaab"], &stops(&["aab"])), ("a".to_owned(), true));
}

#[test]
fn limits_are_named_with_their_field() {
    let many = vec!["a".to_owned(); MAX_STOP_SEQUENCES + 1];
    let long = vec!["ok".to_owned(), "é".repeat(MAX_STOP_SEQUENCE_BYTES / 2) + "x"];
    let cases =
        [(many, "17 entries"), (long, "257 bytes at index 1"), (vec![String::new()], "empty string at index 0")];
    for (sequences, word) in cases {
        let error = validate_stop_sequences(&sequences).unwrap_err();
        assert_eq!((error.code(), error.param()), (Code::InvalidParams, Some("stopSequences")));
        assert!(error.message().contains(word), "{error}");
    }
    let most = vec!["x".repeat(MAX_STOP_SEQUENCE_BYTES); MAX_STOP_SEQUENCES];
    assert!(validate_stop_sequences(&most).is_ok());
    assert!(validate_stop_sequences(&[]).is_ok());
}
