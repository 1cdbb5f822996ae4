//! Compiles the primitives against the MLX that mlx-sys found.
//!
//! Owns their compiler flags. Where MLX is and how it is linked is mlx-sys's business, told through `DEP_MLX_*`.

#![allow(clippy::print_stdout)] // a build script speaks to cargo through it

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
    let include = told("DEP_MLX_INCLUDE");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        // The same in debug and release builds: a debug build must not be a different model.
        .opt_level(3)
        .debug(false)
        // System headers: their warnings are not ours to fix.
        .flag("-isystem")
        .flag(told("DEP_MLX_MLX_C"))
        .flag("-isystem")
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("metal_cpp"))
        .flag("-include")
        .flag(told("DEP_MLX_STD_FORMAT"))
        .flags(told("DEP_MLX_CPP_FLAGS").to_string_lossy().split_whitespace())
        // Error messages name the header they come from: not with the path it has on this machine.
        .flag_if_supported(format!("-ffile-prefix-map={}=include", include.display()))
        // Vectors never cross a call that is not inlined, so the calling convention for them does not matter.
        .flag_if_supported("-Wno-psabi")
        .flag("-Wno-unused-parameter")
        .files(SOURCES)
        .compile("mlxops");
    for argument in run_path(&told("DEP_MLX_LIB_REFERENCE")) {
        println!("cargo::rustc-link-arg={argument}");
    }
}

/// What mlx-sys told its dependents.
fn told(variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| panic!("mlx-sys sets {variable}"), PathBuf::from)
}

/// How tests and examples find MLX's libraries; `LD_LIBRARY_PATH` goes first, where there is one.
fn run_path(folder: &Path) -> [String; 2] {
    let new_tags = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => ",--enable-new-dtags",
        _ => "",
    };
    [format!("-Wl,-rpath,{}", folder.display()), format!("-Wl{new_tags}")]
}
