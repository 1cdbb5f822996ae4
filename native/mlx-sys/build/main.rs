//! Links MLX: fetches its released binaries, compiles mlx-c against them, and passes the folders to cargo.
//!
//! Each step is a module. A step runs once for the same inputs, for all checkouts, because results are in the user's cache
//! folder.

#![allow(clippy::print_stdout)] // cargo reads the output of a build script
#![allow(clippy::doc_markdown)] // OpenBLAS is a name

mod apt;
mod cache;
mod failure;
mod libraries;
mod mlx_c;
mod openblas;
mod platform;
mod wheel;

use std::path::PathBuf;

use failure::Result;
use libraries::Libraries;
use platform::Platform;

/// Inputs of this script besides the cached results. A change makes it run again.
const INPUTS: [&str; 5] = ["build", "cpp", "wheels", "mlx-c-source/Cargo.toml", "mlx-c-source/Cargo.lock"];
const VARIABLES: [&str; 6] = [cache::DIR_VARIABLE, wheel::DIR_VARIABLE, "XDG_CACHE_HOME", "HOME", "CXX", "CXXFLAGS"];

fn main() {
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    for variable in VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Err(failure) = link() {
        // These lines make cargo fail the build, and it shows them without the output of a failed process.
        for line in failure.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn link() -> Result<()> {
    let platform = Platform::of_target()?;
    let libraries = libraries::prepare(platform)?;
    let archive = mlx_c::prepare(platform, &libraries.include)?;
    tell_linker(platform, &libraries, &archive.folder);
    tell_dependents(platform, &libraries, &archive);
    Ok(())
}

fn tell_linker(platform: Platform, libraries: &Libraries, archive: &std::path::Path) {
    println!("cargo::rustc-link-search=native={}", archive.display());
    println!("cargo::rustc-link-lib=static=mlxc");
    println!("cargo::rustc-link-search=native={}", libraries.reference.display());
    println!("cargo::rustc-link-lib=dylib=mlx");
    println!("cargo::rustc-link-lib=dylib={}", platform.cpp_runtime());
    for argument in platform.run_path(&libraries.reference) {
        println!("cargo::rustc-link-arg={argument}");
    }
}

/// Variables `DEP_MLX_*` for the build scripts of packages that depend on this one. The README documents them.
fn tell_dependents(platform: Platform, libraries: &Libraries, archive: &mlx_c::Archive) {
    println!("cargo::metadata=lib_reference={}", libraries.reference.display());
    println!("cargo::metadata=lib_fast={}", libraries.fast.display());
    println!("cargo::metadata=include={}", libraries.include.display());
    println!("cargo::metadata=mlx_c={}", archive.sources.display());
    println!("cargo::metadata=cpp_flags={}", platform.cpp_flags().join(" "));
    println!("cargo::metadata=std_format={}", in_package("cpp/std_format.h").display());
}

/// A path inside this package.
fn in_package(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
