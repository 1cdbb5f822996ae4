//! Paths of files as options and runtime files give them.

use std::path::PathBuf;

use crate::config::PathOption;
use crate::error::{Code, Result};

use super::fields::wrong;

/// Characters of a wrong path that its error shows.
const MAX_SHOWN: usize = 40;

/// A path; `name` is the key or the variable that has it.
pub(super) fn path(option: &PathOption, name: &str, text: &str) -> Result<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        let shown: String = text.chars().take(MAX_SHOWN).collect();
        return Err(wrong(
            Code::ConfigError,
            name,
            &format!("must be the path of {}, not '{}'", option.names, shown.escape_debug()),
        ));
    }
    Ok(PathBuf::from(text))
}
