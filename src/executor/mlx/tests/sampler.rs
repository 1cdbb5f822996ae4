//! Sampled tokens follow the distribution of the logits.

use mlx_ops::NO_TOKEN;
use mlx_rs::Array;

use super::super::sampler::{SampledRow, Sampler};
use crate::request::SamplingParams;

/// Logits of a small vocabulary: probabilities from about 0.5 down to about 1e-4.
const LOGITS: [f32; 12] = [1.0, 3.0, -2.0, 0.5, 2.0, -5.0, 1.5, 0.0, -1.0, 2.5, -3.0, -0.5];
const SAMPLES: usize = 20_000;

fn counts(row: impl Fn(u64) -> SampledRow) -> [usize; LOGITS.len()] {
    let width = i32::try_from(LOGITS.len()).expect("small");
    let rows: Vec<SampledRow> = (0..SAMPLES as u64).map(row).collect();
    let logits = Array::from_slice(&LOGITS.repeat(SAMPLES), &[i32::try_from(SAMPLES).expect("small"), width]);
    let tokens = Sampler::new(width).sample(&logits, &rows).expect("a sample");
    let mut counts = [0; LOGITS.len()];
    for token in tokens.to_vec_exact::<u32>().expect("tokens") {
        counts[token as usize] += 1;
    }
    counts
}

fn probabilities(temperature: f64, kept: impl Fn(usize) -> bool) -> Vec<f64> {
    let weight =
        |(token, logit): (usize, &f32)| if kept(token) { (f64::from(*logit) / temperature).exp() } else { 0.0 };
    let weights: Vec<f64> = LOGITS.iter().enumerate().map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Pearson's chi-squared test over tokens that are expected at least five times. The limit is the mean of the distribution
/// plus five standard deviations.
fn assert_follows(counts: &[usize], probabilities: &[f64]) {
    let cells: Vec<(f64, f64)> = counts
        .iter()
        .zip(probabilities)
        .map(|(count, probability)| (*count as f64, probability * SAMPLES as f64))
        .filter(|(_, expected)| *expected >= 5.0)
        .collect();
    let distance: f64 = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    let freedom = (cells.len() - 1) as f64;
    assert!(distance <= freedom + 5.0 * (2.0 * freedom).sqrt(), "{distance} with {freedom} degrees: {counts:?}");
}

fn params(temperature: f32, top_p: f32, seed: u64) -> SamplingParams {
    SamplingParams { temperature, top_p, seed, ..SamplingParams::GREEDY }
}

#[test]
fn samples_over_positions_follow_the_distribution() {
    for temperature in [0.5_f32, 1.0, 2.0] {
        let counts = counts(|position| SampledRow { params: params(temperature, 1.0, 42), position });
        assert_follows(&counts, &probabilities(f64::from(temperature), |_| true));
    }
}

#[test]
fn samples_over_seeds_follow_the_distribution() {
    let counts = counts(|seed| SampledRow { params: params(1.0, 1.0, seed), position: 7 });
    assert_follows(&counts, &probabilities(1.0, |_| true));
}

#[test]
fn the_nucleus_is_computed_at_temperature_one_and_no_other_token_is_sampled() {
    let full = probabilities(1.0, |_| true);
    for (top_p, temperature) in [(0.3_f32, 1.0_f32), (0.8, 1.0), (0.8, 4.0), (0.99, 4.0)] {
        let above = |token: usize| full.iter().filter(|other| **other > full[token]).sum::<f64>();
        let kept = |token: usize| above(token) < f64::from(top_p);
        let counts = counts(|seed| SampledRow { params: params(temperature, top_p, seed), position: 1 });
        for token in (0..LOGITS.len()).filter(|token| !kept(*token)) {
            assert_eq!(counts[token], 0, "token {token} is outside the nucleus of {top_p}");
        }
        assert_follows(&counts, &probabilities(f64::from(temperature), kept));
    }
}

#[test]
fn tokens_excluded_at_temperature_one_are_never_sampled() {
    let full = probabilities(1.0, |_| true);
    let most = full.iter().fold(0.0, |most: f64, probability| most.max(*probability));
    let rank = |token: usize| full.iter().filter(|other| **other > full[token]).count();
    let above = |token: usize| full.iter().filter(|other| **other > full[token]).sum::<f64>();
    for (top_k, min_p, top_p) in [(3, 0.0_f32, 1.0_f32), (0, 0.1, 1.0), (5, 0.2, 1.0), (2, 0.0, 0.9), (6, 0.05, 0.8)] {
        let params = SamplingParams { top_p, top_k, min_p, ..params(3.0, 1.0, 0) };
        let kept = |token: usize| {
            (top_k == 0 || rank(token) < top_k as usize)
                && full[token] >= f64::from(min_p) * most
                && above(token) < f64::from(top_p)
        };
        let counts = counts(|seed| SampledRow { params: SamplingParams { seed, ..params }, position: 1 });
        for token in (0..LOGITS.len()).filter(|token| !kept(*token)) {
            assert_eq!(counts[token], 0, "token {token} is excluded by {params:?}");
        }
        assert_follows(&counts, &probabilities(3.0, kept));
    }
}

#[test]
fn a_rows_token_does_not_depend_on_the_other_rows() {
    let open = params(1.0, 1.0, 5);
    let rows = [
        SamplingParams { top_k: 2, ..open },
        SamplingParams::GREEDY,
        open,
        SamplingParams { min_p: 0.3, ..open },
        SamplingParams { top_p: 0.5, ..open },
        SamplingParams { seed: 6, ..open },
    ];
    let sample = |rows: &[SampledRow]| {
        let logits = Array::from_slice(&LOGITS.repeat(rows.len()), &[i32::try_from(rows.len()).expect("few"), 12]);
        Sampler::new(12).sample(&logits, rows).expect("a sample").to_vec_exact::<u32>().expect("tokens")
    };
    for position in 0..50 {
        let rows = rows.map(|params| SampledRow { params, position });
        let alone: Vec<_> = rows.iter().flat_map(|row| sample(&[*row])).collect();
        assert_eq!(sample(&rows), alone, "position {position}");
    }
}

#[test]
fn consecutive_samples_of_a_seed_are_independent() {
    // With equal logits, pairs of neighbouring positions must fall evenly into all cells.
    let rows: Vec<SampledRow> =
        (0..SAMPLES as u64).map(|position| SampledRow { params: params(1.0, 1.0, 9), position }).collect();
    let logits = Array::from_slice(&vec![0.0_f32; SAMPLES * 8], &[i32::try_from(SAMPLES).expect("small"), 8]);
    let tokens = Sampler::new(8).sample(&logits, &rows).expect("a sample").to_vec_exact::<u32>().expect("tokens");
    let mut counts = [0_usize; 64];
    for pair in tokens.windows(2) {
        counts[(pair[0] * 8 + pair[1]) as usize] += 1;
    }
    assert_follows(&counts, &[1.0 / 64.0; 64]);
}

#[test]
fn sampled_rows_do_not_change_greedy_rows() {
    let rows = [params(0.0, 1.0, 0), params(1.0, 1.0, 1), params(0.0, 0.5, 2)];
    let rows = rows.map(|params| SampledRow { params, position: 3 });
    let logits = Array::from_slice(&LOGITS.repeat(3), &[3, 12]);
    let tokens = Sampler::new(12).sample(&logits, &rows).expect("a sample").to_vec_exact::<u32>().expect("tokens");
    assert_eq!((tokens[0], tokens[2]), (1, 1));
}

/// The tokens that the host reads for rows of logits.
fn checked(rows: &[[f32; 4]], params: SamplingParams) -> Vec<u32> {
    let shape = [i32::try_from(rows.len()).expect("few"), 4];
    let logits = Array::from_slice(&rows.concat(), &shape);
    let rows: Vec<SampledRow> = (0..rows.len() as u64).map(|position| SampledRow { params, position }).collect();
    let sampler = Sampler::new(4);
    let tokens = sampler.sample(&logits, &rows).expect("a sample");
    let fed = tokens.to_vec_exact::<u32>().expect("tokens");
    assert!(fed.iter().all(|token| *token < 4), "{fed:?}: the device feeds these tokens");
    let checked = sampler.checked(&logits, &tokens).expect("checked").to_vec_exact().expect("tokens");
    let at_once = sampler.on_cpu(true).checked(&logits, &tokens).expect("checked").to_vec_exact::<u32>();
    assert_eq!(checked, at_once.expect("tokens"), "in one operation");
    checked
}

#[test]
fn only_rows_with_nan_or_infinite_logits_have_no_token() {
    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    let broken = [
        [NAN; 4],
        [NAN, 1.0, 2.0, 0.0],
        [1.0, 0.0, 2.0, NAN],
        [INF, 1.0, 2.0, 0.0],
        [-1.0, 1.0, INF, -INF],
        [INF, INF, 1.0, 2.0],
        [INF, NAN, -INF, 0.0],
        [-INF; 4],
    ];
    // A model may exclude a token by its own logits, and finite logits may be large.
    let sound = [[1.0, 9.0, -9.0, 0.0], [-INF, -INF, 50.0, -INF], [-3e37, 0.0, 3e37, -3e37], [-INF, 0.0, 200.0, 100.0]];
    let sampled = |top_p, min_p| SamplingParams { min_p, ..params(0.7, top_p, 3) };
    for params in [SamplingParams::GREEDY, sampled(1.0, 0.0), sampled(0.9, 0.0), sampled(1.0, 0.1)] {
        let rows: Vec<_> = broken.iter().flat_map(|row| sound.iter().flat_map(|sound| [*row, *sound])).collect();
        for (row, token) in rows.iter().zip(checked(&rows, params)) {
            let is_sound = sound.contains(row);
            assert_eq!(token != NO_TOKEN, is_sound, "{row:?}, {params:?}");
            assert!(!is_sound || row[token as usize] > 0.0, "{row:?}: {token}");
        }
    }
}
