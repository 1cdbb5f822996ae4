//! The options whose values are paths. They are texts, and therefore not in the table.

/// An option whose value is a path.
#[derive(Debug, PartialEq, Eq)]
pub struct PathOption {
    /// Its path among the options, such as `cache.promptCache.path`.
    pub path: &'static str,
    /// The group that it belongs to; its name there is `path`.
    pub group: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// What it names: "a file".
    pub names: &'static str,
}

/// Index of the file of cached answers in [`PATHS`].
pub const ANSWERS_FILE: usize = 0;
/// Index of the folder of KV in [`PATHS`].
pub const PREFIX_FOLDER: usize = 1;

/// All options whose values are paths.
pub const PATHS: [PathOption; 2] = [
    PathOption {
        path: "cache.promptCache.path",
        group: "cache.promptCache",
        variable: "MLX_SERVING_PROMPT_CACHE_PATH",
        names: "a file",
    },
    PathOption {
        path: "cache.prefixCache.path",
        group: "cache.prefixCache",
        variable: "MLX_SERVING_PREFIX_CACHE_PATH",
        names: "a folder",
    },
];
