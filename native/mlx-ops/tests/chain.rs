//! A chain gives the result of its stages one by one, does not change its input, and refuses stages that do not fit.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::{Chain, KvStore, PackedWeight, Stage};
use mlx_rs::error::Result;
use mlx_rs::{Array, ops};
use support::{Sizes, bits, matrix, noise, one, read, rows};

const SIZES: Sizes = Sizes { num_heads: 4, num_kv_heads: 2, head_dim: 16 };
const HIDDEN: usize = 48;
const INNER: usize = 80;

/// The weights of a decoder layer.
struct Layer {
    norms: [Array; 2],
    qkv: PackedWeight,
    output: PackedWeight,
    gate_up: PackedWeight,
    down: PackedWeight,
}

impl Layer {
    fn new() -> Result<Self> {
        let norm = |seed| matrix(&noise(seed, HIDDEN), 1).flatten(None, None);
        // Small numbers, so that rows keep their magnitude.
        let weight = |seed, outputs: usize, inputs: usize| {
            let values: Vec<f32> = noise(seed, outputs * inputs).iter().map(|value| value * 0.1).collect();
            PackedWeight::pack(&matrix(&values, outputs))
        };
        Ok(Self {
            norms: [norm(1)?, norm(2)?],
            qkv: weight(3, SIZES.columns(), HIDDEN)?,
            output: weight(4, HIDDEN, SIZES.num_heads * SIZES.head_dim)?,
            gate_up: weight(5, 2 * INNER, HIDDEN)?,
            down: weight(6, HIDDEN, INNER)?,
        })
    }

    fn stages(&self, store: &KvStore) -> [Stage<'_>; 9] {
        let [first, second] = &self.norms;
        [
            Stage::Keep,
            Stage::RmsNorm { weight: first, eps: 1e-5 },
            linear(&self.qkv, false),
            SIZES.stage(store),
            linear(&self.output, true),
            Stage::Keep,
            Stage::RmsNorm { weight: second, eps: 1e-5 },
            linear(&self.gate_up, false),
            Stage::Swiglu,
        ]
    }
}

fn linear(weight: &PackedWeight, onto_kept: bool) -> Stage<'_> {
    Stage::Linear { weight, bias: None, onto_kept }
}

fn store() -> Result<KvStore> {
    let mut store = SIZES.store(512)?;
    (0..8).try_for_each(|id| store.create(id))?;
    Ok(store)
}

#[test]
fn a_decoder_layer_equals_its_stages_run_one_by_one() -> Result<()> {
    let (layer, x) = (Layer::new()?, matrix(&noise(7, 5 * HIDDEN), 5));
    let mut whole = store()?;
    let stages = [layer.stages(&whole).as_slice(), &[linear(&layer.down, true)]].concat();
    let step = whole.step(&[rows(0, 0, 5)], &SIZES.inverse_frequencies())?;
    let found = Chain::new(HIDDEN, &stages)?.run(&x, Some(&step))?;

    let mut apart = store()?;
    let step = apart.step(&[rows(0, 0, 5)], &SIZES.inverse_frequencies())?;
    let [_, norm, qkv, attention, _, _, second_norm, gate_up, swiglu] = layer.stages(&apart);
    let attended = Chain::new(SIZES.columns(), &[attention])?.run(&one(qkv, &one(norm, &x)?)?, Some(&step))?;
    let middle = ops::add(&x, one(linear(&layer.output, false), &attended)?)?;
    let gated = one(swiglu, &one(gate_up, &one(second_norm, &middle)?)?)?;
    let expected = ops::add(&middle, one(linear(&layer.down, false), &gated)?)?;
    assert!(found.all_close(&expected, 1e-4, 1e-4, false)?);
    Ok(())
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_wherever_the_chain_is_cut() -> Result<()> {
    let (layer, x) = (Layer::new()?, noise(8, 8 * HIDDEN));
    let mut together = store()?;
    let stages = [layer.stages(&together).as_slice(), &[linear(&layer.down, true)]].concat();
    let whole = Chain::new(HIDDEN, &stages)?;
    let halves = [Chain::new(HIDDEN, &stages[..5])?, Chain::new(HIDDEN, &stages[5..])?];
    let segments: Vec<_> = (0..8).map(|id| rows(id, 0, 1)).collect();
    let step = together.step(&segments, &SIZES.inverse_frequencies())?;
    let expected = read(&whole.run(&matrix(&x, 8), Some(&step))?)?;
    for (id, (row, expected)) in (0..).zip(x.chunks(HIDDEN).zip(expected.chunks(HIDDEN))) {
        let mut alone = store()?;
        let step = alone.step(&[rows(id, 0, 1)], &SIZES.inverse_frequencies())?;
        let middle = halves[0].run(&matrix(row, 1), Some(&step))?;
        let found = read(&halves[1].run(&middle, None)?)?;
        assert_eq!(bits(&found), bits(expected));
    }
    Ok(())
}

#[test]
fn the_input_is_unchanged() -> Result<()> {
    let (layer, values) = (Layer::new()?, noise(9, 3 * HIDDEN));
    let x = matrix(&values, 3);
    let chain = [Stage::Keep, linear(&layer.gate_up, false), Stage::Swiglu, linear(&layer.down, true)];
    chain_and_read(&chain, &x)?;
    assert_eq!(bits(&read(&x)?), bits(&values));
    Ok(())
}

#[test]
fn arrays_outlive_the_chain_they_come_from() -> Result<()> {
    let x = matrix(&noise(10, 2 * HIDDEN), 2);
    let weight = PackedWeight::pack(&matrix(&noise(11, 7 * HIDDEN), 7))?;
    let expected = read(&one(linear(&weight, false), &x)?)?;
    let chain = Chain::new(HIDDEN, &[linear(&weight, false)])?;
    let pending = chain.run(&x, None)?;
    drop((chain, weight, x));
    assert_eq!(bits(&read(&pending)?), bits(&expected));
    Ok(())
}

#[test]
fn stages_that_do_not_fit_are_refused() -> Result<()> {
    let layer = Layer::new()?;
    let (keep, swiglu, down) = (Stage::Keep, Stage::Swiglu, linear(&layer.down, false));
    let gate_up = linear(&layer.gate_up, false);
    let onto = linear(&layer.down, true);
    let refused =
        |stages: &[Stage<'_>]| Chain::new(HIDDEN, stages).map(drop).err().map(|error| error.what().to_owned());
    assert_eq!(refused(&[keep, gate_up, swiglu, onto, keep, gate_up, swiglu, onto]), None);
    let square = PackedWeight::pack(&matrix(&noise(12, HIDDEN * HIDDEN), HIDDEN))?;
    for (stages, why) in [
        (&[][..], "there must be a stage"),
        (&[down], "number of inputs"),
        (&[gate_up, swiglu, onto], "were kept before"),
        (&[keep, linear(&square, true)], "were kept before"),
        (&[keep, gate_up, swiglu, linear(&layer.gate_up, true)], "number of inputs"),
        (&[swiglu, keep, linear(&square, true)], "number of inputs"),
        (&[keep, swiglu, keep], "kept already"),
        (&[keep, gate_up, swiglu, onto, onto], "number of inputs"),
        (&[keep, linear(&square, false), linear(&square, true), linear(&square, true)], "were kept before"),
    ] {
        assert!(refused(stages).is_some_and(|message| message.contains(why)), "{why}: {stages:?}");
    }
    assert!(Chain::new(0, &[swiglu]).is_err());
    assert!(Chain::new(usize::MAX, &[swiglu]).is_err());
    assert!(Chain::new(3, &[swiglu]).is_err());
    Ok(())
}

fn chain_and_read(stages: &[Stage<'_>], x: &Array) -> Result<Vec<f32>> {
    let width = usize::try_from(x.dim(-1)).expect("a width");
    read(&Chain::new(width, stages)?.run(x, None)?)
}
