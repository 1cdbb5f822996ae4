use crate::bench::random::Random;

fn mean(num: usize, mut draw: impl FnMut() -> f64) -> f64 {
    (0..num).map(|_| draw()).sum::<f64>() / num as f64
}

#[test]
fn draws_have_the_requested_means() {
    let mut random = Random::new(1);
    assert!((mean(100_000, || random.unit()) - 0.5).abs() < 0.01);
    assert!((mean(100_000, || random.exponential()) - 1.0).abs() < 0.02);
    assert!((mean(100_000, || random.log_normal(161.0, 1.2)) / 161.0 - 1.0).abs() < 0.03);
    assert!((mean(100_000, || random.below(9) as f64) - 4.0).abs() < 0.05);
}

#[test]
fn the_median_of_a_log_normal_is_its_mean_less_half_its_variance() {
    let mut random = Random::new(2);
    let mut drawn: Vec<_> = (0..50_001).map(|_| random.log_normal(100.0, 1.0)).collect();
    drawn.sort_by(f64::total_cmp);
    assert!((drawn[25_000] / (100.0 * (-0.5f64).exp()) - 1.0).abs() < 0.03, "{}", drawn[25_000]);
}
