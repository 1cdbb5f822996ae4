//! Compiles the primitives against the MLX that mlx-sys found.
//!
//! This file has their compiler flags. mlx-sys finds and links MLX, and passes its folders in `DEP_MLX_*`.

#![allow(clippy::print_stdout)] // cargo reads the output of a build script

use std::env;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 10] = [
    "cpp/api.cpp",
    "cpp/attention.cpp",
    "cpp/chain.cpp",
    "cpp/checked.cpp",
    "cpp/gemm.cpp",
    "cpp/kernels.cpp",
    "cpp/kv_store.cpp",
    "cpp/kv_update.cpp",
    "cpp/packed.cpp",
    "cpp/step.cpp",
];

fn main() {
    println!("cargo::rerun-if-changed=cpp");
    let include = variable_of("DEP_MLX_INCLUDE");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        // The same optimization in debug and release builds, so that both give the same results.
        .opt_level(3)
        .debug(false)
        // As system headers, so that their warnings are off.
        .flag("-isystem")
        .flag(variable_of("DEP_MLX_MLX_C"))
        .flag("-isystem")
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("metal_cpp"))
        .flag("-include")
        .flag(variable_of("DEP_MLX_STD_FORMAT"))
        .flags(variable_of("DEP_MLX_CPP_FLAGS").to_string_lossy().split_whitespace())
        // Error messages contain header paths; this removes the build folder from them.
        .flag_if_supported(format!("-ffile-prefix-map={}=include", include.display()))
        // All functions with vector arguments are inlined, so the calling convention for vectors does not matter.
        .flag_if_supported("-Wno-psabi")
        .flag("-Wno-unused-parameter")
        .files(SOURCES)
        .compile("mlxops");
    for argument in run_path(&variable_of("DEP_MLX_LIB_REFERENCE")) {
        println!("cargo::rustc-link-arg={argument}");
    }
}

/// A variable that mlx-sys sets for its dependents.
fn variable_of(variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| panic!("mlx-sys sets {variable}"), PathBuf::from)
}

/// Linker arguments by which tests and examples find MLX's libraries. `LD_LIBRARY_PATH` takes precedence.
fn run_path(folder: &Path) -> [String; 2] {
    let new_tags = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => ",--enable-new-dtags",
        _ => "",
    };
    [format!("-Wl,-rpath,{}", folder.display()), format!("-Wl{new_tags}")]
}
