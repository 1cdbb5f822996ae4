//! The folder outside `target/` where fetched and compiled things are kept, shared by all checkouts of a user.
//!
//! Owns where it is and that a folder in it is whole or absent: it is prepared beside its place and renamed into it, so
//! that builds at the same time and killed builds do no harm. Does not know what the folders hold.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::failure::{Failure, Result, While};

/// Names another place for the cache.
pub(crate) const DIR_VARIABLE: &str = "MLX_SERVING_CACHE_DIR";

/// Written last into a folder that is whole; cargo watches it, so that a deleted cache is noticed.
const MARKER: &str = "complete";

/// The cache folder: the one named by the user, or `mlx-serving` in the system's place for caches.
pub(crate) fn root() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home_caches = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    set(DIR_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|caches| caches.join("mlx-serving")))
        .or_else(|| set("HOME").map(|home| home.join(home_caches).join("mlx-serving")))
        .ok_or_else(|| {
            Failure::new(format!(
                "no place for MLX's libraries: HOME is not set.\nSet {DIR_VARIABLE} to a folder to keep them in."
            ))
        })
}

/// Makes sure that `folder` is there and whole, calling `prepare` with an empty folder to fill if it is not.
pub(crate) fn keep(folder: &Path, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let marker = folder.join(MARKER);
    if !marker.is_file() {
        let work = work_folder(folder)?;
        let outcome = prepare(&work).and_then(|()| publish(&work, folder));
        // Gone already if it was renamed; otherwise the failure to report is the one above.
        let _ = fs::remove_dir_all(&work);
        outcome?;
    }
    println!("cargo::rerun-if-changed={}", marker.display());
    Ok(())
}

/// An empty folder beside the final one, on the same file system, that no other build uses.
fn work_folder(folder: &Path) -> Result<PathBuf> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let work = folder.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&work); // left by a killed build whose process number came round again
    fs::create_dir_all(&work).when(|| format!("make the folder {} (is {DIR_VARIABLE} writable?)", work.display()))?;
    Ok(work)
}

fn publish(work: &Path, folder: &Path) -> Result<()> {
    write_marker(&work.join(MARKER)).when(|| format!("write to {}", work.display()))?;
    if folder.exists() && !folder.join(MARKER).is_file() {
        fs::remove_dir_all(folder).when(|| format!("clear {}", folder.display()))?;
    }
    match fs::rename(work, folder) {
        // Another build got there first; its folder holds the same.
        Err(_) if folder.join(MARKER).is_file() => Ok(()),
        outcome => outcome.when(|| format!("move {} to {}", work.display(), folder.display())),
    }
}

/// The marker is dated long ago: cargo would take a file younger than this run's start for a change since.
fn write_marker(path: &Path) -> std::io::Result<()> {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::create(path)?.set_modified(long_ago)
}
