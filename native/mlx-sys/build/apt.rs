//! Unpacks a Debian package into a folder, without installing it and without root.
//!
//! It calls apt and dpkg. It uses the system's package lists, or fetches its own into the same folder. The system is not
//! changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result, While};

/// Options of apt: a short timeout for a missing network, and no change of user for a download into the builder's folder.
const OPTIONS: [&str; 6] =
    ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "APT::Sandbox::User=root"];

/// Downloads the package and unpacks its files into `folder`.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("lists/partial")).when(|| format!("make {}", folder.display()))?;
    download(package, folder, &[]).or_else(|_| {
        let own_lists = format!("Dir::State::Lists={}", folder.join("lists").display());
        let own_index = format!("Dir::Cache={}", folder.display());
        let options = ["-o", &own_lists, "-o", &own_index];
        run(apt(folder, &options).arg("update"))?;
        download(package, folder, &options)
    })?;
    for entry in fs::read_dir(folder).when(|| format!("read {}", folder.display()))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(folder))?;
        }
    }
    Ok(())
}

fn download(package: &str, folder: &Path, options: &[&str]) -> Result<()> {
    run(apt(folder, options).args(["download", package]))
}

fn apt(folder: &Path, options: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(folder).arg("--quiet").args(OPTIONS).args(options);
    apt
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().when(|| format!("run {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let program = command.get_program().display();
    Err(Failure::new(format!("{program} failed: {}", said.trim().lines().last().unwrap_or("no message"))))
}
