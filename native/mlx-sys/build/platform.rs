//! The targets MLX is linked for, and how they differ.
//!
//! Owns names, file names and linker flags per target. Everything else in this build is the same on all of them.

use std::env;
use std::path::Path;

use crate::failure::{Failure, Result};

/// A target for which a release of MLX is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    LinuxX64,
    DarwinArm64,
}

impl Platform {
    /// The platform of cargo's target, which is not always the machine that builds.
    pub(crate) fn of_target() -> Result<Self> {
        let target = env::var("TARGET").unwrap_or_default();
        match target.as_str() {
            "x86_64-unknown-linux-gnu" => Ok(Self::LinuxX64),
            "aarch64-apple-darwin" => Ok(Self::DarwinArm64),
            _ => Err(Failure::new(format!(
                "MLX is linked for x86_64-unknown-linux-gnu and aarch64-apple-darwin; the target is {target}.\n\
                 Build for one of these, or without the feature that needs MLX (--no-default-features)."
            ))),
        }
    }

    /// Names folders of the cache and files of pinned wheels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LinuxX64 => "linux-x64",
            Self::DarwinArm64 => "darwin-arm64",
        }
    }

    /// What pip calls the oldest system that the pinned wheel runs on.
    pub(crate) fn wheel_tag(self) -> &'static str {
        match self {
            Self::LinuxX64 => "manylinux_2_35_x86_64",
            Self::DarwinArm64 => "macosx_14_0_arm64",
        }
    }

    /// The C++ runtime that MLX's own binary uses: two of them in one process would not pass exceptions to each other.
    pub(crate) fn cpp_runtime(self) -> &'static str {
        match self {
            Self::LinuxX64 => "stdc++",
            Self::DarwinArm64 => "c++",
        }
    }

    /// What C++ code that uses MLX must be compiled with, whatever the oldest system is that cargo builds for.
    pub(crate) fn cpp_flags(self) -> &'static [&'static str] {
        match self {
            Self::LinuxX64 => &[],
            // The system that the pinned wheel needs; for an older one the C++ library lacks std::format.
            Self::DarwinArm64 => &["-mmacosx-version-min=14.0"],
        }
    }

    /// Linker arguments by which a test finds its libraries. On Linux a RUNPATH, so that `LD_LIBRARY_PATH` goes first
    /// and can put another folder of libraries in its place.
    pub(crate) fn run_path(self, folder: &Path) -> Vec<String> {
        let path = format!("-Wl,-rpath,{}", folder.display());
        match self {
            Self::LinuxX64 => vec!["-Wl,--enable-new-dtags".to_owned(), path],
            Self::DarwinArm64 => vec![path],
        }
    }
}
