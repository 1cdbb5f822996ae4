//! The targets that MLX is linked for: names, file names and linker flags. The rest of this build is the same for all targets.

use std::env;
use std::path::Path;

use crate::failure::{Failure, Result};

/// A target with a release of MLX.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    LinuxX64,
    DarwinArm64,
}

impl Platform {
    /// The platform of cargo's target, which may differ from the building machine.
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

    /// Its name in folders of the cache and files of pinned wheels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LinuxX64 => "linux-x64",
            Self::DarwinArm64 => "darwin-arm64",
        }
    }

    /// Pip's tag of the oldest system that the pinned wheel runs on.
    pub(crate) fn wheel_tag(self) -> &'static str {
        match self {
            Self::LinuxX64 => "manylinux_2_35_x86_64",
            Self::DarwinArm64 => "macosx_14_0_arm64",
        }
    }

    /// The C++ runtime of MLX's own binary. With two runtimes in one process, exceptions would not pass between them.
    pub(crate) fn cpp_runtime(self) -> &'static str {
        match self {
            Self::LinuxX64 => "stdc++",
            Self::DarwinArm64 => "c++",
        }
    }

    /// Flags for C++ code that uses MLX, whatever the oldest system is that cargo builds for.
    pub(crate) fn cpp_flags(self) -> &'static [&'static str] {
        match self {
            Self::LinuxX64 => &[],
            // The system that the pinned wheel needs; for an older one the C++ library lacks std::format.
            Self::DarwinArm64 => &["-mmacosx-version-min=14.0"],
        }
    }

    /// Linker arguments by which a test finds its libraries. On Linux a RUNPATH, so that `LD_LIBRARY_PATH` can replace it by
    /// another folder of libraries.
    pub(crate) fn run_path(self, folder: &Path) -> Vec<String> {
        let path = format!("-Wl,-rpath,{}", folder.display());
        match self {
            Self::LinuxX64 => vec!["-Wl,--enable-new-dtags".to_owned(), path],
            Self::DarwinArm64 => vec![path],
        }
    }
}
