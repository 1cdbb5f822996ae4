use std::time::Duration;

use crate::bench::random::Random;
use crate::bench::traffic::{Arrivals, BURST, Lengths, Traffic, moments};

const HOUR: Duration = Duration::from_hours(1);

fn sent(arrivals: Arrivals) -> Vec<f64> {
    moments(arrivals, HOUR, &mut Random::new(3)).iter().map(Duration::as_secs_f64).collect()
}

fn near(value: f64, expected: f64, share: f64) {
    assert!((value / expected - 1.0).abs() < share, "{value}, not {expected}");
}

#[test]
fn a_poisson_process_has_its_rate_and_gaps_as_wide_as_their_mean() {
    let sent = sent(Arrivals::Poisson(4.0));
    near(sent.len() as f64, 4.0 * 3_600.0, 0.03);
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    near(variance.sqrt() / mean, 1.0, 0.05);
}

#[test]
fn bursts_have_the_same_rate_and_eight_requests_each() {
    let sent = sent(Arrivals::Bursty(4.0));
    near(sent.len() as f64, 4.0 * 3_600.0, 0.08);
    let num_bursts = 1 + sent.windows(2).filter(|pair| pair[1] - pair[0] > 0.001).count();
    near(sent.len() as f64 / num_bursts as f64, BURST, 0.08);
}

#[test]
fn a_ramp_sends_a_quarter_in_its_first_half() {
    let sent = sent(Arrivals::Ramp(4.0));
    near(sent.len() as f64, 4.0 * 3_600.0, 0.03);
    near(sent.iter().filter(|&&at| at < 1_800.0).count() as f64 / sent.len() as f64, 0.25, 0.05);
}

#[test]
fn a_user_of_the_closed_loop_sends_again_after_its_answer() {
    let mut traffic = Traffic::new(Arrivals::Users(1), Lengths::Chat, HOUR, 1);
    let first = traffic.take(HOUR).expect("there is one");
    assert_eq!((traffic.next_ready(), traffic.take(HOUR)), (None, None));
    traffic.answered(0, Duration::from_secs(7));
    let second = traffic.take(HOUR).expect("there is another");
    assert_eq!((first.due, second.due), (Duration::ZERO, Duration::from_secs(7)));
    traffic.answered(0, HOUR);
    assert_eq!(traffic.next_ready(), None, "its time is over");
}

#[test]
fn prompts_become_ready_one_after_another() {
    let lengths = Lengths::Fixed { prompt: 86, answer: 1 };
    let mut traffic = Traffic::new(Arrivals::Bursty(1.0), lengths, HOUR, 1);
    let first = traffic.next_ready().expect("there is one");
    assert!(traffic.take(first).is_some());
    assert_eq!((traffic.take(first), traffic.num_coming()), (None, 1), "the second of the burst was just sent");
    assert_eq!(traffic.next_ready(), Some(first + Duration::from_micros(100)));
}
