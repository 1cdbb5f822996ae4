//! Frequencies of the rotary embedding, per the scaling a model was trained with.

use std::f64::consts::PI;

use super::super::spec::{Rope, RopeScaling};

/// The wavelength of each rotated pair, over 2π: position / period is the angle. `head_dim / 2` values.
pub(super) fn periods(rope: &Rope, head_dim: i32) -> Vec<f64> {
    let pairs = 0..head_dim / 2;
    pairs.map(|pair| scaled(rope, rope.base.powf(f64::from(2 * pair) / f64::from(head_dim)))).collect()
}

/// Llama 3's rule blends, between two wavelengths, the stretched and the original frequency; it is described with the
/// Llama 3.1 release and implemented alike by the public engines.
fn scaled(rope: &Rope, period: f64) -> f64 {
    match rope.scaling {
        RopeScaling::None => period,
        RopeScaling::Linear { factor } => period * factor,
        RopeScaling::Llama3 { factor, low, high, original } => {
            let wavelength = 2.0 * PI * period;
            if wavelength > original / low {
                period * factor
            } else if wavelength > original / high {
                let smooth = (original / wavelength - low) / (high - low);
                period / ((1.0 - smooth) / factor + smooth)
            } else {
                period
            }
        }
    }
}
