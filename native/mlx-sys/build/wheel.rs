//! Fetches MLX's released binaries with pip.
//!
//! It fetches and unpacks wheels with the hashes that are pinned in `wheels/`, the only place with a version of MLX.
//! `libraries` makes the layout for linking.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result, While};
use crate::in_package;
use crate::platform::Platform;

/// The variable with the folder of an unpacked wheel, which is used instead of fetching one.
pub(crate) const DIR_VARIABLE: &str = "MLX_SERVING_MLX_DIR";

/// Ways to call pip, starting with the one of the usual python.
const CLIENTS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// The unpacked wheel that the user provides, if any.
pub(crate) fn provided() -> Option<PathBuf> {
    env::var_os(DIR_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The version of MLX that is pinned for the platform, as in `mlx-cpu==0.32.2 --hash=…`.
pub(crate) fn version(platform: Platform) -> Result<String> {
    let path = requirements(platform);
    let text = fs::read_to_string(&path).when(|| format!("read {}", path.display()))?;
    text.split_once("==")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("{} pins no version", path.display())))
}

/// Fetches the pinned wheel and unpacks it into `folder`.
pub(crate) fn fetch(platform: Platform, folder: &Path) -> Result<()> {
    let client = client()?;
    let output = Command::new(client[0])
        .args(&client[1..])
        .args(["install", "--disable-pip-version-check", "--no-input", "--quiet", "--no-deps", "--no-compile"])
        .args(["--only-binary=:all:", "--require-hashes", "--platform", platform.wheel_tag()])
        .arg("--requirement")
        .arg(requirements(platform))
        .arg("--target")
        .arg(folder)
        .output()
        .when(|| format!("run {}", client.join(" ")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(unavailable(&format!(
        "`{} install` of wheels/{}.txt failed:\n{}",
        client.join(" "),
        platform.name(),
        said.trim()
    )))
}

fn requirements(platform: Platform) -> PathBuf {
    in_package("wheels").join(platform.name()).with_extension("txt")
}

fn client() -> Result<&'static [&'static str]> {
    let answers = |client: &&[&str]| {
        let version = Command::new(client[0]).args(&client[1..]).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    CLIENTS
        .into_iter()
        .find(answers)
        .ok_or_else(|| unavailable("pip was not found, neither as `python3 -m pip` nor as `pip3`."))
}

fn unavailable(reason: &str) -> Failure {
    Failure::new(format!(
        "MLX's released libraries could not be fetched from the Python package index. {reason}\n\
         Check that python3 with pip is installed and that pip reaches its index, \
         or set {DIR_VARIABLE} to a folder that holds the unpacked wheel."
    ))
}
