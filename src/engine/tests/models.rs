//! Two models on one device: each gets its share of the time and measures only its own steps.

use std::collections::HashMap;
use std::time::Duration;

use crate::answers::{ReaderId, Settings};
use crate::engine::ids::ModelKey;
use crate::request::Priority;
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, MODEL, SLOW, STEP, Spec, TIMES_SLOWER, spec};

/// Users of two models. Each submits its next request as soon as it has an answer.
struct Users {
    harness: Harness,
    pending: HashMap<ReaderId, Spec>,
    num_submitted: u32,
}

impl Users {
    fn new(overlap: Overlap, specs: &[Spec]) -> Self {
        let harness = Harness::overlapping(overlap, 256);
        harness.shared.answers.configure(Settings::OFF);
        Self::on(harness, specs)
    }

    fn on(mut harness: Harness, specs: &[Spec]) -> Self {
        harness.load_slow();
        let mut users = Self { harness, pending: HashMap::new(), num_submitted: 0 };
        for &spec in specs {
            users.submit(spec);
        }
        users
    }

    fn submit(&mut self, spec: Spec) {
        self.num_submitted += 1;
        let reader = self.harness.submit(Spec { prompt: self.num_submitted % 200 + 1, ..spec });
        self.pending.insert(reader, spec);
    }

    /// Runs turns for `time`.
    fn run(&mut self, time: Duration) {
        let until = self.harness.now() + time;
        while self.harness.now() < until {
            self.harness.turn();
            let received = &mut self.harness.received;
            let ended = |(reader, spec): (&ReaderId, &Spec)| {
                received.get(reader).is_some_and(|it| it.end.is_some()).then_some((*reader, *spec))
            };
            let ended: Vec<_> = self.pending.iter().filter_map(ended).collect();
            for (reader, spec) in ended {
                self.pending.remove(&reader);
                self.harness.received.remove(&reader);
                self.submit(spec);
            }
        }
    }

    /// Device time that a model used, computed from its steps.
    fn time(&self, model: ModelKey) -> Duration {
        let models = self.harness.models();
        let (_, stats) = models.iter().find(|(key, _)| *key == model).expect("it is loaded");
        let step = if model == SLOW { STEP * TIMES_SLOWER } else { STEP };
        step * u32::try_from(stats.totals.steps.steps).expect("few")
    }

    fn share(&self, model: ModelKey) -> f64 {
        self.time(model).as_secs_f64() / (self.time(MODEL) + self.time(SLOW)).as_secs_f64()
    }
}

const OVERLAPS: [Overlap; 3] = [Overlap::None, Overlap::Bounded, Overlap::Whole];

#[test]
fn two_models_get_equal_device_time_whatever_their_step_times() {
    for overlap in OVERLAPS {
        let mut users = Users::new(overlap, &[spec(1), Spec { model: SLOW, ..spec(1) }]);
        users.run(Duration::from_secs(4));
        let share = users.share(MODEL);
        assert!((0.45..0.55).contains(&share), "{overlap:?}: {share}");
    }
}

#[test]
fn measured_step_times_exclude_the_other_model() {
    for overlap in OVERLAPS {
        let mut users = Users::new(overlap, &[spec(1), Spec { model: SLOW, ..spec(1) }]);
        users.run(Duration::from_secs(4));
        for (model, stats) in users.harness.models() {
            let step = if model == SLOW { STEP * TIMES_SLOWER } else { STEP };
            let (_, measured) = stats.scheduler.step_times[0];
            assert!(measured.abs_diff(step) < Duration::from_micros(1), "{overlap:?}: {measured:?} of {step:?}");
        }
    }
}

#[test]
fn a_model_with_urgent_requests_gets_more_time_but_not_all() {
    let urgent = Spec { priority: Priority::Urgent, ..spec(1) };
    let mut users = Users::new(Overlap::None, &[urgent, Spec { model: SLOW, ..spec(1) }]);
    users.run(Duration::from_secs(10));
    let share = users.share(MODEL);
    assert!((0.75..0.85).contains(&share), "{share}");
}

#[test]
fn a_model_gets_no_credit_for_idle_time() {
    let mut users = Users::new(Overlap::None, &[Spec { model: SLOW, ..spec(1) }]);
    users.run(Duration::from_secs(5));
    users.submit(spec(1));
    let before = users.time(SLOW);
    users.run(Duration::from_secs(2));
    let share = users.time(SLOW).saturating_sub(before).as_secs_f64() / 2.0;
    assert!((0.4..0.6).contains(&share), "{share}");
}

#[test]
fn prompt_chunks_stay_small_between_two_answers_of_another_model() {
    let mut users = Users::on(Harness::reading(512), &[spec(1)]);
    users.run(STEP * 5);
    while !users.pending.is_empty() {
        users.harness.turn();
        let received = &users.harness.received;
        users.pending.retain(|reader, _| received.get(reader).is_none_or(|it| it.end.is_none()));
    }
    let before = users.harness.num_generations();
    users.submit(Spec { model: SLOW, prompt_len: 2_000, ..spec(1) });
    users.harness.turn();
    assert_eq!(users.harness.num_generations() - before, 512 / 8);
}

#[test]
fn a_deadline_of_a_model_without_the_turn_is_met() {
    let mut users = Users::new(Overlap::None, &[Spec { model: SLOW, ..spec(1) }]);
    users.run(STEP * TIMES_SLOWER * 3);
    let late = users.harness.submit(Spec { timeout: Some(STEP * TIMES_SLOWER), ..spec(9) });
    users.harness.clock.advance(STEP * TIMES_SLOWER * 2);
    users.harness.turn();
    assert!(users.harness.received[&late].end.is_some(), "its deadline passed while the other model had the device");
}

/// The step was collected outside a turn, where nothing noticed that it hung.
#[test]
fn a_model_is_dropped_after_the_step_in_flight_was_collected() {
    let mut harness = Harness::overlapping(Overlap::Bounded, 256);
    let reader = harness.submit(spec(1));
    harness.turn();
    let unloaded = harness.unload();
    let mut num_turns = 0;
    while harness.received.get(&reader).is_none_or(|received| received.end.is_none()) {
        assert!(unloaded.try_recv().is_err(), "the answer is not complete");
        harness.turn();
        num_turns += 1;
    }
    assert!(num_turns > 1);
    assert!(unloaded.try_recv().is_err(), "a step is in flight");
    harness.run();
    assert!(unloaded.try_recv().is_ok());
}
