//! Log-probabilities equal those of mlx-lm. They are those of the model's distribution, before logits processors, and have the
//! same bits in any batch.

use mlx_serving::executor::mlx::{AttentionKind, MlxExecutor};
use mlx_serving::request::{SamplingParams, TokenId, TokenLogprob};

use super::against_itself::prompt;
use super::driver::{ANSWER, Driver};
use super::folders::{CASES, expected, logprobs, open};

const VOCAB: usize = 128;
/// Tokens after which rows are compared.
const COMPARED: usize = 24;

/// Log-probabilities, sorted from the most probable. Among equals the smaller id comes first.
fn ranked(logprobs: &[f32]) -> Vec<TokenLogprob> {
    let token = |(token, &logprob)| TokenLogprob { token: TokenId::try_from(token).expect("small"), logprob };
    let mut ranked: Vec<_> = logprobs.iter().enumerate().map(token).collect();
    ranked.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
    ranked
}

/// Log-softmax in double precision.
#[allow(clippy::cast_possible_truncation)]
fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    logits.iter().map(|logit| (f64::from(*logit) - sum.ln()) as f32).collect()
}

/// `found` holds the sampled token and the most probable ones, with the known log-probabilities.
fn assert_found(found: &[TokenLogprob], sampled: TokenId, num_top: usize, known: &[f32], tolerance: f32) {
    assert_eq!((found[0].token, found.len()), (sampled, 1 + num_top));
    for (it, rank) in found[1..].iter().zip(ranked(known)) {
        // Two nearly equal tokens may have swapped places.
        assert!((it.logprob - rank.logprob).abs() < tolerance, "{it:?} is ranked where {rank:?} is known");
    }
    for it in found {
        let known = known[it.token as usize];
        assert!((it.logprob - known).abs() < tolerance, "{it:?} is known as {known}");
    }
    let tokens: std::collections::BTreeSet<_> = found[1..].iter().map(|it| it.token).collect();
    assert_eq!(tokens.len(), num_top, "each once");
}

#[test]
fn log_probabilities_are_those_of_mlx_lm() {
    for kind in [AttentionKind::Auto, AttentionKind::Composed] {
        let mut executor = open("base", kind);
        let expected = expected("base");
        let mut driver = Driver::new(&mut executor);
        for (id, it) in (0..).zip(&expected) {
            driver.add(id, &it.prompt, SamplingParams::GREEDY);
            driver.ask_logprobs(20);
        }
        driver.run(ANSWER);
        for (id, it) in (0..).zip(&expected) {
            let known = logprobs(it.prompt.len(), VOCAB);
            assert!(known.len() >= 16, "{} are recorded", known.len());
            for ((found, sampled), known) in driver.logprobs(id).iter().zip(&it.tokens).zip(&known) {
                assert_found(found, *sampled, 20, known, 1e-4);
            }
        }
    }
}

#[test]
fn log_probabilities_are_those_of_the_model_before_logits_processors() {
    let hot = SamplingParams { temperature: 2.0, seed: 3, top_k: 4, presence_penalty: 2.0, ..SamplingParams::GREEDY };
    let bias: Vec<_> = (0..40).map(|token| (token, 30.0)).collect();
    for case in CASES {
        let mut executor = open(case, AttentionKind::Auto);
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(7), SamplingParams::GREEDY);
        driver.add_biased(1, &prompt(7), hot, &bias);
        driver.ask_logprobs(20);
        for count in 1..9 {
            let logits = driver.logits().remove(&1).expect("it runs");
            driver.run(count);
            let found = driver.logprobs(1).last().expect("it asked");
            assert_eq!(driver.logprobs(0).len(), 0, "it did not ask");
            assert!(found[0].token < 40, "it was sampled from the biased tokens");
            assert_found(found, found[0].token, 20, &log_softmax(&logits), 1e-4);
        }
    }
}

/// The log-probabilities of one row as bits.
fn bits(found: &[Vec<TokenLogprob>], num_top: u8) -> Vec<(TokenId, u32)> {
    let of_token = |found: &Vec<TokenLogprob>| found[..=num_top.into()].to_vec();
    found.iter().flat_map(of_token).map(|it| (it.token, it.logprob.to_bits())).collect()
}

/// Rows with different numbers of log-probabilities, among rows without: each gets the same bits as alone.
pub(super) fn assert_same_alone_and_together(executor: &mut MlxExecutor) {
    let rows = [(1, Some(20)), (33, None), (7, Some(0)), (260, Some(3)), (33, Some(20)), (9, None), (12, Some(1))];
    let alone: Vec<_> = rows
        .map(|(len, _)| {
            let mut driver = Driver::new(executor);
            driver.add(0, &prompt(len), SamplingParams::GREEDY);
            driver.ask_logprobs(20);
            driver.run(COMPARED);
            driver.logprobs(0).to_vec()
        })
        .into();
    let mut driver = Driver::new(executor);
    for (id, (len, asked)) in (0..).zip(rows) {
        driver.add(id, &prompt(len), SamplingParams::GREEDY);
        if let Some(num_top) = asked {
            driver.ask_logprobs(num_top);
        }
        driver.run_ahead(3);
    }
    driver.run_ahead(COMPARED);
    for ((id, (_, asked)), alone) in (0..).zip(rows).zip(&alone) {
        match asked {
            Some(num_top) => assert_eq!(bits(driver.logprobs(id), num_top), bits(alone, num_top), "row {id}"),
            None => assert_eq!(driver.logprobs(id).len(), 0, "row {id}"),
        }
    }
}

/// A row that is recomputed from its prompt and its tokens gets the same bits.
pub(super) fn assert_same_when_computed_again(executor: &mut MlxExecutor) {
    let mut driver = Driver::new(executor);
    driver.add(0, &prompt(33), SamplingParams::GREEDY);
    driver.ask_logprobs(20);
    driver.run(COMPARED);
    let whole = driver.logprobs(0).to_vec();
    let tokens = driver.remove(0);
    for num_known in [1, 9, COMPARED - 1] {
        let known: Vec<_> = prompt(33).into_iter().chain(tokens[..num_known].iter().copied()).collect();
        let mut driver = Driver::new(executor);
        driver.add(0, &known, SamplingParams::GREEDY);
        driver.ask_logprobs(20);
        driver.run(COMPARED - num_known);
        assert_eq!(bits(driver.logprobs(0), 20), bits(&whole[num_known..], 20), "after {num_known} tokens");
    }
}

#[test]
fn log_probabilities_are_the_same_alone_and_among_rows_with_more_or_fewer_or_none() {
    assert_same_alone_and_together(&mut open("base", AttentionKind::Auto));
}

#[test]
fn log_probabilities_of_a_recomputed_row_are_the_same() {
    assert_same_when_computed_again(&mut open("base", AttentionKind::Auto));
}
