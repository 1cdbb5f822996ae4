//! Which texts of environment variables the options take.

use proptest::prelude::*;

use super::*;

const WINDOW: &str = "MLX_GPU_SCHEDULER_WINDOW_MS";
const BATCH: &str = "MLX_GPU_SCHEDULER_BATCH_SIZE";
const FAST_PATH: &str = "MLX_FAST_PATH";

fn variables() -> Vec<&'static EngineOption> {
    OPTIONS.iter().filter(|option| option.variable.is_some()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A variable and an option with the same number give the same settings.
    #[test]
    fn a_number_is_read_back(option in prop::sample::select(variables()), part in 0.0..=1.0_f64) {
        let Some(range) = option.range() else { return Ok(()) };
        let number = range.min + part * (range.max - range.min);
        let number = if option.allowed().contains("whole") { number.round() } else { number };
        let Ok(as_option) = with_options(&[(option.path, Value::Number(number))]) else { return Ok(()) };
        let variable = with_variable(option.variable.unwrap_or_default(), &format!(" {number}\n"));
        prop_assert_eq!(variable.map(|resolved| resolved.settings).ok(), Some(as_option.settings));
    }

    #[test]
    fn any_text_is_taken_or_refused_by_name(
        option in prop::sample::select(variables()),
        text in r"\PC{0,60}|[-+0-9.eE_x ]{0,8}|(?i)(on|off|true|false|inf|nan)",
    ) {
        let name = option.variable.unwrap_or_default();
        match with_variable(name, &text) {
            Ok(resolved) => prop_assert_eq!(effective(&resolved, option.path).1, Source::Environment),
            Err(error) => {
                prop_assert_eq!((error.code(), error.param()), (Code::ConfigError, Some(name)));
                prop_assert!(error.message().starts_with(&format!("`{name}` ")), "{}", error);
            }
        }
    }
}

#[test]
fn a_switch_takes_six_words_in_any_case() {
    for (texts, on) in
        [(["on", "true", "1", "ON", "True", " on "], true), (["off", "false", "0", "OFF", "False", "off\n"], false)]
    {
        for text in texts {
            let resolved = with_variable(FAST_PATH, text).expect(text);
            assert_eq!(resolved.settings.scheduler.fast_path, on, "{text}");
        }
    }
}

#[test]
fn a_switch_refuses_every_other_text() {
    for text in ["", " ", "yes", "no", "2", "01", "-1", "1.0", "o n", "enabled", "null"] {
        let error = refused(with_variable(FAST_PATH, text));
        assert_eq!(error.param(), Some(FAST_PATH));
        assert!(error.message().ends_with(&format!("must be on, off, true, false, 1 or 0, not '{text}'")), "{error}");
    }
}

#[test]
fn a_name_is_taken_in_any_case_and_every_other_text_refused() {
    for text in ["latency", " Latency\n", "LATENCY"] {
        assert_eq!(with_variable("MLX_SERVING_PRESET", text).expect(text).settings.preset, Preset::Latency);
    }
    for text in ["", " ", "fast", "latency,", "0"] {
        let error = refused(with_variable("MLX_SERVING_PRESET", text));
        assert_eq!(error.param(), Some("MLX_SERVING_PRESET"));
        let expected = format!("`MLX_SERVING_PRESET` must be 'latency', 'balanced' or 'throughput', not '{text}'");
        assert_eq!(error.message(), expected);
    }
}

#[test]
fn a_number_takes_plain_decimal_digits() {
    for (text, window) in [
        ("1.5", 1_500),
        ("2", 2_000),
        (" 5 ", 5_000),
        ("\t0.5\r\n", 500),
        (".75", 750),
        ("3.", 3_000),
        ("0002.5", 2_500),
    ] {
        let resolved = with_variable(WINDOW, text).expect(text);
        assert_eq!(resolved.settings.scheduler.window.as_micros(), window, "{text:?}");
    }
    assert_eq!(with_variable(BATCH, "16.0").expect("the number is whole").settings.scheduler.batch_size, 16);
}

#[test]
fn a_number_refuses_every_other_notation() {
    for text in [
        "",
        " ",
        "1e0",
        "1E0",
        "+1",
        "0x1",
        "1_0",
        "1,5",
        "1 ms",
        "1.2.3",
        "--1",
        "-",
        ".",
        "NaN",
        "inf",
        "-Infinity",
        "on",
        "true",
        "١",
    ] {
        let error = refused(with_variable(WINDOW, text));
        assert_eq!(error.param(), Some(WINDOW));
        let expected =
            format!("`{WINDOW}` must be a number of milliseconds from 0.5 to 5, in decimal digits, not '{text}'");
        assert_eq!(error.message(), expected);
    }
}

#[test]
fn a_number_out_of_range_is_refused_like_an_option() {
    for (text, number) in [("0", 0.0), ("-1", -1.0), ("65", 65.0), ("9007199254740993", 9_007_199_254_740_992.0)] {
        let error = refused(with_variable(BATCH, text));
        assert_eq!(error.requested(), Some(number));
        assert_eq!(error.message(), format!("`{BATCH}` must be a whole number from 1 to 64, not {number}"));
    }
    assert_eq!(refused(with_variable(BATCH, "1.5")).param(), Some(BATCH));
}

#[test]
fn an_error_shows_the_first_40_characters_of_a_long_value() {
    let error = refused(with_variable(BATCH, &"9".repeat(400)));
    assert!(error.message().ends_with(&format!("not '{}…'", "9".repeat(40))), "{error}");
}

#[test]
fn an_error_escapes_control_characters() {
    assert!(refused(with_variable(FAST_PATH, "\u{1b}[2J")).message().ends_with(r"not '\u{1b}[2J'"));
}

#[test]
fn variables_of_other_programs_are_ignored() {
    let others =
        ["MLX_METAL_DEBUG", "MLX_FAST_PATHS", "mlx_fast_path", "MLX_", ""].map(|name| (name.into(), "huh".into()));
    let resolved =
        Settings::resolve(&RuntimeFile::default(), &HashMap::from(others), &[]).expect("no variable is in the table");
    assert_eq!(resolved.settings, Settings::default());
}
