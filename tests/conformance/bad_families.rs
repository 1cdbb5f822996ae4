//! Model folders of each family with a wrong config or wrong tensors: opening one fails with a typed error that names the field
//! or the tensor, before anything is loaded.

use mlx_serving::error::{Code, Error};
use mlx_serving::executor::mlx::MlxBackend;
use mlx_serving::hub::ModelFolder;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::seeded::{Case, SeededFolder, case, cases};

/// One case of each family. Mixtures of experts have one for each way to store experts.
const FAMILIES: [&str; 9] = [
    "gemma2-f32",
    "gemma3_text-f32",
    "granite-f32",
    "llama-f32",
    "mistral-f32",
    "qwen2-f32",
    "qwen3-f32",
    "qwen3_moe-q4",
    "qwen3_moe-single",
];

fn open(folder: &ModelFolder) -> Result<(), Error> {
    MlxBackend::new().expect("a backend").open_mlx(folder).map(|_| ())
}

fn refused(folder: &ModelFolder, shown: &str) -> Error {
    open(folder).expect_err(&format!("{shown} was accepted"))
}

/// The folder of a case with one changed field. `null` counts as absent.
fn with_field(case: &Case, field: &str, value: Value) -> SeededFolder {
    let mut folder = case.folder();
    folder.folder.config[field] = value;
    folder
}

fn assert_refused(name: &str, (field, value): (&str, Value), code: Code) {
    let shown = format!("{name}: {field} = {value}");
    let error = refused(&with_field(&case(name), field, value).folder, &shown);
    assert_eq!(error.code(), code, "{shown}: {error}");
    assert!(error.message().contains(field), "{shown}: {error}");
}

#[test]
fn a_field_of_another_type_is_an_error_that_names_it_in_every_family() {
    let never = [json!("8"), json!([[1]]), json!({ "a": 1 }), json!(-1), json!(1e300), json!(u64::MAX)];
    for name in FAMILIES {
        let case = case(name);
        let folder = case.folder().folder;
        let fields = case.config.as_object().expect("an object").iter();
        for (field, _) in fields.filter(|(_, value)| value.is_number()) {
            for value in &never {
                let mut folder = folder.clone();
                folder.config[field] = value.clone();
                let error = refused(&folder, &format!("{name}: {field} = {value}"));
                assert_eq!(error.code(), Code::ModelLoadError, "{name}: {field} = {value}: {error}");
                assert!(error.message().contains(field.as_str()), "{name}: {field} = {value}: {error}");
            }
        }
    }
}

#[test]
fn a_window_of_no_positions_is_an_error() {
    for name in ["llama-f32", "mistral-f32", "qwen2-f32", "gemma2-f32", "gemma3_text-f32"] {
        assert_refused(name, ("sliding_window", json!(0)), Code::ModelLoadError);
        assert_refused(name, ("sliding_window", json!(0.5)), Code::ModelLoadError);
    }
    assert_refused("gemma3_text-f32", ("sliding_window", Value::Null), Code::ModelLoadError);
    assert_refused("gemma3_text-f32", ("sliding_window_pattern", json!(0)), Code::ModelLoadError);
}

#[test]
fn layer_types_that_do_not_fit_the_model_are_an_error() {
    for (value, code) in [
        (json!(["full_attention"]), Code::ModelLoadError),
        (json!("full_attention"), Code::ModelLoadError),
        (json!([1, 2]), Code::ModelLoadError),
        (json!(["full_attention", "linear_attention"]), Code::UnsupportedModel),
    ] {
        assert_refused("llama-f32", ("layer_types", value), code);
    }
}

#[test]
fn experts_out_of_range_are_an_error() {
    let name = "qwen3_moe-f32";
    for (field, value) in [
        ("num_experts_per_tok", json!(9)),
        ("num_experts_per_tok", json!(0)),
        ("num_experts", json!(0)),
        ("num_experts", json!(1 << 30)),
        ("decoder_sparse_step", json!(0)),
        ("mlp_only_layers", json!([-1])),
        ("mlp_only_layers", json!(["all"])),
        ("moe_intermediate_size", json!(0)),
    ] {
        assert_refused(name, (field, value), Code::ModelLoadError);
    }
    // Valid values that contradict the tensors.
    for (field, value, tensor) in [
        ("num_experts", json!(4096), "model.layers.0.mlp.gate.weight"),
        ("moe_intermediate_size", json!(64), "model.layers.0.mlp.switch_mlp.gate_proj.weight"),
        ("mlp_only_layers", json!([0, 1]), "model.layers.0.mlp.gate_proj.weight"),
        ("decoder_sparse_step", json!(2), "model.layers.0.mlp.gate_proj.weight"),
    ] {
        let shown = format!("{field} = {value}");
        let error = refused(&with_field(&case(name), field, value).folder, &shown);
        assert_eq!(error.code(), Code::ModelLoadError, "{shown}: {error}");
        assert!(error.message().contains(tensor), "{shown}: {error}");
    }
}

#[test]
fn a_field_that_changes_the_computation_is_refused_by_a_family_that_does_not_support_it() {
    for (name, field, value) in [
        ("llama-f32", "attn_logit_softcapping", json!(50.0)),
        ("llama-f32", "final_logit_softcapping", json!(30.0)),
        ("llama-f32", "embedding_multiplier", json!(12)),
        ("llama-f32", "partial_rotary_factor", json!(0.5)),
        ("llama-f32", "use_qk_norm", json!(true)),
        ("llama-f32", "num_local_experts", json!(8)),
        ("llama-f32", "no_rope_layers", json!([1, 1, 0])),
        ("llama-f32", "hidden_act", json!("relu")),
        ("mistral-f32", "query_pre_attn_scalar", json!(256)),
        ("qwen2-f32", "num_experts", json!(60)),
        ("qwen2-f32", "hidden_act", json!("gelu")),
        ("qwen3-f32", "rope_local_base_freq", json!(1e4)),
        ("qwen3_moe-f32", "shared_expert_intermediate_size", json!(512)),
        ("qwen3_moe-f32", "n_group", Value::Null),
        ("gemma2-f32", "hidden_activation", json!("gelu")),
        ("gemma2-f32", "rope_local_base_freq", json!(1e4)),
        ("gemma3_text-f32", "use_bidirectional_attention", json!(true)),
        ("granite-f32", "sliding_window", json!(4096)),
    ] {
        // A field that switches nothing on is accepted.
        if value.is_null() {
            open(&with_field(&case(name), field, value).folder).expect("a model");
        } else {
            assert_refused(name, (field, value), Code::UnsupportedModel);
        }
    }
}

#[test]
fn an_unknown_rope_scaling_is_named() {
    let linear = |more: &str, value: Value| {
        let mut scaling = json!({ "rope_type": "linear", "factor": 2.0 });
        scaling[more] = value;
        scaling
    };
    for (value, field) in [
        (json!({ "rope_type": "yarn", "factor": 4.0 }), "rope_scaling.rope_type"),
        (json!({ "type": "dynamic", "factor": 4.0 }), "rope_scaling.rope_type"),
        (linear("attention_factor", json!(1.2)), "rope_scaling.attention_factor"),
        (linear("mrope_section", json!([16, 24, 24])), "rope_scaling.mrope_section"),
        (linear("partial_rotary_factor", json!(0.25)), "rope_scaling.partial_rotary_factor"),
    ] {
        for name in ["llama-f32", "qwen3-f32", "gemma3_text-f32"] {
            let error = refused(&with_field(&case(name), "rope_scaling", value.clone()).folder, field);
            assert_eq!(error.code(), Code::UnsupportedModel, "{name}, {value}: {error}");
            assert!(error.message().contains(field), "{name}, {value}: {error}");
        }
    }
}

#[test]
fn fields_that_do_not_change_the_computation_are_ignored() {
    for name in FAMILIES {
        let mut folder = case(name).folder();
        let config = folder.folder.config.as_object_mut().expect("an object");
        for (field, value) in [
            ("architectures", json!(["ModelForCausalLM"])),
            ("attention_dropout", json!(0.1)),
            ("initializer_range", json!(0.02)),
            ("_attn_implementation_autoset", json!(true)),
            ("use_cache", json!(true)),
            ("router_aux_loss_coef", json!(0.001)),
            ("output_router_logits", json!(true)),
            ("transformers_version", json!("5.0.0")),
            ("chunk_size_feed_forward", json!(0)),
            ("pruned_heads", json!({})),
            ("cache_implementation", json!("hybrid")),
            ("max_length", json!(20)),
        ] {
            config.insert(field.to_owned(), value);
        }
        open(&folder.folder).expect(name);
    }
}

#[test]
fn every_tensor_is_needed_in_its_shape_and_type() {
    for case in cases() {
        let folder = case.folder().folder;
        for name in folder.tensors.keys().filter(|name| *name != "lm_head.weight") {
            let changed = |change: &dyn Fn(&mut ModelFolder)| {
                let mut folder = folder.clone();
                change(&mut folder);
                let error = refused(&folder, name);
                assert_eq!(error.code(), Code::ModelLoadError, "{}: {error}", case.name);
                error
            };
            let is_named = |error: &Error| {
                // Without scales a layer counts as not quantized, and its codes have the wrong type or shape.
                let path = name.rsplit_once('.').expect("a path").0;
                assert!(error.message().contains(path), "{}, {name}: {error}", case.name);
            };
            is_named(&changed(&|folder| drop(folder.tensors.remove(name))));
            is_named(&changed(&|folder| folder.tensors.get_mut(name).expect("a tensor").shape.push(1)));
            is_named(&changed(&|folder| folder.tensors.get_mut(name).expect("a tensor").shape[0] += 1));
            is_named(&changed(&|folder| folder.tensors.get_mut(name).expect("a tensor").dtype = Dtype::I64));
        }
    }
}

#[test]
fn experts_that_are_stored_twice_or_differently_are_an_error() {
    let mut folder = case("qwen3_moe-single").folder().folder;
    let header = folder.tensors["model.layers.0.mlp.experts.0.up_proj.weight"].clone();
    folder.tensors.insert("model.layers.0.mlp.switch_mlp.up_proj.weight".to_owned(), header.clone());
    assert!(refused(&folder, "stacked and single experts").message().contains("switch_mlp"));
    folder.tensors.remove("model.layers.0.mlp.switch_mlp.up_proj.weight");
    folder.tensors.insert("model.layers.0.mlp.experts.8.up_proj.weight".to_owned(), header.clone());
    assert!(refused(&folder, "one expert more").message().contains("experts.8"));
    folder.tensors.remove("model.layers.0.mlp.experts.8.up_proj.weight");
    folder.tensors.insert("model.layers.0.mlp.experts.1.up_proj.scales".to_owned(), header);
    folder.config["quantization"] = json!({ "bits": 4, "group_size": 32 });
    assert!(refused(&folder, "one quantized expert").message().contains("experts.1.up_proj"));
}
