//! Shapes and layouts that Metal's kernels take without a copy (docs/metal.md). They are equal on every device.

use mlx_ops::{KvPlace, KvRead, KvSlot, KvUpdate};
use mlx_rs::{Array, Dtype};
use serde_json::json;

use super::super::failure::Mlx;
use super::super::families;
use super::Span;
use super::kinds::{Full, Window};
use super::layout::{Group, Keys, Layout, Placed, Sharing, arrange};
use super::scores::{Scores, Visible};
use crate::request::SequenceId;

/// Head sizes of Metal's kernel for few queries per sequence.
const HEAD_SIZES: [i32; 5] = [64, 96, 128, 192, 256];
/// Most query heads per KV head that the kernel takes, for one query.
const MOST_HEADS: i32 = 32;

fn row_major(shape: &[i32]) -> Vec<usize> {
    let inner = |axis: usize| shape[axis + 1..].iter().map(|size| size.unsigned_abs() as usize).product();
    (0..shape.len()).map(inner).collect()
}

#[test]
fn a_mask_is_row_major_over_all_heads() -> Mlx<()> {
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

/// The stride of a sequence must be the stride of a head times the number of heads, and the last stride 1.
#[test]
fn keys_of_neighbouring_slots_are_read_without_a_copy() -> Mlx<()> {
    let (slots, kv_heads, positions, head_dim) = (4, 2, 256, 64);
    let slab = || Array::zeros::<f32>(&[slots, kv_heads, positions, head_dim]);
    let rows = Array::zeros::<f32>(&[2, kv_heads, 1, head_dim])?;
    let places = [1, 2].map(|slot| Some(KvPlace { slab: 0, slot, position: 99 }));
    let slots = [1, 2].map(|slot| KvSlot { slab: 0, slot, ..KvSlot::default() });
    let read = KvRead { slots: slots.to_vec(), count: 100 };
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
fn documented_models_have_heads_that_the_kernels_take() {
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

const ANY: Sharing = Sharing { few: 0, most: i64::MAX };

/// Rows of sequences in these slots of slab 0, as (slot, start, len), packed one after another.
fn placed(rows: &[(i32, i32, i32)]) -> Vec<Placed> {
    let mut offset = 0;
    let place = |(row, &(slot, start, len)): (usize, &(i32, i32, i32))| {
        offset += len;
        let span = Span { row, sequence: SequenceId(row as u64), start, len, offset: offset - len, sampled: true };
        Placed { span, slab: 0, slot }
    };
    rows.iter().enumerate().map(place).collect()
}

/// The slots of each group.
fn slots(layout: &Layout) -> Vec<Vec<i32>> {
    layout.reads.iter().map(|read| read.slots.iter().map(|slot| slot.slot).collect()).collect()
}

#[test]
fn prompts_of_similar_length_share_a_group_in_any_slots() {
    let mut rows = placed(&[(9, 0, 20), (2, 0, 29), (5, 3, 24), (0, 90, 1)]);
    arrange(&Full, &mut rows);
    assert_eq!(rows.iter().map(|row| row.slot).collect::<Vec<_>>(), [0, 2, 5, 9]);
    let layout = Layout::new(&Full, Some(ANY), rows);
    assert_eq!(slots(&layout), [vec![0], vec![2, 5, 9]]);
}

#[test]
fn a_long_prompt_shares_a_group_with_short_ones_only_if_few_scores_are_computed_in_vain() {
    let rows = placed(&[(0, 0, 8), (1, 0, 9), (2, 0, 200)]);
    assert_eq!(slots(&Layout::new(&Full, Some(ANY), rows.clone())), [vec![0, 1], vec![2]]);
    // A few scores in vain cost less than another group.
    let few = Sharing { few: 200 * 200 * 3, ..ANY };
    assert_eq!(slots(&Layout::new(&Full, Some(few), rows)), [[0, 1, 2]]);
}

#[test]
fn a_group_has_no_more_scores_than_the_limit() {
    let most = Sharing { most: 2 * 20 * 20, ..ANY };
    let layout = Layout::new(&Full, Some(most), placed(&[(0, 0, 20), (1, 0, 20), (2, 0, 20), (3, 0, 20), (4, 0, 90)]));
    assert_eq!(slots(&layout), [vec![0, 1], vec![2, 3], vec![4]]);
}

#[test]
fn prompts_that_overwrite_positions_of_their_window_are_not_in_a_group_with_others() {
    let layout = Layout::new(&Window(30), Some(ANY), placed(&[(0, 0, 20), (1, 20, 20), (2, 25, 20)]));
    assert_eq!(slots(&layout), [vec![0], vec![1, 2]]);
    let Group::Pieces(pieces) = &layout.groups[1] else { panic!("pieces") };
    assert_eq!(pieces.keys, Keys::Window { window: 30, kept: 25 });
}

#[test]
fn decoding_rows_share_a_group_across_a_few_slots_without_a_row() {
    let layout = Layout::new(&Full, Some(ANY), placed(&[(0, 9, 1), (1, 9, 1), (3, 9, 1), (30, 9, 1)]));
    assert_eq!(slots(&layout), [vec![0, 1, 2, 3], vec![30]]);
    assert_eq!(layout.groups[0], Group::Decode { first: 0, num_visible: vec![10, 10, 1, 10] });
    assert_eq!((layout.queries.len(), &layout.back[..]), (5, &[0, 1, 3, 4][..]));
}

#[test]
fn each_sequence_is_a_group_of_its_own_without_sharing() {
    let layout = Layout::new(&Full, None, placed(&[(0, 9, 1), (1, 9, 1), (2, 0, 20), (3, 0, 20)]));
    assert_eq!(slots(&layout), [[0], [1], [2], [3]]);
    assert!(layout.order.iter().copied().eq(0..42) && layout.queries == layout.order && layout.back == layout.order);
}

#[test]
fn every_packed_row_finds_its_own_query() {
    let rows = placed(&[(7, 5, 1), (3, 40, 1), (0, 8, 1), (2, 0, 12), (1, 0, 20), (9, 100, 100)]);
    let layout = Layout::new(&Full, Some(Sharing { few: 10_000, ..ANY }), rows);
    for (packed, place) in layout.back.iter().enumerate() {
        let row = layout.queries[*place as usize];
        assert_eq!(layout.order[row as usize] as usize, packed);
    }
}
