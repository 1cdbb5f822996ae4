use proptest::prelude::*;

use super::super::batch_limit::BatchLimit;
use super::*;

/// A device's decode step in milliseconds, by rows.
#[derive(Debug, Clone)]
enum Device {
    /// A fixed part, and a part for each row.
    Linear(f64, f64),
    /// Stairs as (largest number of rows, cost). The last stair has no end.
    Staircase(Vec<(usize, f64)>),
}

impl Device {
    fn step(&self, rows: usize) -> f64 {
        match self {
            Self::Linear(fixed, each) => fixed + each * rows as f64,
            Self::Staircase(stairs) => {
                let stair = stairs.iter().find(|(end, _)| rows <= *end);
                stair.or(stairs.last()).map_or(1.0, |&(_, cost)| cost)
            }
        }
    }

    fn rate(&self, rows: usize) -> f64 {
        rows as f64 / self.step(rows)
    }

    /// The best rate, in tokens per millisecond, of the batch sizes from the first one on that meet the target. If none does, a
    /// lower bound of the rate of smaller sizes.
    fn best_rate(&self) -> f64 {
        let kept = (4..=32).filter(|&rows| self.step(rows) <= 100.0);
        kept.map(|rows| self.rate(rows)).max_by(f64::total_cmp).unwrap_or_else(|| self.rate(2).min(self.rate(3)))
    }
}

fn tuned() -> BatchLimit {
    BatchLimit::new(BatchLimitConfig::default())
}

/// Runs full steps and returns their batch sizes.
fn saturate(tuner: &mut BatchLimit, device: &Device, num_steps: usize) -> Vec<usize> {
    (0..num_steps)
        .map(|_| {
            let rows = tuner.limit();
            tuner.observe(rows, Duration::from_secs_f64(device.step(rows) / 1e3), true);
            rows
        })
        .collect()
}

fn device() -> impl Strategy<Value = Device> {
    let stairs = prop::collection::vec((1..12usize, 1.0..2.5f64), 1..8).prop_map(|steps| {
        let (mut end, mut cost) = (0, 5.0);
        let stairs = steps.into_iter().map(|(wide, factor)| {
            end += wide;
            cost *= factor;
            (end, cost)
        });
        Device::Staircase(stairs.collect())
    });
    let linear = (1.0..20.0f64, 0.0..10.0f64).prop_map(|(fixed, each)| Device::Linear(fixed, each));
    let flat = (0.1..50.0f64).prop_map(|cost| Device::Linear(cost, 0.0));
    prop_oneof![stairs, linear, flat]
}

proptest! {
    #[test]
    fn the_limit_settles_near_the_best_rate_and_stays_there(device in device()) {
        let mut tuner = tuned();
        saturate(&mut tuner, &device, 600);
        let before = tuner.num_changes();
        let run = saturate(&mut tuner, &device, 3_000);
        let mean = run.iter().map(|&rows| rows as f64).sum::<f64>() / run.iter().map(|&rows| device.step(rows)).sum::<f64>();
        prop_assert!(mean >= 0.9 * device.best_rate(), "{mean} of {}", device.best_rate());
        prop_assert!(tuner.num_changes() - before <= 1, "{} changes", tuner.num_changes() - before);
    }

    #[test]
    fn no_batch_size_is_kept_that_misses_the_target_if_a_smaller_one_meets_it(device in device()) {
        let mut tuner = tuned();
        saturate(&mut tuner, &device, 600);
        prop_assert!(device.step(tuner.limit()) <= 100.0 || device.step(2) > 100.0, "{} rows", tuner.limit());
    }

    #[test]
    fn noise_does_not_make_the_limit_swing(noise in prop::collection::vec(0.97..1.03f64, 2_000)) {
        let m3 = Device::Staircase(vec![(1, 6.4), (2, 7.0), (4, 8.2), (8, 14.1), (32, 20.4), (64, 39.6)]);
        let mut tuner = tuned();
        saturate(&mut tuner, &m3, 600);
        let before = tuner.num_changes();
        for noise in noise {
            let rows = tuner.limit();
            tuner.observe(rows, Duration::from_secs_f64(m3.step(rows) * noise / 1e3), true);
        }
        prop_assert!(tuner.num_changes() - before <= 2, "{} changes", tuner.num_changes() - before);
    }
}

#[test]
fn the_limit_grows_past_a_stair_at_which_the_next_larger_batch_is_slower() {
    let m3 = Device::Staircase(vec![(1, 6.4), (2, 7.0), (4, 8.2), (8, 14.1), (32, 20.4), (64, 39.6)]);
    assert!(m3.rate(5) < m3.rate(4));
    let mut tuner = tuned();
    saturate(&mut tuner, &m3, 200);
    assert_eq!(tuner.limit(), 32);
}

#[test]
fn the_limit_finds_the_end_of_a_stair_between_two_measured_batch_sizes() {
    let device = Device::Staircase(vec![(4, 8.0), (24, 20.0), (64, 60.0)]);
    let mut tuner = tuned();
    saturate(&mut tuner, &device, 400);
    assert!((21..=24).contains(&tuner.limit()), "{}", tuner.limit());
}

#[test]
fn the_limit_falls_below_its_start_if_every_larger_batch_is_worse() {
    let device = Device::Staircase(vec![(2, 8.0), (3, 18.0), (4, 40.0), (64, 400.0)]);
    let mut tuner = tuned();
    saturate(&mut tuner, &device, 400);
    assert_eq!(tuner.limit(), 2);
}

#[test]
fn the_limit_falls_when_the_device_slows_down_and_rises_again_when_it_recovers() {
    let fast = Device::Linear(5.0, 1.0);
    let slow = Device::Linear(5.0, 6.0);
    let mut tuner = tuned();
    saturate(&mut tuner, &fast, 400);
    let wide = tuner.limit();
    saturate(&mut tuner, &slow, 400);
    let narrow = tuner.limit();
    assert!(wide >= 26 && narrow <= 16, "{wide} rows, then {narrow}");
    saturate(&mut tuner, &fast, 6_000);
    assert!(tuner.limit() >= 26, "{} rows", tuner.limit());
}

#[test]
fn the_limit_does_not_move_while_no_request_waits() {
    let mut tuner = tuned();
    for _ in 0..1_000 {
        tuner.observe(4, STEP, false);
    }
    assert_eq!((tuner.limit(), tuner.num_changes()), (4, 0));
}

#[test]
fn without_tuning_the_limit_never_moves() {
    let mut tuner = BatchLimit::new(BatchLimitConfig { start: 3, tune: None, ..BatchLimitConfig::default() });
    let flat = Device::Linear(1.0, 0.0);
    saturate(&mut tuner, &flat, 500);
    assert_eq!(tuner.limit(), 3);
}

#[test]
fn the_limit_of_a_new_engine_rises_while_it_only_reads_prompts() {
    let mut scheduler =
        Scheduler::new(Config { batch_limit: BatchLimitConfig::default(), prefill_chunk: 64, ..config() });
    (0..16).for_each(|id| scheduler.add(seq(id), request(600, 8), start()));
    step(&mut scheduler);
    scheduler.add(seq(16), request(4, 4), start());
    let joined = (0..8).map(|_| step(&mut scheduler)).position(|plan| ids(&plan).contains(&16));
    assert_eq!(joined, Some(1), "a short prompt does not wait for the first of the long ones to decode");
}

#[test]
fn a_learnt_limit_does_not_move_while_prompts_are_read() {
    let mut tuner = tuned();
    let device = Device::Staircase(vec![(8, 10.0), (64, 100.0)]);
    saturate(&mut tuner, &device, 600);
    let limit = tuner.limit();
    assert_eq!(limit, 8);
    (0..100).for_each(|_| tuner.reconsider(limit, true));
    assert_eq!(tuner.limit(), limit);
    (0..100).for_each(|_| tuner.reconsider(limit - 1, true));
    assert_eq!(tuner.limit(), limit);
}
