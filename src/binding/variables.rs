//! Environment variables that begin like those of this package, and that the package does not know: typing errors, which would
//! otherwise have no effect and no error.

use crate::config::{OPTIONS, PATH_VARIABLE, PREFIX, TOOL_VARIABLES};

use super::names::distance;

/// Warnings show at most this many characters of a name, which is longer than every known one.
const MAX_CHARS: usize = 60;

/// A sentence about a variable, if the package does not know it.
pub(super) fn warning(name: &str) -> Option<String> {
    let is_option = OPTIONS.iter().any(|option| option.variable == Some(name)) || name == PATH_VARIABLE;
    if !name.starts_with(PREFIX) || is_option || TOOL_VARIABLES.contains(&name) {
        return None;
    }
    let shown: String = name.chars().take(MAX_CHARS).collect();
    let nearest = nearest(&shown);
    Some(format!(
        "the environment variable `{shown}` is unknown and has no effect; the nearest known one is `{nearest}`"
    ))
}

/// The variable of the option whose own name is nearest. Some options have another variable.
fn nearest(name: &str) -> &'static str {
    let options = OPTIONS.iter().filter_map(|option| Some((option.own_variable(), option.variable?)));
    let all = options.chain([(PATH_VARIABLE.to_owned(), PATH_VARIABLE)]);
    all.min_by_key(|(own, _)| distance(own, name)).map_or(PATH_VARIABLE, |(_, variable)| variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_cause_no_warning() {
        let options = OPTIONS.iter().filter_map(|option| option.variable);
        for name in options.chain([PATH_VARIABLE]).chain(TOOL_VARIABLES).chain(["MLX_METAL_DEBUG", "PATH", ""]) {
            assert_eq!(warning(name), None);
        }
    }

    #[test]
    fn the_warning_about_an_unknown_variable_names_the_nearest_known_one() {
        let cases = [
            ("MLX_SERVING_PRESETT", "MLX_SERVING_PRESET"),
            ("MLX_SERVING_MAXPENDING", "MLX_SERVING_MAX_PENDING"),
            ("MLX_SERVING_KV_BYTE", "MLX_SERVING_KV_BYTES"),
            ("MLX_SERVING_PROMPT_CACHE_FILE", PATH_VARIABLE),
            // These options have established variables.
            ("MLX_SERVING_BATCH_SIZE", "MLX_GPU_SCHEDULER_BATCH_SIZE"),
            ("MLX_SERVING_MAX_STEP_MS", "MLX_GPU_SCHEDULER_P99_THRESHOLD_MS"),
            ("MLX_SERVING_ADAPTIVE_WINDOW_ENABLED", "MLX_ADAPTIVE_WINDOW"),
        ];
        for (name, nearest) in cases {
            let expected = format!(
                "the environment variable `{name}` is unknown and has no effect; the nearest known one is `{nearest}`"
            );
            assert_eq!(warning(name), Some(expected));
        }
    }

    #[test]
    fn the_warning_shows_the_beginning_of_a_long_name() {
        let warning = warning(&format!("{PREFIX}{}", "X".repeat(1_000_000))).expect("it is unknown");
        assert!(warning.len() < 200, "{warning}");
    }
}
