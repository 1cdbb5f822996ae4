//! Device profiles: how long a step takes on a device with a model, as data. The comment of a profile says whether its figures
//! were measured or derived.

use std::time::Duration;

use crate::scheduler::plan::Overlap;

use super::work::Work;

/// How long steps take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The name by which users select the profile.
    pub name: &'static str,
    /// Time of a decode step of one row.
    pub decode: Duration,
    /// Time of a decode step relative to one row, as (most rows, factor): the first entry with enough rows applies.
    /// Quantized matrix products cost the same over wide ranges of rows, hence a staircase.
    pub staircase: &'static [(usize, f64)],
    /// The least additional time of a step with prompt tokens.
    pub prefill_floor: Duration,
    /// Additional time for each prompt token, if all of them together take more than `prefill_floor`.
    pub prefill_per_token: Duration,
    /// Additional time of attention.
    pub attention: Attention,
    /// Command buffers of a step, as (most rows, buffers): the first entry with enough rows applies, else the last one. Without
    /// entries, submitting a step takes no time.
    pub command_buffers: &'static [(usize, u32)],
    /// Positions of a sequence.
    pub context_length: usize,
    /// Bytes the KV of one position would take.
    pub kv_bytes_per_position: u64,
    /// Bytes the weights would take.
    pub weight_bytes: u64,
    /// Which further steps the device accepts while it runs one.
    pub overlap: Overlap,
}

/// What attention takes, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// For each position whose keys and values a row reads.
    pub per_position: f64,
    /// For each pair of a prompt token and a position that it attends to.
    pub per_pair: f64,
}

impl Attention {
    /// Attention that costs nothing.
    pub const FREE: Self = Self { per_position: 0.0, per_pair: 0.0 };

    /// Keys and values are read at the memory bandwidth of an M3 Max: 400 GB/s, or bytes a nanosecond. A pair takes four
    /// operations for each value of the query heads of each layer, at 10 TFLOP/s.
    const fn of_m3_max(kv_bytes_per_position: u64, num_layers: u64, query_size: u64) -> Self {
        let operations = 4 * num_layers * query_size;
        Self { per_position: kv_bytes_per_position as f64 / 400.0, per_pair: operations as f64 / 10_000.0 }
    }
}

/// Every profile, in the order listed to users. `docs/metal.md` counts bytes, kernels and command buffers.
pub const PROFILES: &[Profile] = &[
    // Measured on an M3 Max with 50 short questions, one after another: 94.67 ms to the first token, and 6.39 ms for each
    // further token. The staircase is that of 4-bit products on the same chip.
    Profile {
        name: "m3-max/llama-3.2-3b-4bit",
        decode: Duration::from_micros(6_390),
        staircase: &[(1, 1.0), (2, 1.1), (4, 1.28), (8, 2.2), (32, 3.2), (64, 6.2)],
        prefill_floor: Duration::from_micros(88_280),
        prefill_per_token: Duration::from_micros(670),
        attention: Attention::of_m3_max(114_688, 28, 24 * 128),
        command_buffers: &[(1, 9), (8, 10), (32, 12)],
        context_length: 8_192,
        kv_bytes_per_position: 114_688, // 28 layers, 8 heads of 128, 16 bit
        weight_bytes: 1_810_000_000,
        overlap: Overlap::Bounded,
    },
    // Derived, not measured. Decode: 4.5 GB of weights at 400 GB/s take 11.3 ms, and the 3B model above reaches 71 % of
    // that bound. Staircase: 4-bit products of 5120 x 17408, measured on the same chip at 1, 4, 8, 10 to 32 and 33 rows.
    // Prefill: 16 GFLOP a token at 10 TFLOP/s, which this chip should reach: an M4 Max was measured at 13. The floor is the time
    // that 32 rows take more than one row, about the time of 30 prompt tokens.
    Profile {
        name: "m3-max/llama-3.1-8b-4bit",
        decode: Duration::from_micros(15_900),
        staircase: &[(1, 1.0), (4, 1.28), (8, 2.5), (32, 3.94), (64, 7.77)],
        prefill_floor: Duration::from_micros(46_700),
        prefill_per_token: Duration::from_micros(1_600),
        attention: Attention::of_m3_max(131_072, 32, 32 * 128),
        command_buffers: &[(32, 22)],
        context_length: 32_768,
        kv_bytes_per_position: 131_072, // 32 layers, 8 heads of 128, 16 bit
        weight_bytes: 4_520_000_000,
        overlap: Overlap::Bounded,
    },
    // Steps take no time, so a measurement shows the time of the engine alone.
    Profile {
        name: "instant",
        decode: Duration::ZERO,
        staircase: &[(1, 1.0)],
        prefill_floor: Duration::ZERO,
        prefill_per_token: Duration::ZERO,
        attention: Attention::FREE,
        command_buffers: &[],
        context_length: 8_192,
        kv_bytes_per_position: 1_024,
        weight_bytes: 0,
        overlap: Overlap::None,
    },
    // Derived, not measured. Decode: 1.9 GB of experts in use, router, attention and head at 400 GB/s, and 4.4 µs for each of
    // 1,260 kernels, as much as a kernel adds to the bound of the 3B model above. Staircase: below 64 tokens each row reads its
    // own experts, 1.02 GB. Prefill: a step reads all weights, 17.2 GB; 6.6 GFLOP a token at 10 TFLOP/s.
    Profile {
        name: "m3-max/qwen3-30b-a3b-4bit",
        decode: Duration::from_micros(10_300),
        staircase: &[(1, 1.0), (2, 1.26), (4, 1.78), (8, 2.9), (16, 4.9), (32, 8.9)],
        prefill_floor: Duration::from_micros(48_600),
        prefill_per_token: Duration::from_micros(660),
        attention: Attention::of_m3_max(98_304, 48, 32 * 128),
        command_buffers: &[(32, 100)],
        context_length: 40_960,
        kv_bytes_per_position: 98_304, // 48 layers, 4 heads of 128, 16 bit
        weight_bytes: 17_200_000_000,
        overlap: Overlap::Bounded,
    },
    // Derived, not measured. Decode: 15.3 GB at 400 GB/s, and 4.4 µs for each of 1,440 kernels. Staircase: that of the 8B
    // model. Prefill: 54 GFLOP a token at 10 TFLOP/s; the least is what 32 rows cost.
    Profile {
        name: "m3-max/gemma-2-27b-4bit",
        decode: Duration::from_micros(44_600),
        staircase: &[(1, 1.0), (4, 1.28), (8, 2.5), (32, 3.94), (64, 7.77)],
        prefill_floor: Duration::from_millis(131),
        prefill_per_token: Duration::from_micros(5_400),
        attention: Attention::of_m3_max(376_832, 46, 32 * 128),
        command_buffers: &[(32, 92)],
        context_length: 8_192,
        kv_bytes_per_position: 376_832, // 46 layers, 16 heads of 128, 16 bit
        weight_bytes: 15_300_000_000,
        overlap: Overlap::Bounded,
    },
];

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().find(|profile| profile.name == name).copied()
    }

    /// How long a step takes.
    pub fn step_time(&self, work: Work) -> Duration {
        let decode = if work.num_rows == 0 { Duration::ZERO } else { self.decode.mul_f64(self.factor(work.num_rows)) };
        let attention = self.attention_time(work);
        if work.num_prompt_tokens == 0 {
            return decode + attention;
        }
        let tokens = u32::try_from(work.num_prompt_tokens).unwrap_or(u32::MAX);
        let prefill = self.prefill_floor.max(self.prefill_per_token.saturating_mul(tokens));
        decode.max(self.decode) + prefill + attention
    }

    fn attention_time(&self, work: Work) -> Duration {
        let Attention { per_position, per_pair } = self.attention;
        // Attention reads a position; a copy reads and writes it, which counts twice.
        let num_moved = work.num_positions + 2 * work.num_copied;
        Duration::from_secs_f64((num_moved as f64 * per_position + work.num_pairs as f64 * per_pair) / 1e9)
    }

    /// Command buffers of a step with so many rows.
    pub(super) fn num_command_buffers(&self, num_rows: usize) -> u32 {
        let stair = self.command_buffers.iter().find(|&&(rows, _)| num_rows <= rows).or(self.command_buffers.last());
        stair.map_or(0, |&(_, buffers)| buffers)
    }

    /// Beyond the last stair the cost grows in proportion to the rows.
    fn factor(&self, num_rows: usize) -> f64 {
        let (last_rows, last_factor) = self.staircase.last().copied().unwrap_or((1, 1.0));
        let stair = self.staircase.iter().find(|&&(rows, _)| num_rows <= rows).map(|&(_, factor)| factor);
        stair.unwrap_or(last_factor * num_rows as f64 / last_rows as f64)
    }
}
