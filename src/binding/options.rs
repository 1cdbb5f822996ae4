//! Reads and validates the options of `createEngine` and `loadModel`. The table in `config/` lists the options and
//! their values; only `backend` and the paths are read by code of their own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, Unknown};

use crate::config::{
    ANSWERS_FILE, EngineOption, FilePlace, Member, OPTIONS, PATHS, PREFIX_FOLDER, PathOption, Settings, Source, Value,
    find, names_in,
};
use crate::engine::ModelSource;
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind, PROFILES, Profile};
use crate::numbers::MAX_SAFE_INTEGER;
use crate::text::{TextOptions, ToolPrompt};

use super::fields::{Fields, MAX_ELEMENTS, MAX_PROPERTIES, elements, entries, kind, string, unknown, wrong};
use super::file::{self, NativeFile};
use super::names::Place;
use super::paths::path;
use super::refusal::{Read, Refusal};
use super::scripted::Scripted;
use super::settings::NativeSetting;

const CODE: Code = Code::ConfigError;
/// Error messages show at most this many characters of a value.
const MAX_SHOWN: usize = 40;
/// The longest stall of a simulated device: an hour.
const MAX_STALL_MS: u64 = 3_600_000;
/// The option of the outermost group that is not in the table.
const BACKEND: &str = "backend";

/// Fields of a simulated device.
const OF_SIMULATED: [&str; 4] = ["simulated", "faults", "answers", "onUnmatched"];

/// The given options.
#[derive(Default)]
pub(super) struct Given {
    /// Options of the table.
    pub(super) values: Vec<(&'static EngineOption, Value)>,
    /// The values of [`PATHS`].
    paths: [Option<PathBuf>; PATHS.len()],
}

/// The options that an engine is started with.
pub(super) struct Options {
    pub(super) settings: Settings,
    /// The value of each option with its source, also of those that are not in the table.
    pub(super) effective: Vec<NativeSetting>,
    /// The file of the prompt cache, if there is one.
    pub(super) cache_path: Option<PathBuf>,
    /// The folder of the prefix cache, if there is one.
    pub(super) prefix_path: Option<PathBuf>,
    pub(super) backend: BackendChoice,
}

/// The device that runs the models.
pub(super) enum BackendChoice {
    /// MLX on this machine.
    Mlx,
    /// A simulated device.
    Simulated { profile: Profile, faults: Vec<Fault>, scripted: Option<Scripted> },
}

impl BackendChoice {
    /// The scripted answers of a simulated device.
    pub(super) fn scripted(&self) -> Option<&Scripted> {
        match self {
            Self::Mlx => None,
            Self::Simulated { scripted, .. } => scripted.as_ref(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::Simulated { profile, .. } => profile.name,
        }
    }
}

/// Reads the options of `createEngine`, and combines them with the environment variables and the runtime file.
pub(super) fn read(options: Unknown<'_>, environment: Unknown<'_>, file: Option<NativeFile>) -> Read<Options> {
    let (mut backend, mut given) = ((BackendChoice::Mlx, Source::Default), Given::default());
    for (key, value) in entries("options", CODE, options, MAX_PROPERTIES)? {
        match (key.as_str(), value) {
            (BACKEND, Some(value)) => backend = (read_backend(value)?, Source::Option),
            (BACKEND, None) => {}
            (key, value) => read_option("", key, value, &mut given)?,
        }
    }
    let environment = read_environment(environment)?;
    let file = file.map_or_else(|| Ok(file::File::default()), file::read)?;
    let resolved = Settings::resolve(&file.settings, &environment, &given.values)?;
    let mut paths = Vec::new();
    for ((option, given), file) in PATHS.iter().zip(given.paths).zip(file.paths) {
        paths.push(path_of(option, given, environment.get(option.variable), file)?);
    }
    if paths[ANSWERS_FILE].path.is_some() && backend.0.scripted().is_some() {
        let message = "cannot be used with `backend.answers`: a later engine would get answers of this script";
        return Err(wrong(CODE, PATHS[ANSWERS_FILE].path, message).into());
    }
    let mut effective: Vec<_> = resolved.values.into_iter().map(NativeSetting::from).collect();
    effective.push(NativeSetting::text(BACKEND, Some(backend.0.name().into()), backend.1, None));
    for (option, GivenPath { path, source, place }) in PATHS.iter().zip(&paths) {
        let shown = path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let setting = NativeSetting::text(option.path, shown, *source, place.clone());
        effective.push(NativeSetting { variable: Some(option.variable.into()), ..setting });
    }
    let [cache_path, prefix_path] = [ANSWERS_FILE, PREFIX_FOLDER].map(|index| paths[index].path.take());
    Ok(Options { settings: resolved.settings, effective, cache_path, prefix_path, backend: backend.0 })
}

/// A path with its source.
struct GivenPath {
    path: Option<PathBuf>,
    source: Source,
    place: Option<FilePlace>,
}

/// The strongest of the sources of a path.
fn path_of(
    option: &PathOption,
    given: Option<PathBuf>,
    variable: Option<&String>,
    file: Option<(PathBuf, FilePlace)>,
) -> Read<GivenPath> {
    let variable = variable.map(|text| path(option, option.variable, text.trim())).transpose()?;
    let (path, source, place) = match (given, variable, file) {
        (Some(path), ..) => (Some(path), Source::Option, None),
        (None, Some(path), _) => (Some(path), Source::Environment, None),
        (None, None, Some((path, place))) => (Some(path), Source::File, Some(place)),
        (None, None, None) => (None, Source::Default, None),
    };
    Ok(GivenPath { path, source, place })
}

/// Reads the options of `engine.cache.configure`, which are those of the group `cache`.
pub(super) fn read_cache(options: Unknown<'_>) -> Read<Vec<(&'static EngineOption, Value)>> {
    let mut given = Given::default();
    for (key, value) in entries("options", CODE, options, MAX_PROPERTIES)? {
        read_option("cache", &key, value, &mut given)?;
    }
    if let Some((option, _)) = PATHS.iter().zip(&given.paths).find(|(_, path)| path.is_some()) {
        return Err(wrong(CODE, option.path, "can only be set by createEngine").into());
    }
    Ok(given.values)
}

/// Reads the options of `loadModel` that concern the model itself.
pub(super) fn read_load(options: Unknown<'_>) -> Read<ModelSource> {
    let mut fields = Fields::of("", Code::InvalidParams, options)?;
    let path = fields.string("path")?.ok_or_else(|| fields.wrong("path", "is missing"))?;
    let id = fields.string("id")?;
    let chat_template = fields.string("chatTemplate")?;
    let tool_prompt = match fields.string("toolPrompt")?.as_deref().map(ToolPrompt::named) {
        Some(None) => return Err(fields.wrong("toolPrompt", "must be 'hermes'")),
        given => given.flatten(),
    };
    fields.finish()?;
    Ok(ModelSource { path: PathBuf::from(path), id, text: TextOptions { chat_template, tool_prompt } })
}

fn read_environment(variables: Unknown<'_>) -> Read<HashMap<String, String>> {
    let variables = entries("environment", CODE, variables, MAX_PROPERTIES)?.into_iter();
    let set = variables.filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| string(CODE, &name, value).map(|text| (name, text))).collect()
}

/// Reads an option of a group, or a nested group with all its options.
fn read_option(group: &str, key: &str, value: Option<Unknown<'_>>, given: &mut Given) -> Read<()> {
    let path = if group.is_empty() { key.to_owned() } else { format!("{group}.{key}") };
    match (find(group, key), value) {
        (Some(Member::Option(option)), Some(value)) => given.values.push((option, read_value(option, value)?)),
        (Some(Member::Group), Some(value)) => {
            for (key, value) in entries(&path, CODE, value, MAX_PROPERTIES)? {
                read_option(&path, &key, value, given)?;
            }
        }
        (Some(_), None) => {}
        (None, value) => match PATHS.iter().position(|option| option.path == path) {
            Some(index) => given.paths[index] = value.map(|value| read_path(&PATHS[index], value)).transpose()?,
            None => return Err(unknown_option(group, &path, key)),
        },
    }
    Ok(())
}

fn read_path(option: &PathOption, value: Unknown<'_>) -> Read<PathBuf> {
    Ok(path(option, option.path, &string(CODE, option.path, value)?)?)
}

fn unknown_option(group: &str, path: &str, key: &str) -> Refusal {
    let mut known = names_in(group);
    if group.is_empty() {
        known.extend([BACKEND, "configFile", "logger"]);
    }
    if PATHS.iter().any(|option| option.group == group) {
        known.push("path");
    }
    // An option of another group, if only one has this name.
    let mut elsewhere = OPTIONS.iter().map(|option| option.path).filter(|other| other.ends_with(&format!(".{key}")));
    match (elsewhere.next(), elsewhere.next()) {
        (Some(other), None) => wrong(CODE, path, &format!("is not an option; did you mean `{other}`?")).into(),
        _ => unknown(Place::Other, CODE, path, key, &known),
    }
}

fn read_value(option: &EngineOption, value: Unknown<'_>) -> Read<Value> {
    match value.get_type()? {
        ValueType::Boolean => Ok(Value::Switch(bool::from_unknown(value)?)),
        ValueType::Number => Ok(Value::Number(f64::from_unknown(value)?)),
        ValueType::String if !option.names().is_empty() => {
            let text = string(CODE, option.path, value)?;
            let shown: String = text.chars().take(MAX_SHOWN).collect();
            option.name(&text).ok_or_else(|| option.refuse_other(option.path, &format!("'{shown}'")).into())
        }
        _ => Err(option.refuse_other(option.path, kind(&value)?).into()),
    }
}

fn read_backend(value: Unknown<'_>) -> Read<BackendChoice> {
    if value.get_type()? == ValueType::String {
        return match string(CODE, "backend", value)?.as_str() {
            "mlx" => Ok(BackendChoice::Mlx),
            other => Err(wrong_backend(&format!("must be 'mlx' or {{ simulated }}, not '{other}'"))),
        };
    }
    let (mut name, mut faults, mut answers, mut on_unmatched) = (None, Vec::new(), None, None);
    for (key, value) in entries("backend", CODE, value, MAX_PROPERTIES)? {
        match (key.as_str(), value) {
            ("simulated", Some(value)) => name = Some(string(CODE, "backend.simulated", value)?),
            ("faults", Some(value)) => faults = read_faults(value)?,
            ("answers", value) => answers = value,
            ("onUnmatched", Some(value)) => on_unmatched = Some(string(CODE, "backend.onUnmatched", value)?),
            ("simulated" | "faults" | "onUnmatched", None) => {}
            (key, _) => return Err(unknown(Place::Other, CODE, &format!("backend.{key}"), key, &OF_SIMULATED)),
        }
    }
    let name = name.ok_or_else(|| wrong_backend("must be 'mlx' or { simulated }"))?;
    let known = || PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ");
    let unknown = || wrong_backend(&format!("has no profile '{name}'; known are {}", known()));
    let profile = Profile::named(&name).ok_or_else(unknown)?;
    let scripted = Scripted::read(answers, on_unmatched.as_deref())?;
    Ok(BackendChoice::Simulated { profile, faults, scripted })
}

fn read_faults(value: Unknown<'_>) -> Read<Vec<Fault>> {
    let items = elements(CODE, "backend.faults", value, MAX_ELEMENTS)?.enumerate();
    items.map(|(index, item)| read_fault(&format!("backend.faults[{index}]"), item?)).collect()
}

fn read_fault(path: &str, value: Unknown<'_>) -> Read<Fault> {
    let mut fields = Fields::of(path, CODE, value)?;
    let step = fields.integer("step", 0..=MAX_SAFE_INTEGER)?.ok_or_else(|| fields.wrong("step", "is missing"))?;
    let kind = match fields.string("kind")?.as_deref() {
        Some("submit") => FaultKind::Submit,
        Some("collect") => FaultKind::Collect,
        Some("panic") => FaultKind::Panic,
        Some("memory") => FaultKind::Memory,
        Some("logits") => FaultKind::Logits,
        Some("thread") => FaultKind::Thread,
        Some("stall") => FaultKind::Stall(read_stall(&mut fields)?),
        _ => {
            let kinds = "must be 'submit', 'collect', 'panic', 'memory', 'logits', 'stall' or 'thread'";
            return Err(fields.wrong("kind", kinds));
        }
    };
    fields.finish()?;
    Ok(Fault { step, kind })
}

fn read_stall(fields: &mut Fields<'_>) -> Read<Duration> {
    let ms = fields.integer("ms", 1..=MAX_STALL_MS)?.ok_or_else(|| fields.wrong("ms", "is missing"))?;
    Ok(Duration::from_millis(ms))
}

fn wrong_backend(message: &str) -> Refusal {
    wrong(CODE, "backend", message).into()
}
