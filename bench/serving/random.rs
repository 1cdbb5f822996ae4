//! Seeded random numbers (`SplitMix64`: Steele, Lea and Flood, 2014) in the distributions of the traffic.

/// A stream of random numbers; equal seeds give equal streams on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Below a bound.
    #[expect(clippy::cast_possible_truncation, reason = "below a bound that is a usize")]
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Exponential with mean 1: the gaps of a Poisson process of rate 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Log-normal with that mean; `sigma` is the standard deviation of its logarithm.
    pub(crate) fn log_normal(&mut self, mean: f64, sigma: f64) -> f64 {
        let angle = std::f64::consts::TAU * self.unit();
        let normal = (2.0 * self.exponential()).sqrt() * angle.cos();
        mean * (sigma * normal - sigma * sigma / 2.0).exp()
    }
}
