//! Tells the linker where the addon, the tests and the benches find MLX's libraries when they run.
//!
//! Owns run paths only. Getting MLX, and linking against it, is native/mlx-sys's; laying libraries beside the addon is
//! tools/build/addon.mjs's, which reads the folder named here from cargo's messages.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
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
    let kept = format!("-Wl,-rpath,{reference}");
    if env::var("PROFILE").as_deref() != Ok("release") {
        println!("cargo::rustc-link-arg={kept}");
        return;
    }
    for argument in beside_itself() {
        println!("cargo::rustc-link-arg-cdylib={argument}");
    }
    for kind in ["tests", "benches", "examples"] {
        // Cargo refuses an argument for a kind of target that the package has none of.
        if Path::new(kind).read_dir().is_ok_and(|mut files| files.any(|file| is_rust(file.ok().as_ref()))) {
            println!("cargo::rustc-link-arg-{kind}={kept}");
        }
    }
}

/// On Linux a RUNPATH, which unlike an RPATH lets `LD_LIBRARY_PATH` go first whatever the linker's default is.
fn beside_itself() -> &'static [&'static str] {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => &["-Wl,-rpath,@loader_path"],
        _ => &["-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN"],
    }
}

fn is_rust(file: Option<&std::fs::DirEntry>) -> bool {
    file.is_some_and(|file| file.path().extension().is_some_and(|extension| extension == "rs"))
}
