//! Tests of the table of options. The other files test values, variables and how sources combine.

mod environment;
mod file;
mod resolve;
mod values;

use std::collections::HashMap;

use crate::error::{Code, Error};

use super::{
    EngineOption, FileEntry, FilePlace, Member, OPTIONS, PREFIX, Preset, Resolved, RuntimeFile, Settings, Source,
    Value, find, keys, keys_of, names_in,
};

fn option(path: &str) -> &'static EngineOption {
    OPTIONS.iter().find(|option| option.path == path).expect("the test names an option of the table")
}

fn with_options(options: &[(&str, Value)]) -> Result<Resolved, Error> {
    let options: Vec<_> = options.iter().map(|(path, value)| (option(path), *value)).collect();
    Settings::resolve(&RuntimeFile::default(), &HashMap::new(), &options)
}

fn with_variable(name: &str, text: &str) -> Result<Resolved, Error> {
    Settings::resolve(&RuntimeFile::default(), &HashMap::from([(name.into(), text.into())]), &[])
}

/// An entry of a runtime file in the line 7.
fn entry(option: &'static EngineOption, value: Value, environment: Option<&str>) -> FileEntry {
    let key = keys_of(option.path).remove(0).name;
    let place = FilePlace { key, file: "runtime.yaml".into(), line: 7 };
    FileEntry { option, value, place, environment: environment.map(str::to_owned) }
}

fn effective(resolved: &Resolved, path: &str) -> (Option<Value>, Source) {
    let found = resolved.values.iter().find(|effective| effective.option.path == path);
    found.map(|effective| (effective.value, effective.source)).expect("each option has a value")
}

/// A value that differs from the default and does not contradict other options.
fn another(option: &EngineOption) -> Value {
    match (option.range(), option.default) {
        (None, Some(Value::Name(default))) => {
            let other = option.names().iter().find(|name| **name != default);
            Value::Name(other.expect("more than one name"))
        }
        (None, default) => Value::Switch(default == Some(Value::Switch(false))),
        (Some(range), _) if option.path == "scheduler.adaptiveWindow.lowMs" => Value::Number(range.min),
        (Some(range), _) if option.path == "scheduler.adaptiveWindow.mediumMs" => Value::Number(range.min),
        (Some(range), _) => Value::Number(range.max),
    }
}

fn refused(resolved: Result<Resolved, Error>) -> Error {
    let error = resolved.expect_err("the value is wrong");
    assert_eq!(error.code(), Code::ConfigError);
    error
}

#[test]
fn no_two_options_share_a_name() {
    let mut names: Vec<_> = OPTIONS.iter().flat_map(|option| [Some(option.path), option.variable]).flatten().collect();
    let num_names = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), num_names);
}

#[test]
fn every_option_has_a_variable_which_is_established_or_follows_from_its_path() {
    for option in OPTIONS {
        let variable = option.variable.expect("a variable");
        let is_established = variable.starts_with("MLX_") && !variable.starts_with(PREFIX);
        assert!(is_established || variable == option.own_variable(), "{}: {variable}", option.path);
    }
    assert_eq!(option("precision").own_variable(), "MLX_SERVING_PRECISION");
    assert_eq!(option("scheduler.maxWaitMs").own_variable(), "MLX_SERVING_MAX_WAIT_MS");
    assert_eq!(option("retry.maxAttempts").own_variable(), "MLX_SERVING_RETRY_MAX_ATTEMPTS");
    assert_eq!(option("cache.promptCache.maxTokens").own_variable(), "MLX_SERVING_PROMPT_CACHE_MAX_TOKENS");
    assert_eq!(option("scheduler.batchSize").variable, Some("MLX_GPU_SCHEDULER_BATCH_SIZE"));
}

#[test]
fn every_option_is_documented_and_takes_its_own_values() {
    for option in OPTIONS {
        assert!(option.text.ends_with('.'), "{}", option.path);
        let values = Preset::ALL.into_iter().filter_map(|preset| option.under(preset)).chain(option.default);
        for value in values {
            assert!(option.store(value, &mut Settings::default()), "{} = {value}", option.path);
        }
    }
}

#[test]
fn a_preset_has_only_values_that_differ_from_the_defaults() {
    for option in OPTIONS {
        for preset in Preset::ALL {
            assert!(option.under(preset).is_none() || option.under(preset) != option.default, "{}", option.path);
        }
    }
}

/// The leaf fields of the settings, as `Debug` prints them: `field: value,`.
fn fields(settings: &Settings) -> Vec<String> {
    let printed = format!("{settings:#?}").replace("Some(\n", "Some(");
    printed.lines().filter(|line| line.contains(": ") && !line.ends_with('{')).map(str::to_owned).collect()
}

#[test]
fn every_option_has_its_own_field_and_every_field_has_an_option() {
    let default = fields(&Settings::default());
    assert_eq!(default.len(), OPTIONS.len());
    let mut changed: Vec<_> = OPTIONS
        .iter()
        .map(|option| {
            let mut settings = Settings::default();
            assert!(option.store(another(option), &mut settings));
            let fields = fields(&settings);
            let differs = |at: &usize| fields[*at] != default[*at];
            let changed: Vec<_> = (0..default.len()).filter(differs).collect();
            assert_eq!(changed.len(), 1, "{}", option.path);
            changed[0]
        })
        .collect();
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed.len(), OPTIONS.len());
}

#[test]
fn a_path_finds_an_option_or_a_group() {
    assert_eq!(
        names_in(""),
        [
            "preset",
            "scheduler",
            "precision",
            "memory",
            "streaming",
            "cache",
            "modelLifecycle",
            "retry",
            "circuitBreaker",
            "metrics",
            "health",
            "workers"
        ]
    );
    assert_eq!(names_in("scheduler.autoTune"), ["enabled", "minBatch", "maxBatch", "emaAlpha", "interval"]);
    assert!(
        matches!(find("scheduler.autoTune", "interval"), Some(Member::Option(option)) if option.path.ends_with(".interval"))
    );
    assert!(matches!(find("scheduler", "autoTune"), Some(Member::Group)));
    let unknown = [
        ("", ""),
        ("", "scheduler.enabled"),
        ("scheduler", "autoTune.interval"),
        ("sched", "uler"),
        ("scheduler", "un-enabled"),
        ("", "sched"),
    ];
    for (group, name) in unknown {
        assert!(find(group, name).is_none(), "{group} {name}");
    }
}

#[test]
fn options_of_one_group_are_adjacent() {
    for group in ["", "scheduler", "scheduler.adaptiveWindow", "scheduler.autoTune", "memory", "streaming"] {
        let mut names = names_in(group);
        let num_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), num_names, "{group}");
    }
}
