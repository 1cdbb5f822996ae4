//! Folders with a file that is missing, of the wrong kind, or names another file that it must not name.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::{folder, folder_with, open, refuses, sound_file, weight_file};
use crate::error::Code;

const SHARD_A: &str = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
const SHARD_B: &str = r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn sharded(index: &str) -> tempfile::TempDir {
    folder(&[
        ("config.json", b"{}"),
        (ONE, &weight_file(SHARD_A, 4)),
        (TWO, &weight_file(SHARD_B, 2)),
        (INDEX, index.as_bytes()),
    ])
}

#[test]
fn a_valid_folder_is_opened_with_all_its_content() {
    let folder = folder_with(&[("config.json", br#"{"vocab_size":5}"#), ("generation_config.json", b"{\"x\":1}")]);
    let opened = open(folder.path()).unwrap();
    assert_eq!(opened.config["vocab_size"], 5);
    assert_eq!(opened.generation_config["x"], 1);
    assert!(opened.tokenizer_config.as_object().unwrap().is_empty());
    assert_eq!(opened.weight_files[0].path, folder.path().canonicalize().unwrap().join("model.safetensors"));
    assert_eq!(opened.weight_files.len(), 1);
    assert_eq!(opened.weight_bytes, 22);
    assert_eq!(opened.tensors["a"].shape, [2, 2]);
    assert_eq!(opened.tensors["b"].dtype, safetensors::Dtype::BF16);
    assert_eq!(opened.tensors.len(), 2);
}

#[test]
fn a_missing_folder_is_not_found() {
    let folder = folder(&[("file", b"")]);
    for path in [folder.path().join("absent"), folder.path().join("file")] {
        let error = open(&path).unwrap_err();
        assert_eq!(error.code(), Code::ModelNotFound);
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
        assert!(error.message().contains("config.json"), "the message describes a model folder: {error}");
    }
}

#[test]
fn the_error_about_a_missing_or_broken_config_names_the_file() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let broken: &[(&[u8], &str)] = &[
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"nonsense", "not valid JSON"),
        (b"{\"a\":\"\xFF\"}", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (deep.as_bytes(), "not valid JSON"),
        (large.as_bytes(), "at most 1048576"),
    ];
    for (bytes, word) in broken {
        for file in ["config.json", "generation_config.json"] {
            refuses(folder_with(&[(file, bytes)]).path(), file, &[word]);
        }
    }
    refuses(folder_with(&[("tokenizer_config.json", b"[]")]).path(), "tokenizer_config.json", &["not a JSON object"]);
    refuses(folder(&[("model.safetensors", &sound_file())]).path(), "config.json", &["does not exist"]);
}

#[test]
fn a_folder_without_weights_is_refused() {
    for files in [&[("config.json", b"{}".as_slice())][..], &[("config.json", b"{}"), ("adapter.safetensors", b"")]] {
        let error = open(folder(files).path()).unwrap_err();
        assert_eq!(error.code(), Code::ModelLoadError);
        assert!(error.message().contains("no weights"), "{error}");
    }
}

#[test]
fn the_shards_of_an_index_are_joined() {
    let folder = sharded(&format!(r#"{{"metadata":{{}},"weight_map":{{"a":"{ONE}","b":"{TWO}"}}}}"#));
    let opened = open(folder.path()).unwrap();
    assert_eq!(opened.weight_files.len(), 2);
    assert_eq!((opened.tensors["a"].file, opened.tensors["b"].file), (0, 1));
    assert_eq!(opened.weight_bytes, 6);
}

#[test]
fn weights_without_an_index_are_found_by_name() {
    let folder = folder(&[
        ("config.json", b"{}"),
        ("weights.00.safetensors", &weight_file(SHARD_A, 4)),
        ("model-2.safetensors", &weight_file(SHARD_B, 2)),
        ("other.safetensors", b"not weights of this model"),
    ]);
    assert_eq!(open(folder.path()).unwrap().tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn an_index_that_names_a_file_outside_the_folder_is_refused() {
    let outside = [
        "../model.safetensors",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/model.safetensors",
        "sub/model.safetensors",
        "./model.safetensors",
        "model.safetensors/",
        "model.safetensors/..",
        "..\\\\model.safetensors",
        "config.json",
        "a\\u0000.safetensors",
    ];
    for name in outside {
        let folder = sharded(&format!(r#"{{"weight_map":{{"a":"{ONE}","b":"{name}"}}}}"#));
        refuses(folder.path(), INDEX, &["`b`", "not the name of a `.safetensors` file"]);
    }
}

#[test]
fn an_index_that_does_not_match_its_files_is_refused() {
    let cases = [
        ("{}".to_owned(), "weight_map"),
        (r#"{"weight_map":[]}"#.to_owned(), "weight_map"),
        (r#"{"weight_map":{}}"#.to_owned(), "empty"),
        (r#"{"weight_map":{"a":1}}"#.to_owned(), "`a`"),
        ("nonsense".to_owned(), "not valid JSON"),
        (format!(r#"{{"weight_map":{{"a":"{ONE}","b":"absent.safetensors"}}}}"#), "absent.safetensors"),
    ];
    for (index, word) in cases {
        refuses(sharded(&index).path(), INDEX, &[word]);
    }
}

#[test]
fn the_tensors_are_those_of_the_files_not_of_the_index() {
    let listed = format!(r#"{{"weight_map":{{"a":"{ONE}","b":"{ONE}","left.out":"{TWO}"}}}}"#);
    let opened = open(sharded(&listed).path()).unwrap();
    assert_eq!(opened.tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((opened.tensors["a"].file, opened.tensors["b"].file), (0, 1));
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = sharded(&format!(r#"{{"weight_map":{{"a":"{ONE}","b":"{TWO}"}}}}"#));
    let both =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    std::fs::write(folder.path().join(TWO), weight_file(both, 2)).unwrap();
    refuses(folder.path(), TWO, &["`a`", ONE]);
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        let folder = folder_with(&[]);
        drop(std::fs::remove_file(folder.path().join(name)));
        std::fs::create_dir(folder.path().join(name)).unwrap();
        refuses(folder.path(), name, &["not a regular file"]);
    }
}

#[test]
fn a_pipe_or_device_in_place_of_a_file_is_refused_without_waiting() {
    for name in ["config.json", "tokenizer_config.json", "model.safetensors"] {
        let folder = folder_with(&[]);
        let path = folder.path().join(name);
        drop(std::fs::remove_file(&path));
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        refuses(folder.path(), name, &["not a regular file"]);
        std::fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        refuses(folder.path(), name, &["not a regular file"]);
    }
}

#[test]
fn links_to_files_are_followed_and_a_dangling_link_is_refused() {
    let cache = folder(&[("blob", &sound_file()), ("blob-of-config", b"{}")]);
    let folder = folder(&[]);
    symlink(cache.path().join("blob"), folder.path().join("model.safetensors")).unwrap();
    symlink(cache.path().join("blob-of-config"), folder.path().join("config.json")).unwrap();
    assert_eq!(open(folder.path()).unwrap().weight_bytes, 22);
    std::fs::remove_file(cache.path().join("blob")).unwrap();
    refuses(folder.path(), "model.safetensors", &["does not exist"]);
    symlink("nowhere", folder.path().join("generation_config.json")).unwrap();
    refuses(folder.path(), "generation_config.json", &["does not exist"]);
}

#[test]
fn a_link_to_itself_is_refused() {
    let folder = folder_with(&[]);
    let path = folder.path().join("config.json");
    std::fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    refuses(folder.path(), "config.json", &["cannot be read"]);
}
