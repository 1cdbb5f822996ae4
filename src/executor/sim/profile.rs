//! Device profiles: how long a step takes on a device with a model, as data. Figures come from measurements of the real
//! pair where there are any, and say so.

use std::time::Duration;

use crate::scheduler::plan::Overlap;

/// How long steps take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// What users type.
    pub name: &'static str,
    /// One decode step of one row.
    pub decode: Duration,
    /// Cost of a decode step by rows, relative to one row: the first entry whose row count is not exceeded counts.
    /// Quantized matrix products cost the same over wide ranges of rows, hence a staircase.
    pub staircase: &'static [(usize, f64)],
    /// A step with prompt tokens costs at least this much more.
    pub prefill_floor: Duration,
    /// And per prompt token at least this much.
    pub prefill_per_token: Duration,
    /// Positions of a sequence.
    pub context_length: usize,
    /// Bytes the KV of one position would take.
    pub kv_bytes_per_position: u64,
    /// Bytes the weights would take.
    pub weight_bytes: u64,
    /// What it takes while it runs a step.
    pub overlap: Overlap,
}

/// Every profile, in the order listed to users.
pub const PROFILES: &[Profile] = &[
    // First token 94.67 ms and 6.39 ms a token were measured sequentially on an M3 Max over 50 short questions; the
    // staircase is that of 4-bit products on the same chip.
    Profile {
        name: "m3-max/llama-3.2-3b-4bit",
        decode: Duration::from_micros(6_390),
        staircase: &[(1, 1.0), (2, 1.1), (4, 1.28), (8, 2.2), (32, 3.2), (64, 6.2)],
        prefill_floor: Duration::from_micros(88_280),
        prefill_per_token: Duration::from_micros(670),
        context_length: 8_192,
        kv_bytes_per_position: 114_688, // 28 layers, 8 heads of 128, 16 bit
        weight_bytes: 1_810_000_000,
        overlap: Overlap::Bounded,
    },
    // Derived, not measured. Decode: 4.5 GB of weights at 400 GB/s take 11.3 ms, and the 3B model above reaches 71 % of
    // that bound. Staircase: 4-bit products of 5120 x 17408, measured on the same chip at 1, 4, 8, 10 to 32 and 33 rows.
    // Prefill: 16 GFLOP a token at the 10 TFLOP/s that this chip should reach where an M4 Max was measured at 13; the
    // least is what 32 rows cost, which is also where the two meet.
    Profile {
        name: "m3-max/llama-3.1-8b-4bit",
        decode: Duration::from_micros(15_900),
        staircase: &[(1, 1.0), (4, 1.28), (8, 2.5), (32, 3.94), (64, 7.77)],
        prefill_floor: Duration::from_micros(46_700),
        prefill_per_token: Duration::from_micros(1_600),
        context_length: 32_768,
        kv_bytes_per_position: 131_072, // 32 layers, 8 heads of 128, 16 bit
        weight_bytes: 4_520_000_000,
        overlap: Overlap::Bounded,
    },
    // A device that costs nothing: what remains is the engine itself.
    Profile {
        name: "instant",
        decode: Duration::ZERO,
        staircase: &[(1, 1.0)],
        prefill_floor: Duration::ZERO,
        prefill_per_token: Duration::ZERO,
        context_length: 8_192,
        kv_bytes_per_position: 1_024,
        weight_bytes: 0,
        overlap: Overlap::None,
    },
];

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().find(|profile| profile.name == name).copied()
    }

    /// How long a step takes that decodes `num_rows` rows and prefills `num_prompt_tokens` tokens.
    pub fn step_time(&self, num_rows: usize, num_prompt_tokens: usize) -> Duration {
        let decode = if num_rows == 0 { Duration::ZERO } else { self.decode.mul_f64(self.factor(num_rows)) };
        if num_prompt_tokens == 0 {
            return decode;
        }
        let tokens = u32::try_from(num_prompt_tokens).unwrap_or(u32::MAX);
        let prefill = self.prefill_floor.max(self.prefill_per_token.saturating_mul(tokens));
        decode.max(self.decode) + prefill
    }

    /// Beyond the last stair the cost grows in proportion to the rows.
    fn factor(&self, num_rows: usize) -> f64 {
        let (last_rows, last_factor) = self.staircase.last().copied().unwrap_or((1, 1.0));
        let stair = self.staircase.iter().find(|&&(rows, _)| num_rows <= rows).map(|&(_, factor)| factor);
        stair.unwrap_or(last_factor * num_rows as f64 / last_rows as f64)
    }
}
