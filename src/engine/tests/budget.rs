//! The memory budget that all models of an engine share.

use proptest::prelude::*;

use crate::engine::Config;
use crate::engine::budget::{Budget, Holding, share, share_with_retained};
use crate::error::Code;

use super::harness::{Harness, SLOW, Spec, spec};

const GB: u64 = 1 << 30;
/// Positions in a KV block of the simulated device.
const BLOCK: u64 = 256;

fn budget(memory_bytes: Option<u64>, kv_bytes: Option<u64>) -> Budget {
    Budget::new(&Config { kv_bytes, memory_bytes, ..Config::default() })
}

#[test]
fn weights_that_do_not_fit_are_refused_with_both_numbers() {
    let budget = budget(Some(16 * GB), None);
    assert!(budget.admit(14 * GB, 0).is_ok());
    assert!(budget.admit(5 * GB, 9 * GB).is_ok());
    let error = budget.admit(5 * GB + 1, 9 * GB).expect_err("an eighth of the memory is not for weights");
    assert_eq!(error.code(), Code::InsufficientMemory);
    assert_eq!((error.limit(), error.requested()), (Some((5 * GB) as f64), Some((5 * GB + 1) as f64)));
    assert!(error.to_string().contains("5368709121 bytes"), "{error}");
}

#[test]
fn nothing_is_refused_if_the_memory_is_unknown() {
    assert!(budget(None, None).admit(u64::MAX, u64::MAX).is_ok());
    assert_eq!(budget(None, None).kv(GB), None);
}

#[test]
fn kv_gets_the_memory_that_weights_leave() {
    assert_eq!(budget(Some(16 * GB), None).kv(4 * GB), Some(8 * GB));
    assert_eq!(budget(Some(16 * GB), None).kv(8 * GB), Some(4 * GB));
    assert_eq!(budget(Some(16 * GB), None).kv(13 * GB), Some(2 * GB), "at least an eighth");
    assert_eq!(budget(Some(16 * GB), Some(GB)).kv(13 * GB), Some(GB), "the user's value");
}

#[test]
fn weights_and_kv_fit_what_the_device_can_use() {
    let device_bytes = Some(11 * GB);
    let budget = Budget::new(&Config { memory_bytes: Some(16 * GB), device_bytes, ..Config::default() });
    assert_eq!(budget.kv(4 * GB), Some(7 * GB));
    assert!(budget.admit(11 * GB, 0).is_ok());
    assert_eq!(budget.admit(12 * GB, 0).expect_err("it does not fit").limit(), Some((11 * GB) as f64));
    let large = Budget::new(&Config { memory_bytes: Some(16 * GB), device_bytes: Some(15 * GB), ..Config::default() });
    assert_eq!(large.kv(4 * GB), Some(8 * GB), "the rest is for the process and the system");
}

#[test]
fn an_idle_model_reserves_no_kv() {
    let (idle, busy) =
        (Holding { bytes: 0, retained: 0, is_busy: false }, Holding { bytes: 700, retained: 0, is_busy: true });
    assert_eq!(share(1_000, &[busy], 0), 1_000);
    assert_eq!(share(1_000, &[busy, idle], 0), 1_000);
    assert_eq!(share(1_000, &[busy, idle], 1), 300);
}

#[test]
fn what_a_model_retains_is_not_reserved_for_it() {
    let retaining = Holding { bytes: 0, retained: 800, is_busy: false };
    let busy = Holding { bytes: 300, retained: 100, is_busy: true };
    assert_eq!(share(1_000, &[busy, retaining], 0), 1_000);
    assert_eq!([0, 1].map(|index| share_with_retained(1_000, &[busy, retaining], index)), [200, 600]);
}

#[test]
fn an_idle_model_gives_retained_kv_to_one_that_has_requests_within_a_turn() {
    let total = 4 * BLOCK;
    let mut harness = Harness::with_kv(total);
    harness.load_slow();
    let mut run = |specs: &[Spec], num_ended: usize| {
        for spec in specs {
            harness.submit(*spec);
        }
        let mut was_above = false;
        while harness.received.values().filter(|received| received.end.is_some()).count() < num_ended {
            harness.turn();
            let is_above = harness.core.kv_held() + harness.core.kv_retained() > total;
            assert!(!(was_above && is_above) && harness.core.kv_held() <= total);
            was_above = is_above;
        }
        harness.core.kv_retained()
    };
    let long = |model, prompt| Spec { model, prompt_len: 200, ..spec(prompt) };
    assert_eq!(run(&[1, 2, 3].map(|prompt| long(super::harness::MODEL, prompt)), 3), 3 * BLOCK);
    run(&[1, 2, 3].map(|prompt| long(SLOW, prompt)), 6);
}

proptest! {
    #[test]
    fn models_within_their_shares_are_within_the_budget(
        total in 0_u64..10_000, bytes in prop::collection::vec(0_u64..12_000, 1..6),
    ) {
        let mut holdings: Vec<_> = bytes.iter().map(|&bytes| Holding { bytes, retained: 0, is_busy: true }).collect();
        for _ in 0..holdings.len() {
            for index in 0..holdings.len() {
                holdings[index].bytes = holdings[index].bytes.min(share(total, &holdings, index));
            }
        }
        prop_assert!(holdings.iter().map(|holding| holding.bytes).sum::<u64>() <= total, "{holdings:?}");
        for index in 0..holdings.len() {
            prop_assert!(share(total, &holdings, index) >= total / (2 * bytes.len() as u64));
        }
    }
}

#[test]
fn two_models_share_the_kv_of_the_engine_and_every_request_ends() {
    let total = 8 * BLOCK;
    let mut harness = Harness::with_kv(total);
    harness.load_slow();
    let specs = |model| (1..=12).map(move |prompt| Spec { model, prompt_len: 200, ..spec(prompt) });
    for spec in specs(super::harness::MODEL).chain(specs(SLOW)) {
        harness.submit(spec);
    }
    let mut most = 0;
    while harness.received.values().filter(|received| received.end.is_some()).count() < 24 {
        harness.turn();
        most = most.max(harness.core.kv_held());
    }
    assert!(most <= total, "{most} of {total}");
    assert!(most > total / 2, "memory is used: {most} of {total}");
    assert!(harness.received.values().all(|received| matches!(received.end, Some(Ok(_)))));
}
