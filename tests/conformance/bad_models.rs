//! A model folder is untrusted data: opening one with a wrong config or wrong tensors fails with an error.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mlx_serving::error::{Code, Error};
use mlx_serving::executor::mlx::MlxBackend;
use mlx_serving::hub::{ModelFolder, open_folder};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::folders::folder;

fn open(folder: &ModelFolder) -> Error {
    match MlxBackend::new().expect("a backend").open_mlx(folder) {
        Ok(_) => panic!("the folder was accepted"),
        Err(error) => error,
    }
}

fn with_config(field: &str, value: Value) -> ModelFolder {
    let mut folder = folder("base");
    folder.config[field] = value;
    folder
}

#[test]
fn a_config_number_out_of_range_is_an_error_that_names_the_field() {
    let fields = [
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "head_dim",
        "max_position_embeddings",
    ];
    let values =
        [json!(0), json!(-1), json!(1.5), json!(1e300), json!(i64::MAX), json!(u64::MAX), json!("8"), json!([1])];
    for (field, value) in fields.iter().flat_map(|field| values.iter().map(move |value| (field, value))) {
        let error = open(&with_config(field, value.clone()));
        assert_eq!(error.code(), Code::ModelLoadError, "{field} = {value}: {error}");
        assert!(error.message().contains(field), "{field} = {value}: {error}");
    }
}

#[test]
fn a_config_that_contradicts_the_tensors_is_an_error() {
    let changes = [
        ("hidden_size", json!(1 << 17)),
        ("num_attention_heads", json!(4096)),
        ("num_hidden_layers", json!(1024)),
        ("num_hidden_layers", json!(1)),
        ("vocab_size", json!(1 << 24)),
        ("intermediate_size", json!(1 << 20)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(7)),
        ("attention_bias", json!(true)),
        ("rms_norm_eps", json!(-1.0)),
        ("rms_norm_eps", json!("small")),
        ("rope_theta", json!(0)),
        ("rope_theta", json!(-1e9)),
        ("quantization", json!("yes")),
        ("quantization", json!({ "bits": 7, "group_size": 64 })),
        ("quantization", json!({ "bits": 4, "group_size": 48 })),
        ("quantization", json!({ "bits": 1 << 30, "group_size": 64 })),
        ("rope_scaling", json!({ "rope_type": "linear" })),
        ("rope_scaling", json!({ "rope_type": "linear", "factor": 0 })),
        ("rope_scaling", json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 })),
    ];
    for (field, value) in changes {
        let error = open(&with_config(field, value.clone()));
        assert_eq!(error.code(), Code::ModelLoadError, "{field} = {value}: {error}");
    }
}

#[test]
fn more_heads_than_values_are_an_error_with_the_numbers() {
    let mut folder = with_config("num_attention_heads", json!(4096));
    folder.config["head_dim"] = Value::Null;
    let error = open(&folder);
    assert_eq!((error.code(), error.param()), (Code::ModelLoadError, Some("num_attention_heads")));
    let words = ["4096", "`hidden_size` 64", "`head_dim`"];
    assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
}

#[test]
fn an_unsupported_value_is_named_with_the_supported_ones() {
    let changes = [
        ("model_type", json!("gpt2"), "llama"),
        ("hidden_act", json!("gelu"), "silu"),
        ("rope_scaling", json!({ "type": "yarn", "factor": 2 }), "llama3"),
        ("quantization", json!({ "bits": 4, "group_size": 32, "mode": "mxfp4" }), "affine"),
        ("quantization_config", json!({ "quant_method": "gptq", "bits": 4 }), "affine"),
    ];
    for (field, value, known) in changes {
        let error = open(&with_config(field, value));
        assert_eq!(error.code(), Code::UnsupportedModel, "{field}: {error}");
        assert!(error.message().contains(known), "{field}: {error}");
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let mut folder = folder("base");
    folder.tensors.remove("model.layers.1.mlp.up_proj.weight").expect("the tensor");
    let error = open(&folder);
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("model.layers.1.mlp.up_proj.weight"), "{error}");
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named_with_both_shapes() {
    let mut folder = folder("base");
    folder.tensors.get_mut("model.norm.weight").expect("the tensor").shape = vec![63];
    let error = open(&folder);
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(["model.norm.weight", "[63]", "[64]"].iter().all(|part| error.message().contains(part)), "{error}");
}

#[test]
fn a_tensor_of_the_wrong_type_is_named() {
    let mut folder = folder("base");
    folder.tensors.get_mut("model.norm.weight").expect("the tensor").dtype = Dtype::I32;
    let error = open(&folder);
    assert!(error.message().contains("model.norm.weight") && error.message().contains("I32"), "{error}");
}

#[test]
fn an_unknown_tensor_is_an_error() {
    let mut folder = folder("base");
    let header = folder.tensors["model.norm.weight"].clone();
    folder.tensors.insert("model.layers.0.self_attn.q_norm.weight".to_owned(), header.clone());
    assert!(open(&folder).message().contains("q_norm"));
    folder.tensors.remove("model.layers.0.self_attn.q_norm.weight");
    folder.tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), header);
    // A harmless name, but not in the file: reading the file finds it.
    assert!(open(&folder).message().contains("disappeared"));
}

#[test]
fn a_weight_file_that_changed_after_validation_is_an_error() {
    let mut folder = folder("base");
    folder.weight_files[0].path = "/nonexistent/model.safetensors".into();
    let error = open(&folder);
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("/nonexistent/model.safetensors"), "{error}");
    folder.weight_files = super::folders::folder("head-dim").weight_files;
    assert_eq!(open(&folder).code(), Code::ModelLoadError);
}

#[test]
fn a_weight_file_that_is_cut_or_overwritten_after_validation_is_an_error_that_names_it() {
    let cut = |file: &File| file.set_len(file.metadata().expect("a length").len() - 64).expect("to cut");
    let overwrite = |file: &File| {
        let len = file.metadata().expect("a length").len();
        file.write_all_at(&[7; 64], len - 64).expect("to overwrite");
    };
    for change in [&cut as &dyn Fn(&File), &overwrite] {
        let place = tempfile::tempdir().expect("a folder");
        let from = folder("base");
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(from.path.join(name), place.path().join(name)).expect("a copy");
        }
        let folder = open_folder(place.path()).expect("a sound model folder");
        change(&File::options().write(true).open(place.path().join("model.safetensors")).expect("the weights"));
        let error = open(&folder);
        assert_eq!(error.code(), Code::ModelLoadError);
        assert!(error.message().contains("model.safetensors changed"), "{error}");
    }
}
