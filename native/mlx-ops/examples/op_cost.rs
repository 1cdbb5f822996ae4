//! Measures a chain of one stage beside the same computation with MLX's own operations, in one run.
//!
//! `cargo run --release -p mlx-ops --example op_cost`; set `LD_LIBRARY_PATH` to the folder with `OpenBLAS` first. Prints
//! microseconds, the median of many evaluations; the last line is one JSON object.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a program that prints a table

use std::time::Instant;

use mlx_ops::{Chain, KvShape, KvStore, PackedWeight, Segment, Stage};
use mlx_rs::error::Result;
use mlx_rs::fast::{ScaledDotProductAttentionMask, rope, scaled_dot_product_attention};
use mlx_rs::{Array, ops, random};

const ROUNDS: usize = 50;
/// Operations in one evaluation, which share the cost of starting it and waiting for it.
const DEPTH: usize = 32;
/// The number of weights of one size that are used in turn.
const NUM_WEIGHTS: usize = 8;

fn main() -> Result<()> {
    let mut results = Vec::new();
    for (rows, width) in [(1, 64), (8, 64), (1, 512), (8, 512)] {
        results.extend(row_primitives(rows, width)?);
    }
    for (rows, length, heads, dim) in [(1, 128, 4, 16), (8, 128, 4, 16), (1, 512, 8, 64), (8, 512, 8, 64)] {
        results.push(attention(rows, length, heads, dim)?);
    }
    results.push(prefill(512, 8, 64)?);
    for (rows, inputs, outputs) in [1, 2, 4, 8, 16, 32, 128, 512]
        .into_iter()
        .flat_map(|rows| [(rows, 64, 192), (rows, 512, 1536), (rows, 1376, 512)])
    {
        results.push(linear(rows, inputs, outputs)?);
    }
    for (name, fused, composed) in &results {
        println!("{name:<36} {fused:>9.1} us fused {composed:>9.1} us composed");
    }
    let fields: Vec<String> =
        results.iter().map(|(name, fused, composed)| format!("\"{name}\":[{fused:.1},{composed:.1}]")).collect();
    println!("{{{}}}", fields.join(","));
    Ok(())
}

type Cost = (String, f64, f64);

fn row_primitives(rows: i32, width: i32) -> Result<Vec<Cost>> {
    let x = noise(&[rows, width])?;
    let weight = noise(&[width])?;
    let gate_up = noise(&[rows, 2 * width])?;
    let cost = |name: &str, fused, composed| (format!("{name} {rows}x{width}"), fused, composed);
    let chain = |stage: Stage<'_>, width: i32| Chain::new(width.unsigned_abs() as usize, &[stage]);
    let norm = chain(Stage::RmsNorm { weight: &weight, eps: 1e-5 }, width)?;
    let swiglu = chain(Stage::Swiglu, 2 * width)?;
    Ok(vec![
        cost(
            "rms_norm",
            side_by_side(&x, |x| norm.run(x, None))?,
            side_by_side(&x, |x| mlx_rs::fast::rms_norm(x, Some(&weight), 1e-5))?,
        ),
        cost(
            "swiglu",
            side_by_side(&gate_up, |x| swiglu.run(x, None))?,
            side_by_side(&gate_up, |x| {
                let halves = ops::split_equal(x, 2, 1)?;
                ops::multiply(ops::multiply(&halves[0], ops::sigmoid(&halves[0])?)?, &halves[1])
            })?,
        ),
    ])
}

/// Attention of one decode step in one layer: rotate, append, attend. The composed version has equal lengths and no mask, its
/// best case.
fn attention(rows: i32, length: i32, heads: i32, dim: i32) -> Result<Cost> {
    let qkv = noise(&[rows, 3 * heads * dim])?;
    let mut store = filled(rows, length, heads, dim)?;
    let at = length.unsigned_abs() as usize;
    let segments: Vec<Segment> =
        (0..u64::from(rows.unsigned_abs())).map(|sequence| Segment { sequence, start: at, count: 1 }).collect();
    let scale = (dim as f32).powf(-0.5);
    let layer = attention_layer(&store, &qkv, scale)?;
    let fused = median(|| {
        let step = store.step(&segments, &frequencies(dim))?;
        layer.run(&qkv, Some(&step))?.eval()
    })?;

    let (keys, values) = (noise(&[rows, heads, length, dim])?, noise(&[rows, heads, length, dim])?);
    let composed = median(|| {
        let mut parts = ops::split_equal(&qkv, 3, 1)?.into_iter().map(|part| part.reshape(&[rows, heads, 1, dim]));
        let mut next = || parts.next().expect("three parts");
        let query = rope(next()?, dim, false, 10_000.0, 1.0, length, None)?;
        let key = rope(next()?, dim, false, 10_000.0, 1.0, length, None)?;
        let keys = ops::concatenate(&[&keys, &key], 2)?;
        let values = ops::concatenate(&[&values, &next()?], 2)?;
        let no_mask = None::<ScaledDotProductAttentionMask<'_>>;
        scaled_dot_product_attention(&query, &keys, &values, scale, no_mask, None)?.eval()
    })?;
    Ok((format!("attention {rows} rows, {length} keys, {heads}x{dim}"), fused, composed))
}

/// One prompt's attention in one layer.
fn prefill(length: i32, heads: i32, dim: i32) -> Result<Cost> {
    let mut store = KvStore::new(shape(heads, dim))?;
    store.create(0)?;
    let qkv = noise(&[length, 3 * heads * dim])?;
    let scale = (dim as f32).powf(-0.5);
    let layer = attention_layer(&store, &qkv, scale)?;
    let segment = Segment { sequence: 0, start: 0, count: length.unsigned_abs() as usize };
    let fused = median(|| layer.run(&qkv, Some(&store.step(&[segment], &frequencies(dim))?))?.eval())?;
    let composed = median(|| {
        let heads_first = |part: &Array| part.reshape(&[1, length, heads, dim])?.transpose_axes(&[0, 2, 1, 3]);
        let parts = ops::split_equal(&qkv, 3, 1)?;
        let query = rope(heads_first(&parts[0])?, dim, false, 10_000.0, 1.0, 0, None)?;
        let key = rope(heads_first(&parts[1])?, dim, false, 10_000.0, 1.0, 0, None)?;
        let mask = Some(ScaledDotProductAttentionMask::Causal);
        scaled_dot_product_attention(&query, &key, heads_first(&parts[2])?, scale, mask, None)?.eval()
    })?;
    Ok((format!("attention prefill {length}, {heads}x{dim}"), fused, composed))
}

/// One product of a linear layer, with as many different weights in turn as a decoder has, so that they do not stay in the cache.
fn linear(rows: i32, inputs: i32, outputs: i32) -> Result<Cost> {
    let x = noise(&[rows, inputs])?;
    let weights = (0..NUM_WEIGHTS).map(|_| noise(&[outputs, inputs])).collect::<Result<Vec<_>>>()?;
    let packed = weights.iter().map(PackedWeight::pack).collect::<Result<Vec<_>>>()?;
    let each = |product: &dyn Fn(usize) -> Result<Array>| -> Result<f64> {
        let total = median(|| {
            let products = (0..NUM_WEIGHTS).map(product).collect::<Result<Vec<_>>>()?;
            mlx_rs::transforms::eval(&products)
        })?;
        Ok(total / NUM_WEIGHTS as f64)
    };
    let chains = packed.iter().map(|weight| {
        Chain::new(inputs.unsigned_abs() as usize, &[Stage::Linear { weight, bias: None, onto_kept: false }])
    });
    let chains = chains.collect::<Result<Vec<_>>>()?;
    let fused = each(&|at| chains[at].run(&x, None))?;
    let composed = each(&|at| ops::matmul(&x, weights[at].t()))?;
    Ok((format!("linear {rows} rows, {inputs} to {outputs}"), fused, composed))
}

fn shape(heads: i32, dim: i32) -> KvShape {
    let (num_kv_heads, head_dim) = (heads.unsigned_abs() as usize, dim.unsigned_abs() as usize);
    KvShape { num_layers: 1, num_kv_heads, head_dim, max_positions: 4096 }
}

fn filled(rows: i32, length: i32, heads: i32, dim: i32) -> Result<KvStore> {
    let mut store = KvStore::new(shape(heads, dim))?;
    for sequence in 0..u64::from(rows.unsigned_abs()) {
        store.create(sequence)?;
        let segment = Segment { sequence, start: 0, count: length.unsigned_abs() as usize };
        let qkv = noise(&[length, 3 * heads * dim])?;
        let layer = attention_layer(&store, &qkv, 1.0)?;
        layer.run(&qkv, Some(&store.step(&[segment], &frequencies(dim))?))?.eval()?;
    }
    Ok(store)
}

fn attention_layer(store: &KvStore, qkv: &Array, scale: f32) -> Result<Chain> {
    let layer = Stage::Attention { layer: 0, scale, shape: store.shape() };
    Chain::new(qkv.dim(1).unsigned_abs() as usize, &[layer])
}

fn frequencies(dim: i32) -> Vec<f32> {
    (0..dim / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / dim as f32)).collect()
}

fn noise(shape: &[i32]) -> Result<Array> {
    let array = random::normal::<f32>(shape, None, None, None)?;
    array.eval()?;
    Ok(array)
}

/// Microseconds of one operation, when many on the same input are evaluated together.
fn side_by_side(input: &Array, operation: impl Fn(&Array) -> Result<Array>) -> Result<f64> {
    let total = median(|| {
        let outputs = (0..DEPTH).map(|_| operation(input)).collect::<Result<Vec<_>>>()?;
        mlx_rs::transforms::eval(&outputs)
    })?;
    Ok(total / DEPTH as f64)
}

fn median(mut evaluation: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        evaluation()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}
