use crate::bench::statistics::{Percentiles, jain};

#[test]
fn percentiles_are_values_of_the_set() {
    let mut values: Vec<_> = (1..=1_000).rev().map(f64::from).collect();
    assert_eq!(Percentiles::of(&mut values), Some(Percentiles { p50: 500.0, p95: 950.0, p99: 990.0 }));
    assert_eq!(Percentiles::of(&mut [7.0]), Some(Percentiles { p50: 7.0, p95: 7.0, p99: 7.0 }));
    assert_eq!(Percentiles::of(&mut [1.0, 9.0]), Some(Percentiles { p50: 1.0, p95: 9.0, p99: 9.0 }));
    assert_eq!(Percentiles::of(&mut []), None);
}

#[test]
fn jain_is_one_for_equals_and_one_of_n_for_a_monopoly() {
    let is = |shares: &[f64], index: f64| assert!((jain(shares.iter().copied()) - index).abs() < 1e-12, "{shares:?}");
    is(&[3.0; 7], 1.0);
    is(&[5.0, 0.0, 0.0, 0.0], 0.25);
    is(&[1.0, 2.0, 3.0], 36.0 / 42.0);
    is(&[0.0, 0.0], 1.0);
}
