//! `config.json` of published models is read into the spec that these models need.

use serde_json::{Value, json};

use super::super::families::read;
use super::super::spec::{Activation, MlpSpec, ModelSpec, MoeSpec, Norms, RopeScaling};
use crate::error::Code;

fn model(config: &Value) -> ModelSpec {
    read(config).expect("a supported model")
}

/// Qwen3-30B-A3B.
fn qwen3_moe() -> Value {
    json!({
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 151_643, "decoder_sparse_step": 1, "eos_token_id": 151_645, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960,
        "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
        "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "output_router_logits": false, "rms_norm_eps": 1e-6,
        "rope_scaling": null, "rope_theta": 1_000_000.0, "router_aux_loss_coef": 0.001, "sliding_window": null,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true,
        "use_sliding_window": false, "vocab_size": 151_936
    })
}

/// Gemma 2 27B.
fn gemma2() -> Value {
    json!({
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": 1,
        "final_logit_softcapping": 30.0, "head_dim": 128, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 4608, "initializer_range": 0.02,
        "intermediate_size": 36864, "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 32,
        "num_hidden_layers": 46, "num_key_value_heads": 16, "pad_token_id": 0, "query_pre_attn_scalar": 144,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096, "sliding_window_size": 4096,
        "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 256_000, "_attn_implementation": "eager"
    })
}

/// Gemma 3 1B.
fn gemma3() -> Value {
    json!({
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attn_logit_softcapping": null,
        "cache_implementation": "hybrid", "final_logit_softcapping": null, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000,
        "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": 512, "sliding_window_pattern": 6,
        "vocab_size": 262_144
    })
}

#[test]
fn qwen3_30b_a3b_is_a_mixture_in_every_layer_with_norms_of_queries_and_keys() {
    let model = model(&qwen3_moe());
    assert_eq!(model.layers.len(), 48);
    let moe = MoeSpec {
        experts: 128,
        top_k: 8,
        norm_topk_prob: true,
        width: 768,
        activation: Activation::Silu,
        shared: None,
    };
    assert!(model.layers.iter().all(|layer| layer.mlp == MlpSpec::Moe(moe)));
    let attention = &model.layers[0].attention;
    assert_eq!((attention.heads, attention.kv_heads, attention.head_dim), (32, 4, 128));
    assert_eq!(attention.qk_norm, Some(1e-6));
    assert!(!model.head.is_tied && model.context_length == 40960);
}

#[test]
fn mlp_only_layers_and_decoder_sparse_step_leave_layers_dense() {
    let mut config = qwen3_moe();
    config["num_hidden_layers"] = json!(6);
    config["decoder_sparse_step"] = json!(2);
    config["mlp_only_layers"] = json!([3]);
    let is_mixture: Vec<_> = model(&config).layers.iter().map(|layer| matches!(layer.mlp, MlpSpec::Moe(_))).collect();
    assert_eq!(is_mixture, [false, true, false, false, false, true]);
}

#[test]
fn gemma_2_has_soft_caps_a_scale_and_sandwich_norms() {
    let model = model(&gemma2());
    let layer = &model.layers[0];
    assert_eq!(layer.norms, Norms::Sandwich);
    assert_eq!((layer.attention.softcap, model.head.softcap), (Some(50.0), Some(30.0)));
    assert!((layer.attention.scale - 1.0 / 12.0).abs() < 1e-7);
    assert!(matches!(&layer.mlp, MlpSpec::Dense(mlp) if mlp.activation == Activation::GeluTanh));
    assert_eq!(model.embedding_scale, Some(4608.0_f32.sqrt()));
    assert!(model.norm.adds_one && model.head.is_tied);
}

#[test]
fn gemma_3_has_another_rope_base_in_layers_with_a_window() {
    let model = model(&gemma3());
    let bases: Vec<_> = model.layers[..7].iter().map(|layer| layer.attention.rope.base).collect();
    assert_eq!(bases, [1e4, 1e4, 1e4, 1e4, 1e4, 1e6, 1e4]);
    // 33.94 in bfloat16.
    assert_eq!(model.embedding_scale, Some(34.0));
    assert!(model.layers.iter().all(|layer| layer.residual.is_clipped && layer.attention.qk_norm == Some(1e-6)));
}

#[test]
fn gemma_3_as_newer_exporters_write_it_is_the_same_model() {
    let mut config = gemma3();
    let fields = config.as_object_mut().expect("an object");
    for name in ["rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern"] {
        fields.remove(name);
    }
    let kinds = (0..26).map(|layer| if layer % 6 == 5 { "full_attention" } else { "sliding_attention" });
    config["layer_types"] = kinds.collect();
    config["rope_parameters"] = json!({
        "full_attention": { "rope_type": "default", "rope_theta": 1_000_000.0 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 10_000.0 }
    });
    assert_eq!(model(&config), model(&gemma3()));
}

#[test]
fn qwen_2_has_biases_of_queries_keys_and_values_only() {
    let config = json!({
        "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 21, "num_attention_heads": 14, "num_hidden_layers": 24,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "sliding_window": 32768,
        "tie_word_embeddings": true, "use_sliding_window": false, "use_mrope": false, "vocab_size": 151_936
    });
    let model = model(&config);
    assert!(model.layers.iter().all(|layer| layer.qkv_bias && !layer.output_bias));
    assert_eq!((model.context_length, model.layers[0].attention.window), (32768, None));
}

#[test]
fn llama_3_1_and_smollm2_are_read_with_all_their_fields() {
    let config = json!({
        "model_type": "llama", "attention_bias": false, "attention_dropout": 0.0, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "is_llama_config": true,
        "max_position_embeddings": 131_072, "mlp_bias": false, "num_attention_heads": 32, "num_hidden_layers": 16,
        "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3"
        },
        "rope_theta": 500_000.0, "tie_word_embeddings": true, "vocab_size": 128_256,
        "transformers.js_config": { "kv_cache_dtype": { "q4f16": "float16" } },
        "quantization": { "group_size": 64, "bits": 4 }, "quantization_config": { "group_size": 64, "bits": 4 }
    });
    let model = model(&config);
    let llama3 = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192.0 };
    assert_eq!(model.layers[0].attention.rope.scaling, llama3);
    assert!(model.quantization.is_some());
}

#[test]
fn fields_of_llama_exports_that_change_nothing_are_accepted_and_others_are_not() {
    let read_with = |name: &str, value: Value| {
        let mut config = tiny_llama();
        config[name] = value;
        read(&config)
    };
    for activation in ["swiglu", "silu"] {
        assert!(read_with("activation", json!(activation)).is_ok(), "{activation}");
    }
    assert!(read_with("original_max_position_embeddings", json!(4096)).is_ok());
    let error = read_with("activation", json!("relu2")).expect_err("another activation");
    assert_eq!(error.code(), Code::UnsupportedModel);
}

/// The base frequency of `rope_parameters` was ignored.
#[test]
fn rope_scaling_beside_rope_parameters_describes_the_same_rope_or_is_refused() {
    let scaling = json!({ "rope_type": "linear", "factor": 4.0 });
    let mut config = tiny_llama();
    config["rope_scaling"] = scaling.clone();
    config["rope_parameters"] = json!({ "rope_type": "linear", "factor": 4.0, "rope_theta": 500_000.0 });
    let rope = model(&config).layers[0].attention.rope.clone();
    assert_eq!((rope.base, rope.scaling), (500_000.0, RopeScaling::Linear { factor: 4.0 }));
    config["rope_parameters"]["factor"] = json!(8.0);
    assert_eq!(read(&config).expect_err("they disagree").param(), Some("rope_parameters"));
}

fn tiny_llama() -> Value {
    json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 128,
        "max_position_embeddings": 512, "num_attention_heads": 2, "num_hidden_layers": 1, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5, "vocab_size": 100
    })
}

#[test]
fn a_window_as_wide_as_the_context_is_removed() {
    let mut config = gemma2();
    config["sliding_window"] = json!(8192);
    let model = model(&config);
    assert!(model.layers.iter().all(|layer| layer.attention.window.is_none()));
    assert_eq!(model.context_length, 8192);
}

#[test]
fn any_value_in_any_field_gives_a_model_or_an_error() {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(7),
        json!(1 << 24),
        json!(0.5),
        json!(1e300),
        json!(-1e300),
        json!(1e-300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("NaN"),
        json!([]),
        json!([1]),
        json!([[]]),
        json!({}),
        json!({ "a": { "b": 1 } }),
        json!({ "bits": 4, "group_size": 64, "a": {} }),
    ];
    let more = [
        "layer_types",
        "rope_parameters",
        "rope_scaling",
        "quantization",
        "quantization_config",
        "rope_traditional",
        "sliding_window_pattern",
        "_sliding_window_pattern",
        "use_sliding_window",
        "attention_multiplier",
        "mlp_bias",
    ];
    for config in [qwen3_moe(), gemma2(), gemma3()] {
        let own: Vec<_> = config.as_object().expect("an object").keys().cloned().collect();
        for field in own.iter().map(String::as_str).chain(more) {
            for value in &values {
                let mut changed = config.clone();
                changed[field] = value.clone();
                // An overflow would panic in debug builds.
                if let Err(error) = read(&changed) {
                    assert!(!error.message().is_empty(), "{field} = {value}");
                }
            }
        }
    }
}
