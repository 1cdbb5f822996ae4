use std::time::Duration;

use crate::bench::ledger::{Ledger, Served};
use crate::bench::traffic::Job;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn served(users: &[(usize, &[u64])]) -> Served {
    let mut ledger = Ledger::default();
    for &(user, tokens) in users {
        let place = ledger.add(Job { user, num_prompt: 10, num_answer: tokens.len(), due: at(1_000) });
        for &ms in tokens {
            ledger.token(place, at(ms));
        }
    }
    ledger.sum_up(None)
}

#[test]
fn times_count_from_when_a_request_was_sent() {
    let served = served(&[(0, &[1_100, 1_110, 1_130]), (1, &[1_300, 1_310])]);
    assert_eq!((served.requests, served.tokens), (2, 5));
    assert!((served.seconds - 0.31).abs() < 1e-9);
    assert_eq!(served.ttft_ms.map(|ttft| (ttft.p50.round(), ttft.p99.round())), Some((100.0, 300.0)));
    assert_eq!(served.inter_token_ms.map(|gaps| (gaps.p50.round(), gaps.p99.round())), Some((10.0, 20.0)));
    assert!((served.mean_request_ms - 220.0).abs() < 1e-9);
}

#[test]
fn only_requests_within_both_bounds_count_for_goodput() {
    let late_first: &[u64] = &[3_001, 3_002];
    let slow: &[u64] = &[1_001, 1_300];
    let good: &[u64] = &[1_001, 1_050, 1_200];
    let goodput = served(&[(0, late_first), (0, slow), (0, good)]).goodput;
    assert!((goodput - 1.0 / 2.002).abs() < 1e-9, "{goodput}");
}

#[test]
fn users_with_the_same_wait_for_each_token_are_equal_whatever_their_lengths() {
    assert!((served(&[(0, &[1_010, 1_020]), (1, &[1_010, 1_020, 1_030, 1_040])]).jain - 1.0).abs() < 1e-9);
    assert!(served(&[(0, &[1_010, 1_020]), (1, &[1_100, 1_200])]).jain < 0.65);
}
