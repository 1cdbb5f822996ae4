//! Tells the linker where the addon, the tests and the benches find MLX's libraries when they run.
//!
//! Owns run paths only. Getting MLX, and linking against it, is native/mlx-sys's; laying libraries beside the addon is
//! tools/build/addon.mjs's, which reads the folder named here from cargo's messages.

use std::env;
use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    // Set where another machine's linker is stood in for: what it links against is otherwise unknown to cargo.
    println!("cargo::rerun-if-env-changed=MLX_SERVING_TOOLCHAIN");
    #[cfg(feature = "node")]
    napi_build::setup();
    // Absent without the feature `mlx`: then nothing here loads MLX.
    if let (Ok(reference), Ok(fast)) = (env::var("DEP_MLX_LIB_REFERENCE"), env::var("DEP_MLX_LIB_FAST")) {
        println!("cargo::rustc-env=MLX_SERVING_LIBRARIES={fast}");
        set_run_paths(&reference);
    }
}

/// Release: the addon, which is shipped, must look beside itself and nowhere else. Otherwise everything, unit tests
/// included, looks into the folder of reference libraries, whose results are the ones tests compare; cargo has no kind
/// of argument for unit tests alone. `LD_LIBRARY_PATH` goes first in both.
fn set_run_paths(reference: &str) {
    if env::var("PROFILE").as_deref() != Ok("release") {
        look_into("link-arg", reference);
        return;
    }
    let is_mac = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos");
    look_into("link-arg-cdylib", if is_mac { "@loader_path" } else { "$ORIGIN" });
    if is_mac {
        // Otherwise the library says by which path it was linked.
        println!("cargo::rustc-link-arg-cdylib=-Wl,-install_name,@rpath/mlx-serving.node");
    }
    let manifest = fs::read_to_string("Cargo.toml").unwrap_or_default();
    for (kind, folder) in [("test", "tests"), ("bench", "benches"), ("example", "examples")] {
        // Cargo refuses an argument for a kind of target that the package has none of.
        if manifest.contains(&format!("[[{kind}]]")) || has_rust(Path::new(folder)) {
            look_into(&format!("link-arg-{folder}"), reference);
        }
    }
}

/// On Linux a RUNPATH, which unlike an RPATH lets `LD_LIBRARY_PATH` go first, whatever the linker's default is.
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
