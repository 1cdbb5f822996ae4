//! Writes Rust declarations of the mlx-c headers to the given path.
//!
//! It selects the declared names. Half-precision types and functions are left out: headers declare
//! them on some targets only, so `src/half.rs` of mlx-sys declares them on all.

use std::error::Error;
use std::path::{Path, PathBuf};

/// First lines of the generated file.
const HEADER: &str = "\
// Declarations of the mlx-c API, written by regenerate-bindings.sh: change that, not this file.
#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals)] // C's names
#![allow(clippy::all, clippy::pedantic, clippy::restriction)] // nobody writes or reads this by hand

use crate::FILE;";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(mlx_c), Some(output), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: mlx-bindings-generator <mlx-c folder> <output file>".into());
    };
    let bindings = builder(&mlx_c, &headers(&mlx_c)?).generate()?;
    bindings.write_to_file(output)?;
    Ok(())
}

/// The public headers, in an order that does not depend on the file system.
fn headers(mlx_c: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut headers: Vec<PathBuf> = std::fs::read_dir(mlx_c.join("mlx/c"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    headers.retain(|path| path.extension().is_some_and(|extension| extension == "h"));
    headers.sort();
    Ok(headers)
}

fn builder(mlx_c: &Path, headers: &[PathBuf]) -> bindgen::Builder {
    let builder = bindgen::Builder::default()
        .clang_arg(format!("-I{}", mlx_c.display()))
        // Only MLX's own names: those of the C library differ between platforms, and this file is for all of them.
        .allowlist_item("_?mlx_.*")
        .allowlist_item("MLX_.*")
        // Used through pointers only; its layout differs between C libraries.
        .blocklist_type("FILE")
        .blocklist_type("_IO_FILE|__off(64)?_t")
        // MLX publishes the documentation of the headers.
        .generate_comments(false)
        .blocklist_item("(b?float16_t|mlx_array_(item|data)_b?float16)")
        // Struct layouts are checked on the generating target only: pointers and integers are the same on all 64-bit targets.
        .layout_tests(true)
        .rust_target(bindgen::RustTarget::stable(85, 0).unwrap_or_default())
        // The format does not depend on the installed rustfmt and its settings.
        .formatter(bindgen::Formatter::Prettyplease)
        .raw_line(HEADER);
    headers.iter().fold(builder, |builder, header| {
        builder.header(header.to_string_lossy())
    })
}
