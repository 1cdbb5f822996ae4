//! The cache outside `target/` for fetched and compiled files, shared by all checkouts of a user.
//!
//! A folder in it is complete or absent: it is prepared beside its final place and then renamed, so that concurrent and
//! killed builds do no harm.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::failure::{Failure, Result, While};

/// The variable with another folder for the cache.
pub(crate) const DIR_VARIABLE: &str = "MLX_SERVING_CACHE_DIR";

/// Written last, into a complete folder. Cargo watches it, so that a deleted cache is rebuilt.
const MARKER: &str = "complete";

/// The cache folder: the user's, or `mlx-serving` in the system's folder of caches.
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

/// Ensures that `folder` is complete. If it is not, calls `prepare` with an empty folder to fill.
pub(crate) fn keep(folder: &Path, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let marker = folder.join(MARKER);
    if !marker.is_file() {
        let work = work_folder(folder)?;
        let outcome = prepare(&work).and_then(|()| publish(&work, folder));
        // The work folder does not exist any more if it was renamed. Otherwise the error above is reported.
        let _ = fs::remove_dir_all(&work);
        outcome?;
    }
    println!("cargo::rerun-if-changed={}", marker.display());
    Ok(())
}

/// An empty folder beside the final one, on the same file system, for this build only.
fn work_folder(folder: &Path) -> Result<PathBuf> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let work = folder.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&work); // left behind by a killed build with the same process id
    fs::create_dir_all(&work).when(|| format!("make the folder {} (is {DIR_VARIABLE} writable?)", work.display()))?;
    Ok(work)
}

fn publish(work: &Path, folder: &Path) -> Result<()> {
    write_marker(&work.join(MARKER)).when(|| format!("write to {}", work.display()))?;
    if folder.exists() && !folder.join(MARKER).is_file() {
        fs::remove_dir_all(folder).when(|| format!("clear {}", folder.display()))?;
    }
    match fs::rename(work, folder) {
        // Another build was first; its folder has the same content.
        Err(_) if folder.join(MARKER).is_file() => Ok(()),
        outcome => outcome.when(|| format!("move {} to {}", work.display(), folder.display())),
    }
}

/// The marker gets an old time: cargo would treat a file newer than the start of this run as changed.
fn write_marker(path: &Path) -> std::io::Result<()> {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::create(path)?.set_modified(long_ago)
}
