//! The memory of a model depends on its windows, and on whether it runs fused and chained. `lib/cli/footprint.ts` knows these
//! rules too, for models that are not loaded. `__test__/footprints.json` has examples, with which both are tested.

use serde::Deserialize;
use serde_json::Value;

use super::super::attention::can_fuse;
use super::super::chained::can_chain;
use super::super::families::read;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Example {
    name: String,
    config: Value,
    /// For each layer the most positions that it keeps.
    windows: Vec<i32>,
    is_fused: bool,
    is_chained: bool,
}

#[test]
fn windows_and_the_way_to_run_are_as_the_command_fit_takes_them() {
    let examples: Vec<Example> =
        serde_json::from_str(include_str!("../../../../__test__/footprints.json")).expect("valid JSON");
    for Example { name, config, windows, is_fused, is_chained } in examples {
        let model = read(&config).expect(&name);
        let attention = model.attention();
        let found: Vec<_> = attention.iter().map(|layer| layer.window.unwrap_or(model.context_length)).collect();
        assert_eq!((found, can_fuse(&attention), can_chain(&model)), (windows, is_fused, is_chained), "{name}");
    }
}
