#!/usr/bin/env bash
# Generates src/bindings.rs from the headers of mlx-c. With --check, reports whether it is up to date.
# Needs python3 with pip, cargo and gcc, and the network the first time. No build of the engine needs it.
set -euo pipefail
cd "$(dirname "$0")"

case "${1:-}" in
  "" | --check) ;;
  *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --requirement wheels/libclang.txt --target "$work/libclang"
export LIBCLANG_PATH="$work/libclang/clang/native"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$work/target}"

# The wheel has the library but not the compiler's own headers, such as stddef.h.
if builtin_headers=$(gcc -print-file-name=include 2>/dev/null) && [ -d "$builtin_headers" ]; then
  export BINDGEN_EXTRA_CLANG_ARGS="-I$builtin_headers"
fi

crate=$(cargo metadata --locked --format-version 1 --manifest-path mlx-c-source/Cargo.toml |
  grep -o '"manifest_path":"[^"]*/mlx-sys-[^"]*/Cargo.toml"' | cut -d '"' -f 4)

cargo run --quiet --locked --manifest-path bindings-generator/Cargo.toml -- \
  "$(dirname "$crate")/src/mlx-c" "$work/bindings.rs"

if [ "${1:-}" = --check ]; then
  diff -u src/bindings.rs "$work/bindings.rs"
else
  cp "$work/bindings.rs" src/bindings.rs
fi
