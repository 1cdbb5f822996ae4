//! The store frees its memory, and refuses positions beyond its limits.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::{Chain, KvShape, KvStore, Stage};
use mlx_rs::error::{Exception, Result};
use mlx_rs::ops;
use mlx_rs::transforms::async_eval;
use support::{Sizes, bits, matrix, rows};

const SIZES: Sizes = Sizes { num_heads: 4, num_kv_heads: 2, head_dim: 16 };

/// Keys and values of one block of 256 positions in one layer.
const BLOCK_BYTES: usize = 2 * 2 * 256 * 16 * 4;

fn error<T>(outcome: Result<T>) -> String {
    outcome.err().expect("this must fail").what().to_owned()
}

#[test]
fn memory_grows_by_blocks_and_is_freed_when_the_sequence_is_dropped() -> Result<()> {
    let mut store = SIZES.store(1024)?;
    store.create(0)?;
    assert_eq!(store.bytes(), 0);
    SIZES.attend(&mut store, &[rows(0, 0, 256)], &SIZES.qkv(0, 256))?;
    assert_eq!(store.bytes(), BLOCK_BYTES);
    SIZES.attend(&mut store, &[rows(0, 256, 1)], &SIZES.qkv(1, 1))?;
    assert_eq!(store.bytes(), 2 * BLOCK_BYTES);
    store.drop_sequence(0)?;
    assert_eq!(store.bytes(), 0);
    Ok(())
}

#[test]
fn an_unevaluated_array_outlives_its_sequence_and_its_store() -> Result<()> {
    let qkv = SIZES.qkv(3, 10);
    let mut store = SIZES.store(64)?;
    store.create(0)?;
    let (chain, step) = (SIZES.chain(&store)?, store.step(&[rows(0, 0, 10)], &SIZES.inverse_frequencies())?);
    let pending = chain.run(&matrix(&qkv, 10), Some(&step))?;
    store.drop_sequence(0)?;
    drop((chain, step, store));
    pending.eval()?;

    let mut other = SIZES.store(64)?;
    other.create(0)?;
    let expected = SIZES.attend(&mut other, &[rows(0, 0, 10)], &qkv)?;
    assert_eq!(bits(pending.as_slice::<f32>()), bits(&expected));
    Ok(())
}

#[test]
fn a_step_beyond_the_limit_is_refused_and_changes_nothing() -> Result<()> {
    let mut store = SIZES.store(20)?;
    store.create(0)?;
    store.create(1)?;
    let frequencies = SIZES.inverse_frequencies();
    let refused = error(store.step(&[rows(0, 0, 5), rows(1, 0, 21)], &frequencies));
    assert!(refused.contains("the limit is 20 positions"), "{refused}");
    let skipped = error(store.step(&[rows(0, 5, 1)], &frequencies));
    assert!(skipped.contains("the sequence has 0 positions so far"), "{skipped}");
    SIZES.attend(&mut store, &[rows(0, 0, 20)], &SIZES.qkv(0, 20))?;
    assert!(store.step(&[rows(0, 20, 1)], &frequencies).is_err());
    assert!(store.step(&[rows(0, usize::MAX, 1)], &frequencies).is_err());
    assert!(store.step(&[rows(0, 1, usize::MAX)], &frequencies).is_err());
    Ok(())
}

#[test]
fn names_that_are_taken_or_unknown_are_refused() -> Result<()> {
    let mut store = SIZES.store(20)?;
    store.create(3)?;
    assert!(error(store.create(3)).contains("exists already"));
    assert!(error(store.drop_sequence(4)).contains("no sequence 4"));
    assert!(error(store.step(&[rows(4, 0, 1)], &SIZES.inverse_frequencies())).contains("no sequence 4"));
    assert!(error(store.fork(3, 5, 1)).contains("0 are written"));
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_the_step_are_refused() -> Result<()> {
    let mut store = SIZES.store(20)?;
    store.create(0)?;
    assert!(store.step(&[rows(0, 0, 1)], &[1.0; 3]).is_err());
    assert!(store.step(&[rows(0, 0, 0)], &SIZES.inverse_frequencies()).is_err());
    let step = store.step(&[rows(0, 0, 2)], &SIZES.inverse_frequencies())?;
    let columns = i32::try_from(SIZES.columns()).expect("few columns");
    let chain = SIZES.chain(&store)?;
    for shape in [[3, columns], [2, columns + 16]] {
        assert!(chain.run(&ops::zeros::<f32>(&shape)?, Some(&step)).is_err(), "{shape:?}");
    }
    let fitting = ops::zeros::<f32>(&[2, columns])?;
    assert!(chain.run(&ops::zeros::<i32>(&[2, columns])?, Some(&step)).is_err());
    assert!(chain.run(&fitting, None).is_err());
    let of_another = SIZES.chain(&SIZES.store(21)?)?;
    assert!(of_another.run(&fitting, Some(&step)).is_err());
    chain.run(&fitting, Some(&step))?.eval()
}

#[test]
fn attention_that_fits_no_row_is_refused() -> Result<()> {
    let shape = SIZES.store(20)?.shape();
    let refused = |width, layer, scale| Chain::new(width, &[Stage::Attention { layer, scale, shape }]).is_err();
    assert!(!refused(SIZES.columns(), 0, 1.0));
    for width in [SIZES.columns() + 1, SIZES.columns() + 16, 64] {
        assert!(refused(width, 0, 1.0), "{width}");
    }
    assert!(refused(SIZES.columns(), 1, 1.0));
    assert!(refused(SIZES.columns(), usize::MAX, 1.0));
    for scale in [f32::NAN, 0.0, -1.0] {
        assert!(refused(SIZES.columns(), 0, scale), "{scale}");
    }
    Ok(())
}

#[test]
fn a_step_fails_if_the_previous_step_was_never_evaluated() -> Result<()> {
    let mut store = SIZES.store(20)?;
    store.create(0)?;
    drop(store.step(&[rows(0, 0, 2)], &SIZES.inverse_frequencies())?);
    let failed = error(SIZES.attend(&mut store, &[rows(0, 2, 1)], &SIZES.qkv(0, 1)));
    assert!(failed.contains("an earlier step was not evaluated"), "{failed}");
    // The stream still works.
    SIZES.attend(&mut store, &[rows(0, 0, 2)], &SIZES.qkv(0, 2)).map(drop)
}

#[test]
fn a_failed_step_reports_its_error_once_at_launch_or_at_waiting() -> Result<()> {
    let mut store = SIZES.store(20)?;
    store.create(0)?;
    drop(store.step(&[rows(0, 0, 2)], &SIZES.inverse_frequencies())?);
    let columns = i32::try_from(SIZES.columns()).expect("few columns");
    let step = store.step(&[rows(0, 2, 1)], &SIZES.inverse_frequencies())?;
    let failing = SIZES.chain(&store)?.run(&ops::zeros::<f32>(&[1, columns])?, Some(&step))?;
    // The evaluation may fail before the call that launches it returns.
    let failed = error(async_eval([&failing]).and_then(|()| failing.eval()));
    assert!(failed.contains("an earlier step was not evaluated"), "{failed}");
    SIZES.attend(&mut store, &[rows(0, 0, 2)], &SIZES.qkv(0, 2)).map(drop)
}

#[test]
fn sizes_out_of_range_are_refused_before_anything_is_allocated() {
    let fitting = KvShape { num_layers: 1, num_kv_heads: 1, head_dim: 8, max_positions: 1 };
    let refused: [(KvShape, &str); 5] = [
        (KvShape { num_layers: 0, ..fitting }, "num_layers"),
        (KvShape { num_kv_heads: 5000, ..fitting }, "num_kv_heads"),
        (KvShape { head_dim: 12, ..fitting }, "head_dim"),
        (KvShape { head_dim: 0, ..fitting }, "head_dim"),
        (KvShape { max_positions: usize::MAX, ..fitting }, "max_positions"),
    ];
    for (shape, name) in refused {
        let refused = KvStore::new(shape).map(drop).map_err(Exception::into);
        assert!(refused.is_err_and(|message: String| message.contains(name)), "{shape:?}");
    }
    assert!(KvStore::new(fitting).is_ok());
}

#[test]
fn a_sequence_goes_on_in_another_store_with_exported_blocks() -> Result<()> {
    let qkv = SIZES.qkv(5, 600);
    let (columns, split) = (SIZES.columns(), 512);
    let mut first = SIZES.store(1024)?;
    first.create(0)?;
    let expected = SIZES.attend(&mut first, &[rows(0, 0, 600)], &qkv)?;
    let blocks = [first.export_block(0, 0)?, first.export_block(0, 1)?];
    assert_eq!(blocks[0].len() * size_of::<f32>(), BLOCK_BYTES);
    let mut second = SIZES.store(1024)?;
    second.create(7)?;
    second.import_block(7, &blocks[0])?;
    second.import_block(7, &blocks[1])?;
    second.fork(7, 8, 300)?;
    let found = SIZES.attend(&mut second, &[rows(7, split, 88)], &qkv[split * columns..])?;
    let width = expected.len() / 600;
    assert_eq!(bits(&found), bits(&expected[split * width..]));
    let found = SIZES.attend(&mut second, &[rows(8, 300, 300)], &qkv[300 * columns..])?;
    assert_eq!(bits(&found), bits(&expected[300 * width..]));
    assert_eq!(second.bytes(), 5 * BLOCK_BYTES, "the first block is shared");
    Ok(())
}

#[test]
fn only_whole_blocks_are_exported_and_imported() -> Result<()> {
    let mut store = SIZES.store(600)?;
    store.create(0)?;
    store.create(1)?;
    SIZES.attend(&mut store, &[rows(0, 0, 300)], &SIZES.qkv(0, 300))?;
    for block in [1, 2, usize::MAX] {
        assert!(store.export_block(0, block).is_err(), "{block}");
    }
    assert!(error(store.export_block(9, 0)).contains("no sequence 9"));
    let block = store.export_block(0, 0)?;
    assert!(error(store.import_block(0, &block)).contains("behind 300 positions"));
    assert!(error(store.import_block(1, &block[1..])).contains("another size"));
    store.import_block(1, &block)?;
    store.import_block(1, &block)?;
    assert!(error(store.import_block(1, &block)).contains("behind 512 positions"), "the limit is 600");
    store.create(2)?;
    drop(store.step(&[rows(2, 0, 256)], &SIZES.inverse_frequencies())?);
    assert!(error(store.import_block(2, &block)).contains("before a step was evaluated"));
    Ok(())
}
