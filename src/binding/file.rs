//! Reads the entries of a runtime file, which `lib/` has parsed. An unknown key is an error that names the nearest known one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use crate::config::{
    EngineOption, FileEntry, FileKey, FilePlace, PATHS, PathOption, RuntimeFile, Value, keys, keys_of,
};
use crate::error::{Error, Result};

use super::names::{distance, plain};
use super::paths::path;

/// Error messages show at most this many characters of a key or value.
const MAX_SHOWN: usize = 80;

/// A runtime file. Its syntax is correct, and no section or key stands twice in it.
#[napi(object, object_to_js = false)]
pub struct NativeFile {
    /// The absolute path of the file.
    pub path: String,
    /// The environment that this process runs in.
    pub environment: Option<String>,
    /// Its values, in their order.
    pub entries: Vec<NativeEntry>,
}

/// A value of a runtime file.
#[napi(object, object_to_js = false)]
pub struct NativeEntry {
    /// The key, with dots between the sections, without the environment.
    pub key: String,
    /// The environment that it is for; absent for all of them.
    pub environment: Option<String>,
    /// Counted from 1.
    pub line: u32,
    /// A boolean, a number or a text. Absent for a key without a value, and for a value of another kind.
    pub value: Option<Either3<bool, f64, String>>,
    /// What the value is, if no option takes values of this kind: "a list".
    pub other: Option<String>,
}

/// A key of a runtime file.
#[napi(object)]
pub struct NativeFileKey {
    /// The key, with dots between the sections.
    pub key: String,
    /// The option that it sets.
    pub option: String,
    /// Whether it causes a warning.
    pub is_deprecated: bool,
}

/// The values of a runtime file.
#[derive(Default)]
pub(super) struct File {
    /// The values of options of the table.
    pub(super) settings: RuntimeFile,
    /// The values of [`PATHS`], and where they are.
    pub(super) paths: [Option<(PathBuf, FilePlace)>; PATHS.len()],
}

/// All keys, those of an option together.
pub(super) fn all_keys() -> Vec<NativeFileKey> {
    let of_table = keys().map(|(key, option)| (key, option.path));
    let of_paths = PATHS.iter().flat_map(|option| keys_of(option.path).into_iter().map(|key| (key, option.path)));
    let all = of_table.chain(of_paths);
    all.map(|(FileKey { name, is_deprecated }, option)| NativeFileKey {
        key: name,
        option: option.into(),
        is_deprecated,
    })
    .collect()
}

/// The values of a file.
pub(super) fn read(file: NativeFile) -> Result<File> {
    let name: Arc<str> = file.path.as_str().into();
    let mut read = File::default();
    let mut paths: Vec<(&PathOption, Option<String>, PathBuf, FilePlace)> = Vec::new();
    for NativeEntry { key, environment, line, value, other } in file.entries {
        let within = environment.as_ref().map(|name| format!("environments.{name}.")).unwrap_or_default();
        let place = FilePlace { key: format!("{within}{key}"), file: Arc::clone(&name), line };
        let found = find(&key).ok_or_else(|| unknown(&key, &place))?;
        let wrong = |allowed: &str, found: &str| {
            place.locate(Error::config(&place.key, format!("must be {allowed}, not {found}")))
        };
        match (found, value, other) {
            // As in options, a key without a value is left out.
            (_, None, None) => {}
            (Found::Section, Some(value), _) => return Err(wrong("a section with keys", &shown(&value))),
            (Found::Section, None, Some(other)) => return Err(wrong("a section with keys", &other)),
            (Found::Option(option), Some(value), _) => {
                let value = value_of(option, &value).ok_or_else(|| wrong(&option.allowed(), &shown(&value)))?;
                read.settings.entries.push(FileEntry { option, value, place, environment });
            }
            (Found::Option(option), None, Some(other)) => return Err(wrong(&option.allowed(), &other)),
            (Found::Path(option), Some(Either3::C(text)), _) => {
                let path = path(option, &place.key, &text).map_err(|error| place.locate(error))?;
                let is_same = |other: &&(&PathOption, _, _, _)| other.0 == option && other.1 == environment;
                if let Some((.., first)) = paths.iter().find(is_same) {
                    let message = format!("sets the same option as `{}` in line {}", first.key, first.line);
                    return Err(place.locate(Error::config(&place.key, message)));
                }
                paths.push((option, environment, beside(&name, &path), place));
            }
            (Found::Path(option), value, other) => {
                let found = value.map(|value| shown(&value)).or(other).unwrap_or_default();
                return Err(wrong(&format!("the path of {}", option.names), &found));
            }
        }
    }
    let own = file.environment;
    // A path for the environment of this process overrides the path for all environments.
    paths.retain(|(_, of, ..)| of.is_none() || *of == own);
    paths.sort_by_key(|(_, of, ..)| of.is_some());
    for (option, _, path, place) in paths {
        if let Some(index) = PATHS.iter().position(|other| other == option) {
            read.paths[index] = Some((path, place));
        }
    }
    read.settings.environment = own;
    Ok(read)
}

/// What a key stands for.
enum Found {
    Option(&'static EngineOption),
    /// An option that is not in the table.
    Path(&'static PathOption),
    Section,
}

fn find(name: &str) -> Option<Found> {
    if let Some((_, option)) = keys().find(|(key, _)| key.name == name) {
        return Some(Found::Option(option));
    }
    if let Some(option) = PATHS.iter().find(|option| keys_of(option.path).iter().any(|key| key.name == name)) {
        return Some(Found::Path(option));
    }
    let is_section = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    all_keys().iter().any(|key| is_section(&key.key)).then_some(Found::Section)
}

/// A value for an option. Nothing is converted, except that a switch also takes the words `on` and `off` of YAML 1.1.
fn value_of(option: &EngineOption, value: &Either3<bool, f64, String>) -> Option<Value> {
    match value {
        Either3::A(on) => option.is_switch().then_some(Value::Switch(*on)),
        Either3::B(number) => option.range().map(|_| Value::Number(*number)),
        Either3::C(text) if option.is_switch() => match text.to_ascii_lowercase().as_str() {
            "on" => Some(Value::Switch(true)),
            "off" => Some(Value::Switch(false)),
            _ => None,
        },
        Either3::C(text) => option.name(text),
    }
}

fn shown(value: &Either3<bool, f64, String>) -> String {
    match value {
        Either3::A(on) => on.to_string(),
        Either3::B(number) => Value::Number(*number).to_string(),
        Either3::C(text) => format!("'{}'", cut(text)),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect::<String>().escape_debug().to_string()
}

/// A path in a file is relative to the folder of the file.
fn beside(file: &str, path: &Path) -> PathBuf {
    Path::new(file).parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

fn unknown(key: &str, place: &FilePlace) -> Error {
    let place = FilePlace { key: cut(&place.key), ..place.clone() };
    let message = format!("is not a key of a runtime file; the nearest known key is `{}`", nearest(key));
    place.locate(Error::config(&place.key, message))
}

/// The known key that is nearest. A key in a wrong section is nearer than another one.
fn nearest(key: &str) -> String {
    let last = |key: &str| plain(key.rsplit('.').next().unwrap_or(key));
    let known = all_keys().into_iter().filter(|known| !known.is_deprecated).map(|known| known.key);
    let far = |known: &String| (last(known) != last(key), distance(&plain(known), &plain(key)));
    known.min_by_key(far).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_has_the_same_name_in_another_section_or_a_similar_one() {
        let cases = [
            ("scheduler.batchSize", "scheduler.batch_size"),
            ("scheduler.btach_size", "scheduler.batch_size"),
            ("batch_size", "scheduler.batch_size"),
            ("prompt_cache.max_entires", "prompt_cache.max_entries"),
            ("dedup.ttl_ms", "cache.dedup.ttl_ms"),
            ("request_dedup.enabled", "cache.dedup.enabled"),
            ("presets", "preset"),
        ];
        for (key, expected) in cases {
            assert_eq!(nearest(key), expected, "{key}");
        }
    }
}
