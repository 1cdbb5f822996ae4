//! Mutated inputs: changed bytes, moved pieces, repeated and nested words. The same seed makes the same inputs.

/// The longest input. Longer ones make a parser slow rather than deep.
const MAX_INPUT_BYTES: usize = 96 << 10;
const DEPTHS: [usize; 6] = [1, 3, 40, 130, 600, 8_000];

type Words = &'static [(&'static str, &'static str)];

pub(super) struct Mutations {
    seeds: Vec<Vec<u8>>,
    words: Words,
    state: u64,
}

impl Mutations {
    pub(super) fn new(seeds: Vec<Vec<u8>>, words: Words, seed: u64) -> Self {
        Self { seeds, words, state: seed }
    }

    pub(super) fn next_input(&mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        let mut input = self.seeds[seed].clone();
        for _ in 0..=self.below(3) {
            input = self.changed(input);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn changed(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(6) {
            0 => drop(input.drain(at..end)),
            1 => {
                for byte in &mut input[at..end] {
                    *byte ^= 1 << (self.state >> 40 & 7);
                }
            }
            2 => {
                let times = DEPTHS[self.below(4)];
                let repeated = input[at..end].repeat(times);
                input.splice(at..end, repeated);
            }
            3 => {
                let other = self.below(self.seeds.len());
                let from = self.below(self.seeds[other].len() + 1);
                let piece = self.seeds[other][from..].iter().copied().take(200).collect::<Vec<_>>();
                input.splice(at..end, piece);
            }
            _ => {
                let (open, close) = self.words[self.below(self.words.len())];
                let times = DEPTHS[self.below(DEPTHS.len())];
                let middle = input[at..end].to_vec();
                let nested = [open.repeat(times).into_bytes(), middle, close.repeat(times).into_bytes()].concat();
                input.splice(at..end, nested);
            }
        }
        input
    }

    /// The linear congruential generator of Knuth's MMIX.
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap_or(0) % limit.max(1)
    }
}
