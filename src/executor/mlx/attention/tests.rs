//! Shapes and layouts that Metal's kernels take without a copy, as docs/metal.md says. They do not depend on the device.

use mlx_ops::{KvPlace, KvRead, KvUpdate};
use mlx_rs::{Array, Dtype};
use serde_json::json;

use super::super::failure::Mlx;
use super::super::families;
use super::layout::Group;
use super::scores::{Scores, Visible};

/// Sizes of heads that the kernel for few queries of a sequence has.
const HEAD_SIZES: [i32; 5] = [64, 96, 128, 192, 256];
/// Query heads of a KV head that it takes at most, for one query.
const MOST_HEADS: i32 = 32;

fn row_major(shape: &[i32]) -> Vec<usize> {
    let inner = |axis: usize| shape[axis + 1..].iter().map(|size| size.unsigned_abs() as usize).product();
    (0..shape.len()).map(inner).collect()
}

#[test]
fn a_mask_lies_in_row_major_order_over_all_heads() -> Mlx<()> {
    let scores = Scores { is_fused: true, dtype: Dtype::Float16, kv_dtype: Dtype::Float16 };
    let group = Group::Decode { first: 0, num_visible: vec![3, 5] };
    let Visible::Masked(mask) = scores.visible(&group, 4)? else { panic!("rows of different lengths have a mask") };
    mask.eval()?;
    assert_eq!(mask.shape(), [2, 4, 1, 5]);
    assert_eq!(mask.strides(), row_major(mask.shape()));
    Ok(())
}

#[test]
fn rows_of_one_length_have_no_mask() -> Mlx<()> {
    let scores = Scores { is_fused: true, dtype: Dtype::Float16, kv_dtype: Dtype::Float16 };
    let group = Group::Decode { first: 0, num_visible: vec![5, 5] };
    assert!(matches!(scores.visible(&group, 4)?, Visible::All));
    Ok(())
}

/// The stride of a sequence must be that of a head times the number of heads, and the last stride 1.
#[test]
fn keys_of_neighbouring_slots_are_taken_as_they_lie() -> Mlx<()> {
    let (slots, kv_heads, positions, head_dim) = (4, 2, 256, 64);
    let slab = || Array::zeros::<f32>(&[slots, kv_heads, positions, head_dim]);
    let rows = Array::zeros::<f32>(&[2, kv_heads, 1, head_dim])?;
    let places = [1, 2].map(|slot| Some(KvPlace { slab: 0, slot, position: 99 }));
    let read = KvRead { slab: 0, slot: 1, num_slots: 2, first_count: 100, ..KvRead::default() };
    let update = KvUpdate::new(&[], &places, &[read])?;
    let reads = update.run(&[[slab()?, slab()?]], &rows, &rows)?;
    for seen in &reads[0] {
        seen.eval()?;
        assert_eq!(seen.shape(), [2, kv_heads, 100, head_dim]);
        let strides = seen.strides();
        assert_eq!((strides[3], strides[2]), (1, 64));
        assert_eq!(strides[0], strides[1] * 2);
    }
    Ok(())
}

#[test]
fn the_models_of_the_page_have_heads_that_the_kernels_take() {
    let llama = json!({
        "model_type": "llama", "hidden_size": 3072, "num_hidden_layers": 28, "intermediate_size": 8192,
        "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-5, "vocab_size": 128_256,
    });
    let qwen = json!({
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "intermediate_size": 6144,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "rms_norm_eps": 1e-6, "vocab_size": 151_936,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": true,
        "tie_word_embeddings": false,
    });
    let gemma = json!({
        "model_type": "gemma2", "hidden_size": 4608, "num_hidden_layers": 46, "intermediate_size": 36_864,
        "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "rms_norm_eps": 1e-6, "vocab_size": 256_000,
        "query_pre_attn_scalar": 144, "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    });
    for config in [llama, qwen, gemma] {
        let model = families::read(&config).expect("a known model");
        for spec in model.attention() {
            assert!(HEAD_SIZES.contains(&spec.head_dim), "{config}");
            assert!(spec.heads / spec.kv_heads <= MOST_HEADS, "{config}");
        }
    }
}
