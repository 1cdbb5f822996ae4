//! Weight files with wrong headers.

use proptest::prelude::*;

use super::{folder, folder_with, open, refuses, sound_file, weight_file};

/// A wrong header, the number of bytes of data after it, and a word that the error must contain.
const WRONG_HEADERS: &[(&str, usize, &str)] = &[
    // Not a header.
    ("", 0, "bad header"),
    ("x", 0, "bad header"),
    ("[]", 0, "bad header"),
    ("null", 0, "bad header"),
    ("\"a\"", 0, "bad header"),
    ("{", 0, "bad header"),
    (r#"{"a":1}"#, 0, "`a`"),
    (r#"{"a":null}"#, 0, "`a`"),
    (r#"{"a":{}}"#, 0, "`a`"),
    ("{} {}", 0, "bad header"),
    // Missing or mistyped fields.
    (r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}"#, 4, "`a`"),
    // Shapes that do not fit their bytes.
    (r#"{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,16]}}"#, 16, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,16]}}"#, 16, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,16]}}"#, 16, "`a`"),
    (r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, 1, "`a`"),
    // Products that wrap around: to 0, to 16, and only once multiplied by the element size.
    (r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,0]}}"#, 0, "`a`"),
    (r#"{"a":{"dtype":"U8","shape":[18446744073709551615,18446744073709551600],"data_offsets":[0,16]}}"#, 16, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#, 0, "`a`"),
    (r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#, 0, "`a`"),
    // Offsets out of order, out of range, overlapping or with holes.
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "`a`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "holes"),
    (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 15, "truncated"),
    (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 17, "padded"),
    (r#"{"a":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}"#, 16, "truncated"),
    (
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
        6,
        "overlap",
    ),
    (
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
        4,
        "overlap",
    ),
    (
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}"#,
        12,
        "holes",
    ),
    // Two tensors with one name: parsers disagree about which one is used.
    (
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
        8,
        "twice",
    ),
    (r#"{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#, 1, "17 dimensions"),
];

#[test]
fn the_error_about_a_wrong_header_names_file_and_tensor() {
    for (header, num_data, word) in WRONG_HEADERS {
        let folder = folder_with(&[("model.safetensors", &weight_file(header, *num_data))]);
        refuses(folder.path(), "model.safetensors", &[word]);
    }
}

#[test]
fn a_wrong_header_length_is_refused_before_anything_is_allocated() {
    let sound = sound_file();
    for length in [0, 1, 7, sound.len() as u64, 100_000_000, 100_000_001, 1 << 40, u64::MAX - 7, u64::MAX] {
        let mut file = sound.clone();
        file[..8].copy_from_slice(&length.to_le_bytes());
        let folder = folder_with(&[("model.safetensors", &file)]);
        refuses(folder.path(), "model.safetensors", &["header"]);
    }
}

#[test]
fn a_file_truncated_anywhere_is_refused() {
    let sound = sound_file();
    for len in 0..sound.len() {
        let folder = folder_with(&[("model.safetensors", &sound[..len])]);
        refuses(folder.path(), "model.safetensors", &[]);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let skipped = format!(r#"{{"__metadata__":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    for header in [deep, skipped] {
        let folder = folder_with(&[("model.safetensors", &weight_file(&header, 0))]);
        refuses(folder.path(), "model.safetensors", &["bad header"]);
    }
}

#[test]
fn a_header_that_is_not_utf8_is_refused() {
    let mut file = sound_file();
    file[30] = 0xFF;
    let folder = folder_with(&[("model.safetensors", &file)]);
    refuses(folder.path(), "model.safetensors", &["bad header"]);
}

#[test]
fn a_header_padded_with_spaces_and_tensors_without_elements_are_accepted() {
    let header = r#"{"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]}}     "#;
    let folder = folder_with(&[("model.safetensors", &weight_file(header, 4))]);
    let opened = open(folder.path()).unwrap();
    assert_eq!(opened.tensors["a"].shape, [0, 5]);
    assert_eq!(opened.weight_bytes, 4);
}

#[test]
fn only_the_header_of_a_large_file_is_read() {
    let len = 1_u64 << 40;
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    let folder = folder(&[("config.json", b"{}"), ("model.safetensors", &weight_file(&header, 0))]);
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("model.safetensors")).unwrap();
    if file.set_len(8 + header.len() as u64 + len).is_err() {
        // A file system without sparse files of this size cannot run the test.
        return;
    }
    assert_eq!(open(folder.path()).unwrap().weight_bytes, len);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged file gives a folder whose tensors fit the file, or an error.
    #[test]
    fn a_damaged_file_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
                                 cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut file = sound_file();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let folder = folder_with(&[("model.safetensors", &file)]);
        match open(folder.path()) {
            Ok(opened) => prop_assert!(opened.weight_bytes < file.len() as u64),
            Err(error) => prop_assert!(error.message().contains("model.safetensors"), "{error}"),
        }
    }

    /// A random header of plausible parts, most of which are wrong.
    #[test]
    fn a_random_header_never_panics(shape in prop::collection::vec(any::<u64>(), 0..4),
                                   dtype in prop::sample::select(vec!["U8", "F4", "F32", "C64", "F6_E2M3", "Q4"]),
                                   start in 0_u64..9, end in any::<u64>(), num_data in 0_usize..40) {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}}}"#);
        let folder = folder_with(&[("model.safetensors", &weight_file(&header, num_data))]);
        if let Ok(opened) = open(folder.path()) {
            prop_assert_eq!(opened.weight_bytes, num_data as u64);
        }
    }
}
