//! MLX's headers and libraries, laid out so that one folder holds all that a process loads.
//!
//! Owns that layout: `include/` and `lib-reference/`. On Linux `openblas` makes a second folder of libraries from it.
//! Does not fetch: `wheel` does.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, While};
use crate::platform::Platform;
use crate::{cache, openblas, wheel};

/// Where dependents and the linker find MLX.
pub(crate) struct Libraries {
    pub(crate) include: PathBuf,
    /// What was released, unchanged in what it computes.
    pub(crate) reference: PathBuf,
    /// The same with the fastest linear algebra that could be had; `reference` if there is no faster.
    pub(crate) fast: PathBuf,
}

/// Where the released libmlx.so looks for its libraries, and where they are in a folder that holds them all.
const RELEASED_RPATH: &[u8] = b"$ORIGIN/../../mlx_cpu.libs\0";
const FLAT_RPATH: &[u8] = b"$ORIGIN\0";

/// Fetches and lays out the libraries, unless an earlier build did.
pub(crate) fn prepare(platform: Platform) -> Result<Libraries> {
    let version = wheel::version(platform)?;
    let folder = root()?.join(format!("mlx-{version}-{}", platform.name()));
    cache::keep(&folder, |work| {
        let fetched = work.join("wheel");
        let unpacked = match wheel::provided() {
            Some(provided) => provided,
            None => wheel::fetch(platform, &fetched).map(|()| fetched.clone())?,
        };
        lay_out(platform, &unpacked, work)?;
        // A provided wheel leaves no such folder.
        let _ = fs::remove_dir_all(fetched);
        Ok(())
    })?;
    let reference = folder.join("lib-reference");
    let fast = match platform {
        Platform::LinuxX64 => openblas::prepare(&folder, &reference),
        Platform::DarwinArm64 => reference.clone(),
    };
    Ok(Libraries { include: folder.join("include"), reference, fast })
}

/// The cache; or, if the user provides the wheel, a place of this build's own, emptied because the wheel may have changed.
fn root() -> Result<PathBuf> {
    let Some(provided) = wheel::provided() else {
        return cache::root();
    };
    println!("cargo::rerun-if-changed={}", provided.join("mlx/lib").display());
    let root = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("provided");
    let _ = fs::remove_dir_all(&root);
    Ok(root)
}

fn lay_out(platform: Platform, wheel: &Path, work: &Path) -> Result<()> {
    let reference = work.join("lib-reference");
    copy_tree(&wheel.join("mlx/include"), &work.join("include"))?;
    copy_files(&wheel.join("mlx/lib"), &reference)?;
    if platform == Platform::LinuxX64 {
        copy_files(&wheel.join("mlx_cpu.libs"), &reference)?;
        flatten_rpath(&reference.join("libmlx.so"))?;
    }
    Ok(())
}

/// Copies the files of a folder, not its folders.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).when(doing)?;
    for entry in fs::read_dir(from).when(doing)? {
        let entry = entry.when(doing)?;
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).when(doing)?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    copy_files(from, to)?;
    for entry in fs::read_dir(from).when(|| format!("read {}", from.display()))?.flatten() {
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Shortens the library's search path, so that it finds its companions beside itself. It stays an RPATH, which also
/// serves the companions' own needs and which `LD_LIBRARY_PATH` cannot overrule: one folder, never a mixture.
fn flatten_rpath(library: &Path) -> Result<()> {
    shorten(library, RELEASED_RPATH, FLAT_RPATH)
}

/// Replaces a string inside a library by a shorter one, in place. Both end with the byte that ends strings there.
pub(crate) fn shorten(library: &Path, known: &[u8], short: &[u8]) -> Result<()> {
    let mut bytes = fs::read(library).when(|| format!("read {}", library.display()))?;
    let places: Vec<usize> = bytes
        .windows(known.len())
        .enumerate()
        .filter_map(|(place, window)| (window == known).then_some(place))
        .collect();
    let [place] = places[..] else {
        return Err(Failure::new(format!(
            "{} does not hold {:?}, which is known of it, once; it is not the pinned release of MLX.",
            library.display(),
            String::from_utf8_lossy(known).trim_end_matches('\0')
        )));
    };
    bytes[place..place + short.len()].copy_from_slice(short);
    fs::write(library, bytes).when(|| format!("write {}", library.display()))
}
