//! Compiles mlx-c from the sources in the published crate of this name.
//!
//! It finds the sources in cargo's own store, compiles them, and caches the archive. MLX's headers come with its libraries.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result, While};
use crate::platform::Platform;
use crate::{cache, in_package};

/// The compiled library and its sources.
pub(crate) struct Archive {
    /// The folder of `libmlxc.a`.
    pub(crate) folder: PathBuf,
    /// The folder of `mlx/c/*.h`, including private headers.
    pub(crate) sources: PathBuf,
}

/// Compiles mlx-c, unless an earlier build with the same compiler and sources did.
pub(crate) fn prepare(platform: Platform, mlx_include: &Path) -> Result<Archive> {
    let sources = sources()?;
    let mut build = compiler(&sources, mlx_include)?;
    build.flags(platform.cpp_flags());
    let name = format!("mlx-c-{}-{:016x}", env!("CARGO_PKG_VERSION"), fingerprint(&build)?);
    let folder = cache::root()?.join(name);
    cache::keep(&folder, |work| {
        let objects = work.join("objects");
        build.out_dir(&objects);
        build.try_compile("mlxc").when(|| "compile mlx-c (a C++20 compiler is needed)".to_owned())?;
        fs::rename(objects.join("libmlxc.a"), work.join("libmlxc.a"))
            .and_then(|()| fs::remove_dir_all(objects))
            .when(|| format!("keep what was compiled in {}", work.display()))
    })?;
    Ok(Archive { folder, sources })
}

/// The folder of mlx-c inside the published crate. Cargo fetches the crate and verifies it against the lock file.
fn sources() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version=1", "--manifest-path"])
        .arg(in_package("mlx-c-source/Cargo.toml"))
        .output()
        .when(|| "run cargo".to_owned())?;
    let package = format!("/mlx-sys-{}/Cargo.toml", env!("CARGO_PKG_VERSION"));
    let said = String::from_utf8_lossy(&output.stdout);
    said.split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find_map(|manifest| manifest.ends_with(&package).then(|| Path::new(manifest).with_file_name("src/mlx-c")))
        .ok_or_else(|| {
            let reason = String::from_utf8_lossy(&output.stderr);
            Failure::new(format!(
                "the sources of mlx-c could not be fetched with the crate that carries them: {}\n\
                 Check that cargo reaches crates.io.",
                reason.trim()
            ))
        })
}

fn compiler(sources: &Path, mlx_include: &Path) -> Result<cc::Build> {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        // The same optimization in debug and release builds, so that both use one archive.
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .cargo_metadata(false)
        .include(sources)
        .include(mlx_include)
        .include(mlx_include.join("metal_cpp"))
        .flag("-include")
        .flag(in_package("cpp/std_format.h"))
        // Error messages contain source paths; this removes the build folder from them.
        .flag_if_supported(format!("-ffile-prefix-map={}=mlx-c", sources.display()))
        .flag_if_supported(format!("-ffile-prefix-map={}=include", mlx_include.display()))
        .flag_if_supported(concat!("-ffile-prefix-map=", env!("CARGO_MANIFEST_DIR"), "=mlx-sys"))
        .file(in_package("cpp/half.cpp"))
        .files(cpp_files(&sources.join("mlx/c"))?);
    Ok(build)
}

fn cpp_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).when(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension() == Some(OsStr::new("cpp")));
    files.sort();
    Ok(files)
}

/// Identifies the inputs of the archive: compiler, the user's flags, target, the sources here, version of MLX. The version of
/// mlx-c is in the name of the folder.
fn fingerprint(build: &cc::Build) -> Result<u64> {
    let compiler = build.try_get_compiler().when(|| "find a C++ compiler".to_owned())?;
    let version =
        compiler.to_command().arg("--version").output().when(|| format!("run {}", compiler.path().display()))?;
    let mut hasher = DefaultHasher::new();
    version.stdout.hash(&mut hasher);
    for variable in ["TARGET", "CXXFLAGS"] {
        env::var_os(variable).hash(&mut hasher);
    }
    for input in [
        "cpp/std_format.h",
        "cpp/half.cpp",
        "build/mlx_c.rs",
        "build/platform.rs",
        "wheels/linux-x64.txt",
        "wheels/darwin-arm64.txt",
    ] {
        fs::read(in_package(input)).when(|| format!("read {input}"))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
