//! Which source overrides which, and which values contradict each other.

use proptest::prelude::*;

use super::*;

const MIN: &str = "scheduler.autoTune.minBatch";
const MAX: &str = "scheduler.autoTune.maxBatch";
const LOW: &str = "scheduler.adaptiveWindow.lowMs";
const MEDIUM: &str = "scheduler.adaptiveWindow.mediumMs";
const HIGH: &str = "scheduler.adaptiveWindow.highMs";

fn under(preset: &'static str) -> Resolved {
    Settings::resolve(&RuntimeFile::default(), &HashMap::new(), &[(option("preset"), Value::Name(preset))])
        .expect("presets are in order")
}

fn written(value: Value) -> String {
    match value {
        Value::Switch(on) => if on { "on" } else { "off" }.into(),
        Value::Number(number) => number.to_string(),
        Value::Name(name) => name.into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each source sets an arbitrary subset of the options.
    #[test]
    fn the_strongest_source_that_sets_an_option_wins(
        preset in prop::sample::select(Preset::NAMES.to_vec()),
        is_set in prop::collection::vec(prop::array::uniform3(any::<bool>()), OPTIONS.len()),
    ) {
        let by = |source: usize| {
            let set = OPTIONS.iter().zip(&is_set).filter(move |(_, is_set)| is_set[source]);
            set.map(|(option, _)| option)
        };
        // Options of a pair get their defaults, so that they do not contradict each other.
        let value_of = |option: &EngineOption| match option.path {
            "preset" => Some(Value::Name(preset)),
            path if path.ends_with("Ms") => option.default,
            _ => Some(another(option)),
        };
        let in_environment = |option: &EngineOption| Some((option.variable?.to_owned(), written(value_of(option)?)));
        let environment: HashMap<_, _> = by(0).filter_map(in_environment).collect();
        let options: Vec<_> = by(1).filter_map(|option| Some((option, option.default?))).collect();
        let in_file = by(2).filter_map(|option| Some(entry(option, value_of(option)?, None)));
        let file = RuntimeFile { entries: in_file.collect(), environment: None };
        let resolved = Settings::resolve(&file, &environment, &options);
        let resolved = resolved.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let preset = resolved.settings.preset;
        for (option, [in_environment, in_options, in_file]) in OPTIONS.iter().zip(is_set) {
            let expected = match option.under(preset) {
                _ if in_options && option.default.is_some() => (option.default, Source::Option),
                _ if in_environment && value_of(option).is_some() => (value_of(option), Source::Environment),
                _ if in_file && value_of(option).is_some() => (value_of(option), Source::File),
                Some(value) => (Some(value), Source::Preset),
                None => (option.default, Source::Default),
            };
            prop_assert_eq!(effective(&resolved, option.path), expected, "{}", option.path);
        }
        let mut settings = Settings::default();
        for effective in &resolved.values {
            prop_assert!(effective.value.is_none_or(|value| effective.option.store(value, &mut settings)));
        }
        prop_assert_eq!(settings, resolved.settings);
    }
}

#[test]
fn the_presets_have_the_documented_values() {
    let shown = |preset| {
        let Settings { scheduler, .. } = under(preset).settings;
        let switches = (scheduler.adaptive_window.enabled, scheduler.auto_tune.enabled, scheduler.fast_path);
        (scheduler.window.as_micros(), scheduler.batch_size, switches)
    };
    assert_eq!(shown("latency"), (750, 2, (false, false, true)));
    assert_eq!(shown("balanced"), (1_000, 4, (true, true, true)));
    assert_eq!(shown("throughput"), (2_000, 8, (true, true, true)));
    assert_eq!(under("balanced").settings, Settings::default());
}

#[test]
fn presets_are_found_by_name() {
    assert_eq!(Preset::NAMES.map(Preset::named), Preset::ALL.map(Some));
    assert_eq!(Preset::named("Latency"), None);
    let error = refused(with_options(&[("preset", Value::Number(1.0))]));
    assert_eq!(error.message(), "`preset` must be 'latency', 'balanced' or 'throughput', not 1");
}

#[test]
fn an_option_overrides_the_preset_of_a_variable() {
    let environment = HashMap::from([("MLX_SERVING_PRESET".into(), "latency".into())]);
    let resolved = Settings::resolve(&RuntimeFile::default(), &environment, &[]).expect("a preset");
    assert_eq!(effective(&resolved, "preset"), (Some(Value::Name("latency")), Source::Environment));
    assert_eq!(effective(&resolved, "scheduler.batchSize"), (Some(Value::Number(2.0)), Source::Preset));
    let options = [(option("preset"), Value::Name("throughput"))];
    let resolved = Settings::resolve(&RuntimeFile::default(), &environment, &options).expect("a preset");
    assert_eq!(effective(&resolved, "preset"), (Some(Value::Name("throughput")), Source::Option));
    assert_eq!(effective(&resolved, "scheduler.batchSize"), (Some(Value::Number(8.0)), Source::Preset));
}

#[test]
fn a_wrong_variable_is_an_error_even_if_an_option_overrides_it() {
    let environment = HashMap::from([("MLX_FAST_PATH".into(), "maybe".into())]);
    let options = [(option("scheduler.fastPath"), Value::Switch(true))];
    let error = refused(Settings::resolve(&RuntimeFile::default(), &environment, &options));
    assert_eq!(error.param(), Some("MLX_FAST_PATH"));
}

#[test]
fn equal_values_of_a_pair_do_not_contradict_each_other() {
    let equal = [(LOW, 1.5), (MEDIUM, 1.5), (HIGH, 1.5), (MIN, 8.0), (MAX, 8.0)];
    assert!(with_options(&equal.map(|(path, number)| (path, Value::Number(number)))).is_ok());
}

#[test]
fn a_contradiction_names_both_options_and_param_is_the_one_with_the_stronger_source() {
    let error = refused(with_options(&[(MIN, Value::Number(8.0)), (MAX, Value::Number(4.0))]));
    assert_eq!(error.message(), format!("`{MIN}` (8, option) must not be above `{MAX}` (4, option)"));
    assert_eq!(error.param(), Some(MIN));

    let error = refused(with_options(&[(HIGH, Value::Number(1.0)), (MEDIUM, Value::Number(1.5))]));
    assert_eq!(error.message(), format!("`{MEDIUM}` (1.5, option) must not be above `{HIGH}` (1, option)"));

    let error = refused(with_variable("MLX_ADAPTIVE_WINDOW_LOW_MS", "1.5"));
    let expected = format!("`MLX_ADAPTIVE_WINDOW_LOW_MS` (1.5, environment) must not be above `{MEDIUM}` (1, default)");
    assert_eq!(error.message(), expected);

    let environment = HashMap::from([("MLX_AUTO_TUNE_MIN_BATCH".into(), "6".into())]);
    let options = [(option(MAX), Value::Number(4.0))];
    let error = refused(Settings::resolve(&RuntimeFile::default(), &environment, &options));
    assert_eq!(error.param(), Some(MAX));
    let expected = format!("`MLX_AUTO_TUNE_MIN_BATCH` (6, environment) must not be above `{MAX}` (4, option)");
    assert_eq!(error.message(), expected);
}
