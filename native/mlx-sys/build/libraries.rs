//! MLX's headers and libraries, in folders that have everything a process loads.
//!
//! The layout is `include/` and `lib-reference/`. On Linux `openblas` makes a second folder of libraries from it. `wheel`
//! fetches the files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, While};
use crate::platform::Platform;
use crate::{cache, openblas, wheel};

/// The folders of MLX for dependents and the linker.
pub(crate) struct Libraries {
    pub(crate) include: PathBuf,
    /// The released libraries, with unchanged results.
    pub(crate) reference: PathBuf,
    /// The same with OpenBLAS, or `reference` if OpenBLAS is not available.
    pub(crate) fast: PathBuf,
}

/// The search path of the released libmlx.so.
const RELEASED_RPATH: &[u8] = b"$ORIGIN/../../mlx_cpu.libs\0";
const FLAT_RPATH: &[u8] = b"$ORIGIN\0";

/// Fetches the libraries and makes the layout, unless an earlier build did.
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
        // A provided wheel has no such folder.
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

/// The cache. If the user provides the wheel, an empty folder of this build, as the wheel may have changed.
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

/// Copies the files of a folder, without its subfolders.
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

/// Shortens the search path of the library, so that it finds the other libraries beside itself. It stays an RPATH, which the
/// other libraries use too and `LD_LIBRARY_PATH` does not override: all libraries are from one folder.
fn flatten_rpath(library: &Path) -> Result<()> {
    shorten(library, RELEASED_RPATH, FLAT_RPATH)
}

/// Replaces a string inside a library by a shorter one, in place. Both end with a zero byte.
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
