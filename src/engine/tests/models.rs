//! Two models on one device: each has its share of the time, and measures what is its own.

use std::collections::HashMap;
use std::time::Duration;

use crate::answers::{ReaderId, Settings};
use crate::engine::command::ModelKey;
use crate::request::Priority;
use crate::scheduler::plan::Overlap;

use super::stage::{Ask, MODEL, SLOW, STEP, Stage, TIMES_SLOWER, ask};

/// Users of two models who ask again as soon as they have their answer.
struct Users {
    stage: Stage,
    asking: HashMap<ReaderId, Ask>,
    num_asked: u32,
}

impl Users {
    fn new(overlap: Overlap, asks: &[Ask]) -> Self {
        let stage = Stage::overlapping(overlap, 256);
        stage.shared.answers.configure(Settings::OFF);
        Self::on(stage, asks)
    }

    fn on(mut stage: Stage, asks: &[Ask]) -> Self {
        stage.load_slow();
        let mut users = Self { stage, asking: HashMap::new(), num_asked: 0 };
        for &ask in asks {
            users.ask(ask);
        }
        users
    }

    fn ask(&mut self, ask: Ask) {
        self.num_asked += 1;
        let reader = self.stage.submit(Ask { prompt: self.num_asked % 200 + 1, ..ask });
        self.asking.insert(reader, ask);
    }

    /// Goes on for so long.
    fn run(&mut self, time: Duration) {
        let until = self.stage.now() + time;
        while self.stage.now() < until {
            self.stage.turn();
            let given = &mut self.stage.given;
            let ended = |(reader, ask): (&ReaderId, &Ask)| {
                given.get(reader).is_some_and(|it| it.end.is_some()).then_some((*reader, *ask))
            };
            let ended: Vec<_> = self.asking.iter().filter_map(ended).collect();
            for (reader, ask) in ended {
                self.asking.remove(&reader);
                self.stage.given.remove(&reader);
                self.ask(ask);
            }
        }
    }

    /// How much of the time a model had, by its steps.
    fn time(&self, model: ModelKey) -> Duration {
        let models = self.stage.shared.stats.models();
        let (_, stats) = models.iter().find(|(key, _)| *key == model).expect("it is loaded");
        let step = if model == SLOW { STEP * TIMES_SLOWER } else { STEP };
        step * u32::try_from(stats.totals.steps).expect("few")
    }

    fn share(&self, model: ModelKey) -> f64 {
        self.time(model).as_secs_f64() / (self.time(MODEL) + self.time(SLOW)).as_secs_f64()
    }
}

const OVERLAPS: [Overlap; 3] = [Overlap::None, Overlap::Bounded, Overlap::Whole];

#[test]
fn two_models_have_the_device_for_as_long_each_however_long_their_steps_are() {
    for overlap in OVERLAPS {
        let mut users = Users::new(overlap, &[ask(1), Ask { model: SLOW, ..ask(1) }]);
        users.run(Duration::from_secs(4));
        let share = users.share(MODEL);
        assert!((0.45..0.55).contains(&share), "{overlap:?}: {share}");
    }
}

#[test]
fn a_step_takes_as_long_as_it_does_without_the_other_model() {
    for overlap in OVERLAPS {
        let mut users = Users::new(overlap, &[ask(1), Ask { model: SLOW, ..ask(1) }]);
        users.run(Duration::from_secs(4));
        for (model, stats) in users.stage.shared.stats.models() {
            let step = if model == SLOW { STEP * TIMES_SLOWER } else { STEP };
            let (_, measured) = stats.scheduler.step_times[0];
            assert!(measured.abs_diff(step) < Duration::from_micros(1), "{overlap:?}: {measured:?} of {step:?}");
        }
    }
}

#[test]
fn a_model_with_urgent_requests_has_more_and_leaves_the_other_its_part() {
    let urgent = Ask { priority: Priority::Urgent, ..ask(1) };
    let mut users = Users::new(Overlap::None, &[urgent, Ask { model: SLOW, ..ask(1) }]);
    users.run(Duration::from_secs(10));
    let share = users.share(MODEL);
    assert!((0.75..0.85).contains(&share), "{share}");
}

#[test]
fn a_model_that_was_idle_gets_nothing_for_the_past() {
    let mut users = Users::new(Overlap::None, &[Ask { model: SLOW, ..ask(1) }]);
    users.run(Duration::from_secs(5));
    users.ask(ask(1));
    let before = users.time(SLOW);
    users.run(Duration::from_secs(2));
    let share = users.time(SLOW).saturating_sub(before).as_secs_f64() / 2.0;
    assert!((0.4..0.6).contains(&share), "{share}");
}

#[test]
fn a_prompt_is_read_in_small_chunks_also_between_two_answers_of_another_model() {
    let mut users = Users::on(Stage::reading(512), &[ask(1)]);
    users.run(STEP * 5);
    while !users.asking.is_empty() {
        users.stage.turn();
        let given = &users.stage.given;
        users.asking.retain(|reader, _| given.get(reader).is_none_or(|it| it.end.is_none()));
    }
    let before = users.stage.num_generations();
    users.ask(Ask { model: SLOW, prompt_len: 2_000, ..ask(1) });
    users.stage.turn();
    assert_eq!(users.stage.num_generations() - before, 512 / 8);
}

#[test]
fn an_idle_model_takes_no_time_and_its_own_ends_wait_for_no_turn() {
    let mut users = Users::new(Overlap::None, &[Ask { model: SLOW, ..ask(1) }]);
    users.run(STEP * TIMES_SLOWER * 3);
    let late = users.stage.submit(Ask { timeout: Some(STEP * TIMES_SLOWER), ..ask(9) });
    users.stage.clock.advance(STEP * TIMES_SLOWER * 2);
    users.stage.turn();
    assert!(users.stage.given[&late].end.is_some(), "its deadline passed while the other model had the device");
}
