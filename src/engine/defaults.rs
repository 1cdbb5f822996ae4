//! Default sampling parameters of a model, read from `generation_config.json`. A value outside the range that requests may
//! use is ignored with a warning, and the neutral value replaces it (greedy decoding, as in mlx-lm). `model_rules` fills in
//! the defaults where a request leaves a parameter out.

use serde_json::Value;

use super::draft::single;
use crate::request::SamplingParams;

/// The defaults, and a warning for each value that was ignored.
pub(super) fn read(generation_config: &Value) -> (SamplingParams, Vec<String>) {
    let mut fields = Fields { file: generation_config, warnings: Vec::new() };
    let samples = fields.flag("do_sample");
    let temperature = fields.number("temperature", |number| (0.0..=2.0).contains(&number), "a number from 0 to 2");
    // A file that says nothing else means the default of transformers.
    let temperature = if generation_config["temperature"].is_null() { Some(1.0) } else { temperature };
    let top_p = fields.number("top_p", |number| number > 0.0 && number <= 1.0, "a number above 0 and up to 1");
    let min_p = fields.number("min_p", |number| (0.0..=1.0).contains(&number), "a number from 0 to 1");
    let penalty =
        fields.number("repetition_penalty", |number| (0.01..=10.0).contains(&number), "a number from 0.01 to 10");
    let whole = |number: f32| number >= 0.0 && number.fract() == 0.0;
    let top_k = fields.number("top_k", whole, "a whole number from 0");
    let defaults = SamplingParams {
        temperature: if samples { temperature.unwrap_or(0.0) } else { 0.0 },
        top_p: top_p.unwrap_or(1.0),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "more than all tokens is all")]
        top_k: top_k.unwrap_or(0.0) as u32,
        min_p: min_p.unwrap_or(0.0),
        repetition_penalty: penalty.unwrap_or(1.0),
        ..SamplingParams::GREEDY
    };
    (defaults, fields.warnings)
}

struct Fields<'a> {
    file: &'a Value,
    warnings: Vec<String>,
}

impl Fields<'_> {
    /// A number in single precision, in which sampling uses it.
    fn number(&mut self, name: &str, is_allowed: impl Fn(f32) -> bool, allowed: &str) -> Option<f32> {
        let value = &self.file[name];
        let number = value.as_f64().map(single).filter(|number| is_allowed(*number));
        if number.is_none() && !value.is_null() {
            self.ignore(name, allowed);
        }
        number
    }

    fn flag(&mut self, name: &str) -> bool {
        let value = &self.file[name];
        if value.as_bool().is_none() && !value.is_null() {
            self.ignore(name, "true or false");
        }
        value.as_bool().unwrap_or(false)
    }

    fn ignore(&mut self, name: &str, allowed: &str) {
        let shown: String = self.file[name].to_string().chars().take(80).collect();
        self.warnings
            .push(format!("generation_config.json: `{name}` is {shown}, which is ignored: expected {allowed}"));
    }
}
