//! Processed logits equal a plain computation row by row, with the last token read or unread.

use std::collections::HashMap;

use mlx_rs::Array;

use super::super::logits_processors::{LogitsProcessor, process_logits};
use crate::request::{SamplingParams, TokenId};

const VOCAB: usize = 16;

/// A row with its tokens and parameters.
struct Row {
    logits: [f32; VOCAB],
    prompt: Vec<TokenId>,
    answer: Vec<TokenId>,
    bias: Vec<(TokenId, f32)>,
    params: SamplingParams,
}

/// Pseudorandom numbers, equal in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn token(&mut self) -> TokenId {
        TokenId::try_from(self.below(VOCAB as u64)).expect("small")
    }

    fn tokens(&mut self, most: u64) -> Vec<TokenId> {
        (0..self.below(most + 1)).map(|_| self.token()).collect()
    }

    #[allow(clippy::cast_possible_truncation)] // rounding is intended
    fn real(&mut self, from: f64, to: f64) -> f32 {
        (from + (to - from) * self.below(1_000) as f64 / 1_000.0) as f32
    }

    fn row(&mut self) -> Row {
        let mut params = SamplingParams::GREEDY;
        if self.below(2) == 0 {
            params.repetition_penalty = self.real(0.5, 2.0);
            params.repetition_context = u32::try_from(1 + self.below(8)).expect("small");
        }
        if self.below(2) == 0 {
            params.presence_penalty = self.real(-2.0, 2.0);
        }
        if self.below(2) == 0 {
            params.frequency_penalty = self.real(-2.0, 2.0);
        }
        let biased = if self.below(2) == 0 { self.tokens(3) } else { Vec::new() };
        let bias: HashMap<TokenId, f32> = biased.into_iter().map(|token| (token, self.real(-9.0, 9.0))).collect();
        let mut prompt = self.tokens(6);
        prompt.push(self.token());
        let logits = std::array::from_fn(|_| self.real(-4.0, 4.0));
        Row { logits, prompt, answer: self.tokens(9), bias: bias.into_iter().collect(), params }
    }
}

impl Row {
    /// The expected logits, in the order of mlx-lm.
    fn expected(&self) -> Vec<f32> {
        let mut logits = self.logits.to_vec();
        for (token, bias) in &self.bias {
            logits[*token as usize] += bias;
        }
        let known: Vec<_> = self.prompt.iter().chain(&self.answer).copied().collect();
        let context = self.params.repetition_context as usize;
        let mut recent = known[known.len().saturating_sub(context)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            let logit = &mut logits[token as usize];
            let penalty = self.params.repetition_penalty;
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
        for (token, logit) in (0..).zip(&mut logits) {
            let times = self.answer.iter().filter(|other| **other == token).count();
            if times > 0 {
                *logit -= self.params.presence_penalty + self.params.frequency_penalty * times as f32;
            }
        }
        logits
    }

    /// The row as the host knows it. With `has_unread`, the last token of the answer is unknown.
    fn processor(&self, has_unread: bool) -> LogitsProcessor {
        let has_unread = has_unread && !self.answer.is_empty();
        let known = &self.answer[..self.answer.len() - usize::from(has_unread)];
        let mut token_counts = HashMap::new();
        for token in known {
            *token_counts.entry(*token).or_default() += 1;
        }
        let all: Vec<_> = self.prompt.iter().chain(known).copied().collect();
        let penalizes = self.params.penalizes_repetition();
        let num_recent = if penalizes { self.params.repetition_context as usize - usize::from(has_unread) } else { 0 };
        LogitsProcessor {
            bias: self.bias.clone(),
            recent: all[all.len().saturating_sub(num_recent)..].to_vec(),
            token_counts: token_counts.into_iter().collect(),
            has_unread,
            params: self.params,
        }
    }

    fn last(&self) -> TokenId {
        *self.answer.last().or(self.prompt.last()).expect("a token")
    }
}

#[test]
fn processed_logits_equal_a_plain_computation() {
    let mut numbers = Numbers(1);
    for round in 0..300 {
        let rows: Vec<Row> = (0..=numbers.below(6)).map(|_| numbers.row()).collect();
        for unread in [false, true] {
            let shape = [i32::try_from(rows.len()).expect("few"), i32::try_from(VOCAB).expect("few")];
            let logits: Vec<f32> = rows.iter().flat_map(|row| row.logits).collect();
            let last: Vec<TokenId> = rows.iter().map(Row::last).collect();
            let last = unread.then(|| Array::from_slice(&last, &[shape[0], 1]));
            let processors: Vec<_> = rows.iter().map(|row| row.processor(unread)).collect();
            let processed =
                process_logits(&Array::from_slice(&logits, &shape), &processors, last.as_ref()).expect("a step");
            let expected: Vec<f32> = rows.iter().flat_map(Row::expected).collect();
            let processed = processed.to_vec_exact::<f32>().expect("logits");
            for (at, (found, wanted)) in processed.iter().zip(&expected).enumerate() {
                let row = &processors[at / VOCAB];
                assert!((found - wanted).abs() < 1e-4, "round {round}, {at}: {found} for {wanted}; {row:?}");
            }
        }
    }
}
