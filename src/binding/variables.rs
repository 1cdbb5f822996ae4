//! Warns of environment variables that begin like those of this package but are unknown. They are usually typing errors, which
//! would otherwise have no effect and cause no error.

use crate::config::{OPTIONS, PATHS, PREFIX, TOOL_VARIABLES};

use super::names::nearest;

/// Warnings show at most this many characters of a name, which is longer than every known one.
const MAX_CHARS: usize = 60;

/// A sentence about a variable, if the package does not know it.
pub(super) fn warning(name: &str) -> Option<String> {
    let is_option = OPTIONS.iter().any(|option| option.variable == Some(name))
        || PATHS.iter().any(|option| option.variable == name);
    if !name.starts_with(PREFIX) || is_option || TOOL_VARIABLES.contains(&name) {
        return None;
    }
    let shown: String = name.chars().take(MAX_CHARS).collect();
    let advice = similar(&shown)
        .map_or("`engine.config()` has the known ones".to_owned(), |similar| format!("did you mean `{similar}`?"));
    Some(format!("the environment variable `{shown}` is unknown and has no effect; {advice}"))
}

/// The known variable that is meant: the one whose own name is nearest, if at most a third of the letters are wrong, or else one
/// that has all words of the name.
fn similar(name: &str) -> Option<&'static str> {
    let options = OPTIONS.iter().filter_map(|option| Some((option.own_variable(), option.variable?, option.path)));
    let paths = PATHS.iter().map(|option| (option.variable.to_owned(), option.variable, option.path));
    let all: Vec<_> = options.chain(paths).collect();
    let stem = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let stem_of_name = stem(name);
    let meant = nearest(all.iter().map(|(own, variable, _)| (stem(own), *variable)), &stem_of_name);
    if meant.is_some() {
        return meant;
    }
    let has_all_words = |text: &str| stem_of_name.split('_').all(|word| !word.is_empty() && text.contains(word));
    let words = |(own, variable, path): &(String, &str, &str)| format!("{own} {variable} {}", path.to_uppercase());
    let fitting = all.iter().filter(|option| has_all_words(&words(option)));
    fitting.min_by_key(|(own, ..)| own.len()).map(|(_, variable, _)| *variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_cause_no_warning() {
        let options = OPTIONS.iter().filter_map(|option| option.variable);
        for name in options.chain(PATHS.map(|option| option.variable)).chain(TOOL_VARIABLES).chain([
            "MLX_METAL_DEBUG",
            "PATH",
            "",
        ]) {
            assert_eq!(warning(name), None);
        }
    }

    #[test]
    fn the_warning_about_an_unknown_variable_names_a_similar_one() {
        let cases = [
            ("MLX_SERVING_PRESETT", "MLX_SERVING_PRESET"),
            ("MLX_SERVING_MAXPENDING", "MLX_SERVING_MAX_PENDING"),
            ("MLX_SERVING_KV_BYTE", "MLX_SERVING_KV_BYTES"),
            ("MLX_SERVING_PROMPT_CACHE_FILE", PATHS[0].variable),
            ("MLX_SERVING_MEMORY_LIMIT", "MLX_SERVING_LIMIT_BYTES"),
            // These options have established variables.
            ("MLX_SERVING_BATCH_SIZE", "MLX_GPU_SCHEDULER_BATCH_SIZE"),
            ("MLX_SERVING_MAX_STEP_MS", "MLX_GPU_SCHEDULER_P99_THRESHOLD_MS"),
            ("MLX_SERVING_ADAPTIVE_WINDOW_ENABLED", "MLX_ADAPTIVE_WINDOW"),
        ];
        for (name, similar) in cases {
            let advice = format!("is unknown and has no effect; did you mean `{similar}`?");
            assert_eq!(warning(name), Some(format!("the environment variable `{name}` {advice}")));
        }
    }

    #[test]
    fn the_warning_names_no_variable_that_is_not_similar() {
        for name in ["MLX_SERVING_MAX_QUEUE", "MLX_SERVING_MAX_REQUESTS", "MLX_SERVING_LOG", "MLX_SERVING_"] {
            let advice = "is unknown and has no effect; `engine.config()` has the known ones";
            assert_eq!(warning(name), Some(format!("the environment variable `{name}` {advice}")));
        }
    }

    #[test]
    fn the_warning_shows_the_beginning_of_a_long_name() {
        let warning = warning(&format!("{PREFIX}{}", "X".repeat(1_000_000))).expect("it is unknown");
        assert!(warning.len() < 200, "{warning}");
    }
}
