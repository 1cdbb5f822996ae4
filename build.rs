//! Sets the run paths by which the addon, the tests and the benchmarks find MLX's libraries.
//!
//! native/mlx-sys fetches MLX and links against it. tools/build/addon.mjs copies the libraries beside the addon; it reads the
//! folder that this script names from cargo's messages.

use std::env;
use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    // Set in a cross-build. Cargo does not know the libraries of the replaced linker otherwise.
    println!("cargo::rerun-if-env-changed=MLX_SERVING_TOOLCHAIN");
    #[cfg(feature = "node")]
    napi_build::setup();
    // Absent without the feature `mlx`: then no target loads MLX.
    if let (Ok(reference), Ok(fast)) = (env::var("DEP_MLX_LIB_REFERENCE"), env::var("DEP_MLX_LIB_FAST")) {
        println!("cargo::rustc-env=MLX_SERVING_LIBRARIES={fast}");
        set_run_paths(&reference);
    }
}

/// In a release, the addon must look beside itself and nowhere else. Otherwise all targets, also unit tests, look into the
/// folder of reference libraries, whose results the tests compare; cargo has no argument for unit tests alone.
/// `LD_LIBRARY_PATH` has precedence in both cases.
fn set_run_paths(reference: &str) {
    if env::var("PROFILE").as_deref() != Ok("release") {
        look_into("link-arg", reference);
        return;
    }
    let is_mac = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos");
    look_into("link-arg-cdylib", if is_mac { "@loader_path" } else { "$ORIGIN" });
    if is_mac {
        // Otherwise the library records the path by which it was linked.
        println!("cargo::rustc-link-arg-cdylib=-Wl,-install_name,@rpath/mlx-serving.node");
    }
    let manifest = fs::read_to_string("Cargo.toml").unwrap_or_default();
    for (kind, folder) in [("test", "tests"), ("bench", "benches"), ("example", "examples")] {
        // Cargo refuses an argument for a kind of target that the package does not have.
        if manifest.contains(&format!("[[{kind}]]")) || has_rust(Path::new(folder)) {
            look_into(&format!("link-arg-{folder}"), reference);
        }
    }
}

/// On Linux a RUNPATH, whatever the linker's default is: unlike an RPATH it gives `LD_LIBRARY_PATH` precedence.
fn look_into(instruction: &str, folder: &str) {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-{instruction}=-Wl,--enable-new-dtags");
    }
    println!("cargo::rustc-{instruction}=-Wl,-rpath,{folder}");
}

fn has_rust(folder: &Path) -> bool {
    let is_rust = |file: fs::DirEntry| file.path().extension().is_some_and(|extension| extension == "rs");
    folder.read_dir().is_ok_and(|files| files.flatten().any(is_rust))
}
