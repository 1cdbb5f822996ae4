//! Who says what goes over whom, and which values contradict each other.

use proptest::prelude::*;

use super::*;

const MIN: &str = "scheduler.autoTune.minBatch";
const MAX: &str = "scheduler.autoTune.maxBatch";
const LOW: &str = "scheduler.adaptiveWindow.lowMs";
const MEDIUM: &str = "scheduler.adaptiveWindow.mediumMs";
const HIGH: &str = "scheduler.adaptiveWindow.highMs";

fn any_preset() -> impl Strategy<Value = Preset> {
    prop::sample::select(Preset::ALL.to_vec())
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

    /// Each knob is said, or not, by each source.
    #[test]
    fn the_last_source_that_speaks_is_heard(
        preset in any_preset(), speaks in prop::collection::vec(prop::array::uniform2(any::<bool>()), KNOBS.len()),
    ) {
        let by = |source: usize| {
            let heard = KNOBS.iter().zip(&speaks).filter(move |(_, speaks)| speaks[source]);
            heard.map(|(knob, _)| knob)
        };
        // Defaults are said where the knobs of a pair might contradict each other.
        let value_of = |knob: &Knob| if knob.path.ends_with("Ms") { knob.default } else { Some(another(knob)) };
        let in_environment = |knob: &Knob| Some((knob.variable?.to_owned(), written(value_of(knob)?)));
        let environment: HashMap<_, _> = by(0).filter_map(in_environment).collect();
        let options: Vec<_> = by(1).filter_map(|knob| Some((knob, knob.default?))).collect();
        let resolved = Settings::resolve(preset, &environment, &options);
        let resolved = resolved.map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (knob, [in_environment, in_options]) in KNOBS.iter().zip(speaks) {
            let expected = match knob.under(preset) {
                _ if in_options && knob.default.is_some() => (knob.default, Source::Option),
                _ if in_environment && knob.variable.is_some() => (value_of(knob), Source::Environment),
                Some(value) => (Some(value), Source::Preset),
                None => (knob.default, Source::Default),
            };
            prop_assert_eq!(said(&resolved, knob.path), expected, "{}", knob.path);
        }
        let mut settings = Settings::default();
        for effective in &resolved.values {
            prop_assert!(effective.value.is_none_or(|value| effective.knob.store(value, &mut settings)));
        }
        prop_assert_eq!(settings, resolved.settings);
    }
}

#[test]
fn the_presets_are_what_they_are_said_to_be() {
    let settings = |preset| Settings::resolve(preset, &HashMap::new(), &[]).expect("presets are in order").settings;
    let shown = |preset| {
        let Settings { scheduler, .. } = settings(preset);
        let switches = (scheduler.adaptive_window.enabled, scheduler.auto_tune.enabled, scheduler.fast_path);
        (scheduler.window.as_micros(), scheduler.batch_size, switches)
    };
    assert_eq!(shown(Preset::Latency), (750, 2, (false, false, true)));
    assert_eq!(shown(Preset::Balanced), (1_000, 4, (true, true, true)));
    assert_eq!(shown(Preset::Throughput), (2_000, 8, (true, true, true)));
    assert_eq!(settings(Preset::Balanced), Settings::default());
}

#[test]
fn presets_are_found_by_name() {
    for preset in Preset::ALL {
        assert_eq!(Preset::named(preset.name()), Some(preset));
    }
    assert_eq!(Preset::named("Latency"), None);
    let expected = "`preset` must be 'latency', 'balanced' or 'throughput', not 'fast'";
    assert_eq!(Preset::refuse("'fast'").message(), expected);
}

#[test]
fn a_wrong_variable_is_an_error_also_under_an_option() {
    let environment = HashMap::from([("MLX_FAST_PATH".into(), "maybe".into())]);
    let options = [(knob("scheduler.fastPath"), Value::Switch(true))];
    let error = refused(Settings::resolve(Preset::Balanced, &environment, &options));
    assert_eq!(error.param(), Some("MLX_FAST_PATH"));
}

#[test]
fn equal_neighbours_do_not_contradict_each_other() {
    let equal = [(LOW, 1.5), (MEDIUM, 1.5), (HIGH, 1.5), (MIN, 8.0), (MAX, 8.0)];
    assert!(with_options(&equal.map(|(path, number)| (path, Value::Number(number)))).is_ok());
}

#[test]
fn a_contradiction_names_both_and_blames_the_one_said_last() {
    let error = refused(with_options(&[(MIN, Value::Number(8.0)), (MAX, Value::Number(4.0))]));
    assert_eq!(error.message(), format!("`{MIN}` (8, option) must not be above `{MAX}` (4, option)"));
    assert_eq!(error.param(), Some(MIN));

    let error = refused(with_options(&[(HIGH, Value::Number(1.0)), (MEDIUM, Value::Number(1.5))]));
    assert_eq!(error.message(), format!("`{MEDIUM}` (1.5, option) must not be above `{HIGH}` (1, option)"));

    let error = refused(with_variable("MLX_ADAPTIVE_WINDOW_LOW_MS", "1.5"));
    let expected = format!("`MLX_ADAPTIVE_WINDOW_LOW_MS` (1.5, environment) must not be above `{MEDIUM}` (1, default)");
    assert_eq!(error.message(), expected);

    let environment = HashMap::from([("MLX_AUTO_TUNE_MIN_BATCH".into(), "6".into())]);
    let options = [(knob(MAX), Value::Number(4.0))];
    let error = refused(Settings::resolve(Preset::Balanced, &environment, &options));
    assert_eq!(error.param(), Some(MAX));
    let expected = format!("`MLX_AUTO_TUNE_MIN_BATCH` (6, environment) must not be above `{MAX}` (4, option)");
    assert_eq!(error.message(), expected);
}
