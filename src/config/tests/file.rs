//! The keys of a runtime file, and how its entries combine.

use super::*;
use crate::config::file::OTHER_NAMES;

const BATCH: &str = "scheduler.batchSize";
const MIN: &str = "scheduler.autoTune.minBatch";
const MAX: &str = "scheduler.autoTune.maxBatch";

/// The names of an option in a file; deprecated ones end in an exclamation mark.
fn names(path: &str) -> Vec<String> {
    keys_of(path).into_iter().map(|key| key.name + if key.is_deprecated { "!" } else { "" }).collect()
}

fn with_file(entries: &[(&str, f64, Option<&str>)], environment: Option<&str>) -> Result<Resolved, Error> {
    let entry_of = |(path, number, environment): &(&str, f64, Option<&str>)| {
        entry(option(path), Value::Number(*number), *environment)
    };
    let file =
        RuntimeFile { entries: entries.iter().map(entry_of).collect(), environment: environment.map(str::to_owned) };
    Settings::resolve(&file, &HashMap::new(), &[])
}

#[test]
fn the_key_of_an_option_follows_from_its_path() {
    assert_eq!(names("preset"), ["preset"]);
    assert_eq!(names("scheduler.maxWaitMs"), ["scheduler.max_wait_ms"]);
    assert_eq!(names("scheduler.adaptiveWindow.emaAlpha"), ["scheduler.adaptive_window.ema_alpha"]);
    // An option that does not exist yet has its key as well.
    assert_eq!(names("power.maxWatts"), ["power.max_watts"]);
}

#[test]
fn sections_and_keys_keep_their_established_names() {
    assert_eq!(names("cache.dedup.ttlMs"), ["cache.dedup.ttl_ms", "request_deduplication.ttl_ms"]);
    assert_eq!(
        names("cache.coalescing.maxSubscribers"),
        ["cache.coalescing.max_subscribers", "request_coalescing.max_subscribers"]
    );
    assert_eq!(names("cache.promptCache.path"), ["cache.prompt_cache.path", "prompt_cache.path"]);
    assert_eq!(
        names("cache.promptCache.maxTokens"),
        ["cache.prompt_cache.max_tokens", "prompt_cache.max_total_tokens"]
    );
    assert_eq!(
        names("scheduler.autoTune.enabled"),
        ["scheduler.auto_tune.enabled", "generate_batcher.adaptive_sizing", "continuous_batching.adaptive_sizing!"]
    );
    assert_eq!(names("memory.kvBytes"), ["memory.kv_bytes", "model.memory_policy.kv_bytes"]);
    assert_eq!(
        names("modelLifecycle.idleUnloadMs"),
        ["model_lifecycle.idle_unload_ms", "model_lifecycle_manager.idle_timeout_ms!"]
    );
    assert_eq!(names("workers.count"), ["workers.count", "python_runtime.workers!"]);
}

#[test]
fn every_other_name_stands_for_an_option() {
    let used: Vec<_> = keys().map(|(key, _)| key.name).collect();
    let is_used = |name: &str| used.iter().any(|key| key == name || key.starts_with(&format!("{name}.")));
    let unused: Vec<_> = OTHER_NAMES.iter().map(|other| other.key).filter(|name| !is_used(name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn no_key_names_two_options_and_no_section_is_a_key() {
    let keys: Vec<_> = keys().map(|(key, _)| key.name).collect();
    for (at, key) in keys.iter().enumerate() {
        let is_section = |other: &String| other.starts_with(&format!("{key}."));
        assert!(!keys[at + 1..].contains(key), "{key}");
        assert!(!keys.iter().any(is_section), "{key}");
    }
    assert!(keys.iter().all(|key| !key.starts_with("environments")), "it is the section of the environments");
}

#[test]
fn a_value_of_the_own_environment_overrides_the_one_for_all() {
    let entries = [(BATCH, 3.0, Some("production")), (BATCH, 5.0, None), (BATCH, 7.0, Some("test"))];
    let value = |environment| {
        let resolved = with_file(&entries, environment).expect("the values are valid");
        effective(&resolved, BATCH)
    };
    assert_eq!(value(None), (Some(Value::Number(5.0)), Source::File));
    assert_eq!(value(Some("production")), (Some(Value::Number(3.0)), Source::File));
    assert_eq!(value(Some("development")), (Some(Value::Number(5.0)), Source::File));
}

#[test]
fn a_wrong_value_is_refused_with_its_key_and_line_also_for_another_environment() {
    for environment in [None, Some("production")] {
        let error = refused(with_file(&[(BATCH, 65.0, environment)], None));
        assert_eq!(error.param(), Some("scheduler.batch_size"));
        assert_eq!((error.limit(), error.requested()), (Some(64.0), Some(65.0)));
        assert_eq!(
            error.message(),
            "`scheduler.batch_size` must be a whole number from 1 to 64, not 65 (runtime.yaml:7)"
        );
    }
}

#[test]
fn two_keys_of_one_option_are_refused_unless_they_are_for_different_environments() {
    let error = refused(with_file(&[(BATCH, 2.0, None), (BATCH, 2.0, None)], None));
    let expected = "`scheduler.batch_size` sets the same option as `scheduler.batch_size` in line 7 (runtime.yaml:7)";
    assert_eq!(error.message(), expected);
    assert!(with_file(&[(BATCH, 2.0, None), (BATCH, 2.0, Some("test"))], Some("test")).is_ok());
}

#[test]
fn the_error_about_contradicting_options_names_the_place_in_the_file() {
    let error = refused(with_file(&[(MIN, 8.0, None), (MAX, 4.0, None)], None));
    let expected = "`scheduler.auto_tune.min_batch` (8, runtime.yaml:7) must not be above \
                    `scheduler.auto_tune.max_batch` (4, runtime.yaml:7)";
    assert_eq!(error.message(), expected);
}

#[test]
fn a_file_names_the_preset_and_a_variable_another_one() {
    let preset = |name| entry(option("preset"), Value::Name(name), None);
    let file = RuntimeFile { entries: vec![preset("throughput")], environment: None };
    let resolve = |variables: HashMap<String, String>| {
        let resolved = Settings::resolve(&file, &variables, &[]).expect("the presets are valid");
        effective(&resolved, BATCH)
    };
    assert_eq!(resolve(HashMap::new()), (Some(Value::Number(8.0)), Source::Preset));
    let variable = HashMap::from([("MLX_SERVING_PRESET".into(), "latency".into())]);
    assert_eq!(resolve(variable), (Some(Value::Number(2.0)), Source::Preset));
}
