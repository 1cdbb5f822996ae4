//! Attention matches its definition, in any batch and with any split into steps.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_rs::error::Result;
use support::{Sizes, bits, distance, rows};

const GROUPED: Sizes = Sizes { num_heads: 6, num_kv_heads: 2, head_dim: 40 };
const PLAIN: Sizes = Sizes { num_heads: 2, num_kv_heads: 2, head_dim: 64 };

#[test]
fn a_prefill_agrees_with_the_definition() -> Result<()> {
    for sizes in [GROUPED, PLAIN] {
        let qkv = sizes.qkv(1, 70);
        let mut store = sizes.store(128)?;
        store.create(7)?;
        let out = sizes.attend(&mut store, &[rows(7, 0, 70)], &qkv)?;
        assert!(distance(&out, &sizes.reference(&qkv)) < 2e-5);
    }
    Ok(())
}

#[test]
fn a_sequence_that_outgrows_its_blocks_agrees_with_the_definition() -> Result<()> {
    let qkv = GROUPED.qkv(2, 530);
    let mut store = GROUPED.store(1024)?;
    store.create(1)?;
    let mut out = Vec::new();
    // Splits before, at and after the borders of blocks.
    for (start, end) in [(0, 255), (255, 256), (256, 257), (257, 512), (512, 530)] {
        let chunk = &qkv[start * GROUPED.columns()..end * GROUPED.columns()];
        out.extend(GROUPED.attend(&mut store, &[rows(1, start, end - start)], chunk)?);
    }
    assert!(distance(&out, &GROUPED.reference(&qkv)) < 2e-5);
    Ok(())
}

#[test]
fn chunks_of_any_size_give_the_bits_of_the_whole_prompt() -> Result<()> {
    let count = 300;
    let qkv = PLAIN.qkv(3, count);
    let mut store = PLAIN.store(512)?;
    store.create(0)?;
    let whole = PLAIN.attend(&mut store, &[rows(0, 0, count)], &qkv)?;
    for chunk in [1, 7, 32, 255] {
        store.drop_sequence(0)?;
        store.create(0)?;
        let mut out = Vec::new();
        for (i, part) in qkv.chunks(chunk * PLAIN.columns()).enumerate() {
            let segment = rows(0, i * chunk, part.len() / PLAIN.columns());
            out.extend(PLAIN.attend(&mut store, &[segment], part)?);
        }
        assert_eq!(bits(&out), bits(&whole), "in chunks of {chunk}");
    }
    Ok(())
}

#[test]
fn a_batch_gives_each_sequence_the_bits_it_gets_alone() -> Result<()> {
    let lengths = [33, 1, 260, 8];
    let qkvs: Vec<Vec<f32>> = (0u32..).zip(lengths).map(|(seed, length)| GROUPED.qkv(seed, length + 1)).collect();
    let width = GROUPED.columns();

    let mut alone = Vec::new();
    for (&length, qkv) in lengths.iter().zip(&qkvs) {
        let mut store = GROUPED.store(512)?;
        store.create(5)?;
        alone.push(GROUPED.attend(&mut store, &[rows(5, 0, length)], &qkv[..length * width])?);
        alone.push(GROUPED.attend(&mut store, &[rows(5, length, 1)], &qkv[length * width..])?);
    }

    // Prefill two, then decode them while the others prefill, then decode all.
    let mut store = GROUPED.store(512)?;
    (0..4).try_for_each(|sequence| store.create(sequence))?;
    let part = |i: usize, from: usize, to: usize| qkvs[i][from * width..to * width].to_vec();
    let first = [part(0, 0, 33), part(1, 0, 1)].concat();
    let second = [part(2, 0, 260), part(0, 33, 34), part(3, 0, 8)].concat();
    let third = [part(3, 8, 9), part(1, 1, 2), part(2, 260, 261)].concat();
    let mut batched = GROUPED.attend(&mut store, &[rows(0, 0, 33), rows(1, 0, 1)], &first)?;
    batched.extend(GROUPED.attend(&mut store, &[rows(2, 0, 260), rows(0, 33, 1), rows(3, 0, 8)], &second)?);
    batched.extend(GROUPED.attend(&mut store, &[rows(3, 8, 1), rows(1, 1, 1), rows(2, 260, 1)], &third)?);

    // `alone` has prefill and decode of each sequence in turn, in the order of the batches.
    let expected: Vec<f32> = [0, 2, 4, 1, 6, 7, 3, 5].into_iter().flat_map(|i| alone[i].clone()).collect();
    assert_eq!(bits(&batched), bits(&expected));
    Ok(())
}

#[test]
fn positions_that_are_written_again_replace_the_old_ones() -> Result<()> {
    let (kept, discarded) = (PLAIN.qkv(8, 20), PLAIN.qkv(9, 5));
    let mut store = PLAIN.store(64)?;
    store.create(0)?;
    let whole = PLAIN.attend(&mut store, &[rows(0, 0, 20)], &kept)?;
    store.create(1)?;
    PLAIN.attend(&mut store, &[rows(1, 0, 12)], &kept[..12 * PLAIN.columns()])?;
    PLAIN.attend(&mut store, &[rows(1, 12, 5)], &discarded)?;
    let again = PLAIN.attend(&mut store, &[rows(1, 12, 8)], &kept[12 * PLAIN.columns()..])?;
    assert_eq!(bits(&again), bits(&whole[12 * PLAIN.num_heads * PLAIN.head_dim..]));
    Ok(())
}

#[test]
fn a_fork_continues_like_its_source_and_neither_affects_the_other() -> Result<()> {
    let (left, right) = (PLAIN.qkv(4, 300), PLAIN.qkv(5, 10));
    let width = PLAIN.columns();
    let together = [&left[..290 * width], &right].concat();
    let expected = PLAIN.reference(&together);
    let mut store = PLAIN.store(512)?;
    store.create(0)?;
    PLAIN.attend(&mut store, &[rows(0, 0, 290)], &left[..290 * width])?;
    let before = store.bytes();
    store.fork(0, 1, 290)?;
    assert_eq!(store.bytes(), before, "shared blocks count once");
    let forked = PLAIN.attend(&mut store, &[rows(1, 290, 10)], &right)?;
    let source = PLAIN.attend(&mut store, &[rows(0, 290, 10)], &left[290 * width..])?;
    let row = PLAIN.num_heads * PLAIN.head_dim;
    assert!(distance(&forked, &expected[290 * row..]) < 2e-5);
    assert!(distance(&source, &PLAIN.reference(&left)[290 * row..]) < 2e-5);
    Ok(())
}
