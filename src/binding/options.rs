//! From the options of `createEngine` and `loadModel` to validated values.

use std::path::PathBuf;
use std::time::Duration;

use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, Unknown};

use crate::engine::Config;
use crate::error::Code;
use crate::executor::sim::{Fault, FaultKind, PROFILES, Profile};

use super::fields::{Fields, MAX_SAFE_INTEGER, Read, elements};

const CODE: Code = Code::ConfigError;

/// What an engine is started with.
pub(super) struct Options {
    pub(super) config: Config,
    pub(super) backend: BackendChoice,
}

/// What runs the models.
pub(super) enum BackendChoice {
    /// MLX on this machine.
    Mlx,
    /// A simulated device.
    Simulated { profile: Profile, faults: Vec<Fault> },
}

/// Reads the options of `createEngine`.
pub(super) fn read(options: Unknown<'_>) -> Read<Options> {
    let mut fields = Fields::of("", CODE, options)?;
    let backend = fields.value("backend")?.map_or(Ok(BackendChoice::Mlx), read_backend)?;
    let mut config = Config::default();
    read_scheduler(fields.nested("scheduler")?, &mut config)?;
    read_streaming(fields.nested("streaming")?, &mut config)?;
    fields.finish()?;
    Ok(Options { config, backend })
}

/// Reads the options of `loadModel`.
pub(super) fn read_load(options: Unknown<'_>) -> Read<PathBuf> {
    let mut fields = Fields::of("", Code::InvalidParams, options)?;
    let path = fields.string("path")?.ok_or_else(|| fields.wrong("path", "is missing"))?;
    fields.finish()?;
    Ok(PathBuf::from(path))
}

fn read_scheduler(mut fields: Fields<'_>, config: &mut Config) -> Read<()> {
    set(&mut config.scheduler.width.start, fields.integer("batchSize", 1..=64)?);
    set(&mut config.max_pending, fields.integer("maxQueue", 1..=1_000_000)?);
    set(&mut config.scheduler.prefill_chunk, fields.integer("prefillChunkTokens", 1..=65_536)?);
    fields.finish()
}

fn read_streaming(mut fields: Fields<'_>, config: &mut Config) -> Read<()> {
    set(&mut config.buffer_tokens, fields.integer("bufferTokens", 2..=65_536)?);
    if let Some(ms) = fields.integer("parkTimeoutMs", 1..=MAX_SAFE_INTEGER)? {
        config.scheduler.park_timeout = Duration::from_millis(ms);
    }
    fields.finish()
}

fn set(target: &mut usize, value: Option<u64>) {
    if let Some(value) = value.and_then(|value| usize::try_from(value).ok()) {
        *target = value;
    }
}

fn read_backend(value: Unknown<'_>) -> Read<BackendChoice> {
    if value.get_type()? == ValueType::String {
        return match String::from_unknown(value)?.as_str() {
            "mlx" => Ok(BackendChoice::Mlx),
            other => Err(wrong_backend(&format!("must be 'mlx' or {{ simulated }}, not '{other}'"))),
        };
    }
    let mut fields = Fields::of("backend", CODE, value)?;
    let name = fields.string("simulated")?.ok_or_else(|| wrong_backend("must be 'mlx' or { simulated }"))?;
    let faults = fields.value("faults")?.map_or(Ok(Vec::new()), read_faults)?;
    fields.finish()?;
    let known = || PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ");
    let unknown = || wrong_backend(&format!("has no profile '{name}'; known are {}", known()));
    let profile = Profile::named(&name).ok_or_else(unknown)?;
    Ok(BackendChoice::Simulated { profile, faults })
}

fn read_faults(value: Unknown<'_>) -> Read<Vec<Fault>> {
    let items = elements(CODE, "backend.faults", value)?.into_iter().enumerate();
    items.map(|(index, item)| read_fault(&format!("backend.faults[{index}]"), item)).collect()
}

fn read_fault(path: &str, value: Unknown<'_>) -> Read<Fault> {
    let mut fields = Fields::of(path, CODE, value)?;
    let step = fields.integer("step", 0..=MAX_SAFE_INTEGER)?.ok_or_else(|| fields.wrong("step", "is missing"))?;
    let kind = match fields.string("kind")?.as_deref() {
        Some("submit") => FaultKind::Submit,
        Some("collect") => FaultKind::Collect,
        Some("panic") => FaultKind::Panic,
        _ => return Err(fields.wrong("kind", "must be 'submit', 'collect' or 'panic'")),
    };
    fields.finish()?;
    Ok(Fault { step, kind })
}

fn wrong_backend(message: &str) -> super::fields::Refusal {
    super::fields::wrong(CODE, "backend", message).into()
}
