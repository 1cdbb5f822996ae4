//! The table itself, and what is made of it. What values and variables may look like is in the two files below.

mod environment;
mod resolve;
mod values;

use std::collections::HashMap;

use crate::error::{Code, Error};

use super::{KNOBS, Knob, Member, Preset, Resolved, Settings, Source, Value, find, names_in};

fn knob(path: &str) -> &'static Knob {
    KNOBS.iter().find(|knob| knob.path == path).expect("a test names knobs that exist")
}

fn with_options(options: &[(&str, Value)]) -> Result<Resolved, Error> {
    let options: Vec<_> = options.iter().map(|(path, value)| (knob(path), *value)).collect();
    Settings::resolve(Preset::Balanced, &HashMap::new(), &options)
}

fn with_variable(name: &str, text: &str) -> Result<Resolved, Error> {
    Settings::resolve(Preset::Balanced, &HashMap::from([(name.into(), text.into())]), &[])
}

fn said(resolved: &Resolved, path: &str) -> (Option<Value>, Source) {
    let found = resolved.values.iter().find(|effective| effective.knob.path == path);
    found.map(|effective| (effective.value, effective.source)).expect("there is a value for each knob")
}

/// A value of the knob that is neither its default nor in contradiction with other knobs.
fn another(knob: &Knob) -> Value {
    match (knob.range(), knob.default) {
        (None, Some(Value::Name(default))) => {
            let other = knob.names().iter().find(|name| **name != default);
            Value::Name(other.expect("more than one name"))
        }
        (None, default) => Value::Switch(default == Some(Value::Switch(false))),
        (Some(range), _) if knob.path == "scheduler.adaptiveWindow.lowMs" => Value::Number(range.min),
        (Some(range), _) if knob.path == "scheduler.adaptiveWindow.mediumMs" => Value::Number(range.min),
        (Some(range), _) => Value::Number(range.max),
    }
}

fn refused(resolved: Result<Resolved, Error>) -> Error {
    let error = resolved.expect_err("it should be refused");
    assert_eq!(error.code(), Code::ConfigError);
    error
}

#[test]
fn no_two_knobs_share_a_name() {
    let mut names: Vec<_> = KNOBS.iter().flat_map(|knob| [Some(knob.path), knob.variable]).flatten().collect();
    let num_names = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), num_names);
}

#[test]
fn every_variable_has_the_prefix_that_is_looked_for() {
    assert!(KNOBS.iter().filter_map(|knob| knob.variable).all(|name| name.starts_with("MLX_")));
}

#[test]
fn every_knob_is_documented_and_takes_its_own_values() {
    for knob in KNOBS {
        assert!(knob.text.ends_with('.'), "{}", knob.path);
        let values = Preset::ALL.into_iter().filter_map(|preset| knob.under(preset)).chain(knob.default);
        for value in values {
            assert!(knob.store(value, &mut Settings::default()), "{} = {value}", knob.path);
        }
    }
}

#[test]
fn a_preset_says_only_what_differs() {
    for knob in KNOBS {
        for preset in Preset::ALL {
            assert!(knob.under(preset).is_none() || knob.under(preset) != knob.default, "{}", knob.path);
        }
    }
}

/// The leaves of the settings as they are printed: `field: value,`.
fn fields(settings: &Settings) -> Vec<String> {
    let printed = format!("{settings:#?}").replace("Some(\n", "Some(");
    printed.lines().filter(|line| line.contains(": ") && !line.ends_with('{')).map(str::to_owned).collect()
}

#[test]
fn every_knob_has_a_field_of_its_own_and_every_field_a_knob() {
    let default = fields(&Settings::default());
    assert_eq!(default.len(), KNOBS.len());
    let mut changed: Vec<_> = KNOBS
        .iter()
        .map(|knob| {
            let mut settings = Settings::default();
            assert!(knob.store(another(knob), &mut settings));
            let fields = fields(&settings);
            let differs = |at: &usize| fields[*at] != default[*at];
            let changed: Vec<_> = (0..default.len()).filter(differs).collect();
            assert_eq!(changed.len(), 1, "{}", knob.path);
            changed[0]
        })
        .collect();
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed.len(), KNOBS.len());
}

#[test]
fn paths_lead_to_knobs_and_groups() {
    assert_eq!(names_in(""), ["scheduler", "precision", "memory", "streaming", "cache"]);
    assert_eq!(names_in("scheduler.autoTune"), ["enabled", "minBatch", "maxBatch", "emaAlpha", "interval"]);
    assert!(
        matches!(find("scheduler.autoTune", "interval"), Some(Member::Knob(knob)) if knob.path.ends_with(".interval"))
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
fn groups_stand_together() {
    for group in ["", "scheduler", "scheduler.adaptiveWindow", "scheduler.autoTune", "memory", "streaming"] {
        let mut names = names_in(group);
        let num_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), num_names, "{group}");
    }
}
