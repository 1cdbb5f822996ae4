//! JSON as Python's `json` module writes it.

use serde_json::{Value, json};

use super::super::json::parse;
use super::{folder_with, open, refuses};

fn read(text: &str) -> Option<Value> {
    parse(text.as_bytes()).ok()
}

#[test]
fn nan_and_infinity_become_strings() {
    let read_value = read(r#"{"a": NaN, "b": [0.0, Infinity,-Infinity], "c": -1, "d": [NaN]}"#);
    assert_eq!(read_value, Some(json!({"a": "NaN", "b": [0.0, "Infinity", "-Infinity"], "c": -1, "d": ["NaN"]})));
    let folder = folder_with(&[("config.json", br#"{"limit": [0.0, Infinity]}"#)]);
    assert_eq!(open(folder.path()).unwrap().config["limit"], json!([0.0, "Infinity"]));
}

#[test]
fn texts_with_these_words_do_not_change() {
    let text = r#"{"NaN": "Infinity \"NaN\" \\", "b": "-Infinity", "c": NaN}"#;
    assert_eq!(read(text), Some(json!({"NaN": "Infinity \"NaN\" \\", "b": "-Infinity", "c": "NaN"})));
}

#[test]
fn other_words_are_not_json() {
    for text in [
        "{\"a\": nan}",
        "{\"a\": Inf}",
        "{\"a\": NaNs}",
        "{\"a\": --Infinity}",
        "{NaN: 1}{",
        "NaN NaN",
        "\"\\",
        "{\"a\": N",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    refuses(folder_with(&[("config.json", b"{\"a\": NaN")]).path(), "config.json", &["not valid JSON"]);
}
