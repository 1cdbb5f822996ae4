use std::time::{Duration, Instant};

use crate::bench::original::Original;

#[test]
fn a_single_request_on_an_idle_device_runs_at_once_and_others_wait_for_the_window() {
    let start = Instant::now();
    let mut gate = Original::default();
    gate.add(0, start);
    assert_eq!(gate.open(start, true), [0]);
    gate.add(1, start);
    assert_eq!(gate.open(start, false), [] as [usize; 0]);
    let end = gate.next_opening().expect("a request waits");
    assert_eq!((end - start, gate.open(end, false)), (Duration::from_millis(1), vec![1]));
}

#[test]
fn batches_are_of_four_and_need_no_window_when_full() {
    let start = Instant::now();
    let mut gate = Original::default();
    (0..6).for_each(|request| gate.add(request, start));
    assert_eq!(gate.open(start, false), [0, 1, 2, 3]);
    assert_eq!(gate.open(start, false), [] as [usize; 0]);
}

#[test]
fn the_window_follows_the_depth_after_three_samples() {
    let start = Instant::now();
    let mut gate = Original::default();
    for round in 0..3 {
        (0..20).for_each(|request| gate.add(request, start));
        gate.open(start, false);
        let is_wide = gate.next_opening() == Some(start + Duration::from_millis(2));
        assert_eq!(is_wide, round == 2);
    }
}
