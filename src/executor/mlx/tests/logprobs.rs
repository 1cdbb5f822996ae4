//! Log-probabilities of rows of logits, compared with their definition.

use mlx_rs::Array;

use super::super::logprobs::Asking;
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::StepLogprobs;

const VOCAB: usize = 12;
/// Three pairs of tokens are equally probable; the last logit is far below the others.
const LOGITS: [f32; VOCAB] = [1.0, 3.0, -2.0, 0.5, 2.0, -5.0, 2.0, 0.0, 0.5, 3.0, -3.0, -80.0];
const RANKED: [TokenId; VOCAB] = [1, 9, 4, 6, 0, 3, 8, 7, 2, 10, 5, 11];

/// Reports of rows (constant added to `LOGITS`, sampled token, number of log-probabilities if the row asks for any).
fn reported(rows: &[(f32, TokenId, Option<usize>)]) -> StepLogprobs {
    let mut asking = Asking::default();
    for (place, &(_, _, asked)) in rows.iter().enumerate() {
        if let Some(num_top) = asked {
            asking.push(place, SequenceId(place as u64), num_top);
        }
    }
    let logits: Vec<f32> = rows.iter().flat_map(|(raise, ..)| LOGITS.map(|logit| logit + raise)).collect();
    let sampled: Vec<TokenId> = rows.iter().map(|(_, sampled, _)| *sampled).collect();
    let shape = [i32::try_from(rows.len()).expect("few"), i32::try_from(VOCAB).expect("few")];
    let sampled = Array::from_slice(&sampled, &shape[..1]);
    let unread = asking.answer(&Array::from_slice(&logits, &shape), &sampled).expect("computed");
    unread.map_or_else(StepLogprobs::new, |unread| unread.read().expect("read"))
}

fn known(token: TokenId) -> f64 {
    let sum: f64 = LOGITS.iter().map(|logit| f64::from(*logit).exp()).sum();
    f64::from(LOGITS[token as usize]) - sum.ln()
}

#[test]
fn all_log_probabilities_are_the_whole_distribution_in_order() {
    for raise in [0.0, 7.5, -300.0, 1000.0] {
        let reported = &reported(&[(raise, 7, Some(VOCAB))])[&SequenceId(0)];
        let tokens: Vec<_> = reported.iter().map(|it| it.token).collect();
        assert_eq!(tokens, [&[7], &RANKED[..]].concat(), "the sampled token, then by probability, then by id");
        let sum: f64 = reported[1..].iter().map(|it| f64::from(it.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "raised by {raise}: {sum}");
        for it in reported {
            assert!((f64::from(it.logprob) - known(it.token)).abs() < 1e-4, "raised by {raise}: {it:?}");
        }
    }
}

#[test]
fn each_row_gets_the_number_it_asks_for_independent_of_other_rows() {
    let rows = [(0.0, 5, Some(2)), (1.0, 4, None), (0.0, 1, Some(0)), (2.0, 11, Some(20)), (0.0, 2, Some(4))];
    let together = reported(&rows);
    assert_eq!(together.len(), 4);
    for (place, row) in rows.iter().enumerate() {
        let alone = reported(&[*row]).remove(&SequenceId(0));
        assert_eq!(together.get(&SequenceId(place as u64)), alone.as_ref(), "row {place}");
        let expected = row.2.map(|num_top| 1 + num_top.min(VOCAB));
        assert_eq!(alone.map(|reported| reported.len()), expected, "row {place}");
    }
}

#[test]
fn nothing_is_computed_if_no_row_asks() {
    let logits = Array::from_slice(&LOGITS, &[1, 12]);
    let sampled = Array::from_slice(&[1_u32], &[1]);
    assert!(Asking::default().answer(&logits, &sampled).expect("nothing to do").is_none());
}
