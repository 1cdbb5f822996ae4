//! Default sampling parameters from `generation_config.json`.

use serde_json::{Value, json};

use crate::engine::defaults::read;
use crate::request::SamplingParams;

#[test]
fn values_in_range_are_the_defaults() {
    let file = json!({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20.0, "min_p": 0, "repetition_penalty": 1.05, "eos_token_id": [1, 2]});
    let (defaults, warnings) = read(&file);
    let expected = SamplingParams {
        temperature: 0.6,
        top_p: 0.95,
        top_k: 20,
        min_p: 0.0,
        repetition_penalty: 1.05,
        ..SamplingParams::GREEDY
    };
    assert_eq!((defaults, warnings), (expected, Vec::<String>::new()));
    let (greedy, warnings) = read(&json!({"temperature": 0.6, "top_p": null}));
    assert_eq!((greedy, warnings), (SamplingParams::GREEDY, Vec::new()), "a model that does not sample is greedy");
}

/// As Gemma 3 has it.
#[test]
fn a_model_that_samples_without_a_temperature_has_the_one_of_transformers() {
    let (defaults, warnings) = read(&json!({"do_sample": true, "top_k": 64, "top_p": 0.95}));
    let expected = SamplingParams { temperature: 1.0, top_k: 64, top_p: 0.95, ..SamplingParams::GREEDY };
    assert_eq!((defaults, warnings), (expected, Vec::new()));
}

#[test]
fn a_value_out_of_range_is_ignored_with_a_warning_that_names_it() {
    let bad: [(&str, Value, &str); 12] = [
        ("temperature", json!(-1), "-1"),
        ("temperature", json!(2.5), "2.5"),
        ("temperature", json!("Infinity"), "Infinity"),
        ("top_p", json!(5), "above 0 and up to 1"),
        ("top_p", json!(0), "above 0"),
        ("top_p", json!(1e-300), "1e-300"),
        ("top_k", json!(-1), "-1"),
        ("top_k", json!(1.5), "whole"),
        ("min_p", json!([0.1]), "[0.1]"),
        ("repetition_penalty", json!(0), "0.01"),
        ("repetition_penalty", json!("x".repeat(10_000)), "xxx"),
        ("do_sample", json!("yes"), "true or false"),
    ];
    for (name, value, word) in bad {
        let (defaults, warnings) = read(&json!({"do_sample": true, name: value}));
        let temperature = if matches!(name, "temperature" | "do_sample") { 0.0 } else { 1.0 };
        assert_eq!(defaults, SamplingParams { temperature, ..SamplingParams::GREEDY }, "{name}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let warning = &warnings[0];
        assert!(
            warning.contains("generation_config.json") && warning.contains(name) && warning.contains(word),
            "{warning}"
        );
        assert!(warning.len() < 300, "{warning}");
    }
}
