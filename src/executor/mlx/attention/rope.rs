//! The rotary embedding: its frequencies under the model's scaling, and the operation.

use std::f64::consts::PI;

use mlx_rs::Array;
use mlx_rs::fast::rope_dynamic;

use super::super::failure::Mlx;
use super::super::spec::{AttentionSpec, Rope, RopeScaling};

/// The rotation of queries and keys in a layer. Exactly one of `base` and `periods` is set.
pub(super) struct Rotation {
    traditional: bool,
    base: Option<f32>,
    periods: Option<Array>,
    scale: f32,
}

impl Rotation {
    #[allow(clippy::cast_possible_truncation)] // the device computes in f32
    pub(super) fn new(spec: &AttentionSpec) -> Self {
        let (rope, head_dim) = (&spec.rope, spec.head_dim);
        let plain = |scale: f64| (Some(rope.base as f32), None, scale as f32);
        let (base, periods, scale) = match rope.scaling {
            RopeScaling::None => plain(1.0),
            RopeScaling::Linear { factor } => plain(1.0 / factor),
            RopeScaling::Llama3 { .. } => {
                let periods: Vec<f32> = periods(rope, head_dim).into_iter().map(|period| period as f32).collect();
                (None, Some(Array::from_slice(&periods, &[head_dim / 2])), 1.0)
            }
        };
        Self { traditional: rope.traditional, base, periods, scale }
    }

    /// Rotates [n, heads, 1, head dim] by [n] positions.
    pub(super) fn apply(&self, x: &Array, positions: &Array) -> Mlx<Array> {
        rope_dynamic(x, x.dim(-1), self.traditional, self.base, self.scale, positions, self.periods.as_ref())
    }
}

/// The wavelength of each rotated pair divided by 2π, `head_dim / 2` values: position / period is the angle.
pub(super) fn periods(rope: &Rope, head_dim: i32) -> Vec<f64> {
    let pairs = 0..head_dim / 2;
    pairs.map(|pair| scaled(rope, rope.base.powf(f64::from(2 * pair) / f64::from(head_dim)))).collect()
}

/// Between two wavelengths, Llama 3's rule interpolates between the scaled and the original frequency. It was published with
/// Llama 3.1, and public engines implement it equally.
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
