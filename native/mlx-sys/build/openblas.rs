//! A second folder of libraries, with OpenBLAS in place of the reference BLAS, which is about 50 times slower.
//!
//! It finds OpenBLAS and installs it in the folder. Only speed depends on it: without OpenBLAS the build warns and uses the
//! reference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result, While};
use crate::{apt, cache, libraries};

/// The name by which OpenBLAS loads the Fortran runtime.
const FORTRAN: &str = "libgfortran.so.5";
/// The version of the layout. A folder that an earlier version of this build made is not used.
const LAYOUT: u32 = 2;

/// The folder with OpenBLAS, which is made if no earlier build did. `reference` without OpenBLAS.
pub(crate) fn prepare(mlx: &Path, reference: &Path) -> PathBuf {
    let name = mlx.file_name().unwrap_or_default().to_string_lossy();
    let folder = mlx.with_file_name(format!("{name}-openblas-{LAYOUT}"));
    let made = cache::keep(&folder, |work| assemble(reference, work));
    match made {
        Ok(()) => folder.join("lib-fast"),
        Err(failure) => {
            warn(&failure);
            reference.to_owned()
        }
    }
}

fn warn(failure: &Failure) {
    for line in failure.to_string().lines() {
        println!("cargo::warning={line}");
    }
    println!(
        "cargo::warning=MLX uses the reference BLAS it was released with, which is much slower. \
         Install OpenBLAS (Debian, Ubuntu: libopenblas0-pthread) and build again."
    );
}

fn assemble(reference: &Path, work: &Path) -> Result<()> {
    let packages = work.join("packages");
    let openblas = match installed() {
        Some(found) => found,
        None => apt::unpack("libopenblas0-pthread", &packages).and_then(|()| unpacked(&packages))?,
    };
    let fast = work.join("lib-fast");
    libraries::copy_files(reference, &fast)?;
    replace_blas(&fast, &openblas)?;
    let _ = fs::remove_dir_all(packages);
    verify(&fast)
}

/// Installs OpenBLAS under the name of libmlx's BLAS, and the released Fortran runtime under the name that OpenBLAS loads. The
/// released LAPACK loads it by another name, which is replaced, so that one copy is shipped and loaded.
fn replace_blas(fast: &Path, openblas: &Path) -> Result<()> {
    let doing = || format!("put {} into {}", openblas.display(), fast.display());
    fs::copy(openblas, library(fast, "libblas-")?).when(doing)?;
    let runtime = library(fast, "libgfortran-")?;
    let released = format!("{}\0", runtime.file_name().unwrap_or_default().to_string_lossy());
    libraries::shorten(&library(fast, "liblapack-")?, released.as_bytes(), format!("{FORTRAN}\0").as_bytes())?;
    fs::rename(runtime, fast.join(FORTRAN)).when(doing)
}

/// The library in the folder whose name starts with `beginning`. A hash of the release follows.
fn library(folder: &Path, beginning: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).when(|| format!("read {}", folder.display()))?;
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning));
    let mut found = entries.flatten().map(|entry| entry.path()).filter(named);
    found.next().ok_or_else(|| Failure::new(format!("no {beginning}* among MLX's libraries in {}", folder.display())))
}

/// The OpenBLAS that the system's loader finds.
fn installed() -> Option<PathBuf> {
    let ask = |program: &str| Command::new(program).arg("-p").output().ok();
    let known = ask("ldconfig").or_else(|| ask("/sbin/ldconfig"))?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    known
        .lines()
        .filter(|line| line.trim_start().starts_with("libopenblas") && line.contains("x86-64"))
        .filter_map(|line| line.split_once("=>"))
        .find_map(|(_, path)| fs::canonicalize(path.trim()).ok())
}

/// The OpenBLAS in an unpacked package.
fn unpacked(packages: &Path) -> Result<PathBuf> {
    let library = packages.join("usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0");
    fs::canonicalize(&library).when(|| "find the library in the OpenBLAS package".to_owned())
}

/// Resolves every symbol with the loader, so that an OpenBLAS that needs a newer Fortran runtime is detected now.
fn verify(fast: &Path) -> Result<()> {
    let output = Command::new("ldd").arg("-r").arg(fast.join("libmlx.so")).output().when(|| "run ldd".to_owned())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match said.lines().find(|line| line.contains("not found") || line.contains("undefined symbol")) {
        None => Ok(()),
        Some(line) => Err(Failure::new(format!("OpenBLAS does not fit MLX's libraries: {}", line.trim()))),
    }
}
