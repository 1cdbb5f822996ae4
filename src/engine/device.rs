//! Divides the time of the device between models (start-time fair queueing: Goyal, Vin and Cheng, 1996). The runner with the
//! smallest tag gets the next turn. Its tag then rises by the time of the turn divided by the runner's weight. `runner/turn` has
//! the turn itself.
//!
//! A model that is being loaded gets turns like a runner (`opening`).
//!
//! A runner with a step in flight gets the next turn, and it submits a step ahead only if it will get the next turn anyway. So no
//! other runner uses the device between the submission and the end of a step, and each runner measures only its own steps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::Code;

use super::guarded::guarded;
use super::ids::ModelKey;
use super::opening::Opening;
use super::runner::{ModelRunner, Need, Others};

/// A model counts as having streams until 1 s after its last stream, because its user may send the next request.
const STREAMS_LINGER: Duration = Duration::from_secs(1);

/// The weight of a load beside runners: that of background requests.
const LOAD_WEIGHT: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct DeviceShares {
    accounts: BTreeMap<ModelKey, Account>,
    /// The tag of the last turn. A runner that had no work starts with it.
    virtual_time: f64,
    /// When runners last had streams, and their step time then.
    streams: BTreeMap<ModelKey, (Instant, Duration)>,
    /// The runner that had the last turn.
    last: Option<ModelKey>,
    /// Runners with work and models that are being loaded, in the order of their turns; reused, so that a step does not
    /// allocate.
    order: Vec<ModelKey>,
    /// Models that are loaded or being loaded.
    num_models: usize,
}

/// The device time of a runner.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// Weighted seconds.
    tag: f64,
    /// Weighted seconds of the last turn.
    cost: f64,
}

impl DeviceShares {
    /// Gives a turn to the runner with the smallest tag. Runners without work get a turn as well, which needs no device.
    pub(super) fn serve(
        &mut self,
        runners: &mut BTreeMap<ModelKey, ModelRunner>,
        openings: &mut BTreeMap<ModelKey, Opening>,
        clock: &dyn Clock,
    ) -> Need {
        let mut need = Need::Command;
        for runner in runners.values_mut().filter(|runner| !runner.has_work()) {
            need = need.sooner(guarded_turn(runner, ALONE));
        }
        self.line_up(runners, openings);
        self.note_streams(runners, clock);
        for index in 0..self.order.len() {
            let key = self.order[index];
            let (own, has_stepped) = match openings.get_mut(&key) {
                Some(opening) => self.opening_turn(key, opening, clock),
                None => self.turn(key, runners, clock),
            };
            need = need.sooner(own);
            if has_stepped && index + 1 < self.order.len() {
                for key in &self.order[index + 1..] {
                    runners.get_mut(key).into_iter().for_each(ModelRunner::tend);
                }
                return Need::Turn;
            }
        }
        need
    }

    fn note_streams(&mut self, runners: &BTreeMap<ModelKey, ModelRunner>, clock: &dyn Clock) {
        if self.num_models <= 1 {
            return self.streams.clear();
        }
        let now = clock.now();
        for (&key, runner) in runners {
            self.streams.extend(runner.stream_step().map(|step| (key, (now, step))));
        }
        self.streams.retain(|_, (at, _)| now.saturating_duration_since(*at) <= STREAMS_LINGER);
    }

    /// Orders the runners with work: one with a step in flight first, then by tag.
    fn line_up(&mut self, runners: &BTreeMap<ModelKey, ModelRunner>, openings: &BTreeMap<ModelKey, Opening>) {
        self.num_models = runners.len() + openings.len();
        let Self { accounts, order, virtual_time, .. } = self;
        order.clear();
        order.extend(openings.keys());
        order.extend(runners.iter().filter(|(_, runner)| runner.has_work()).map(|(&key, _)| key));
        accounts.retain(|key, _| order.contains(key));
        for &key in &*order {
            accounts.entry(key).or_insert(Account { tag: *virtual_time, cost: 0.0 });
        }
        let is_in_flight = |key: &ModelKey| runners.get(key).is_some_and(ModelRunner::is_in_flight);
        let tag = |key: &ModelKey| accounts.get(key).map_or(0.0, |account| account.tag);
        order.sort_by(|a, b| is_in_flight(b).cmp(&is_in_flight(a)).then(tag(a).total_cmp(&tag(b))));
    }

    /// Gives a runner a turn. Returns what it needs next, and whether it used the device.
    fn turn(
        &mut self,
        key: ModelKey,
        runners: &mut BTreeMap<ModelKey, ModelRunner>,
        clock: &dyn Clock,
    ) -> (Need, bool) {
        let others = self.others(key);
        let Some(runner) = runners.get_mut(&key) else { return (Need::Command, false) };
        if self.last.replace(key) != Some(key) {
            runner.others_ran();
        }
        if self.order.len() == 1 {
            return (guarded_turn(runner, others), true);
        }
        let (began, num_steps, weight) = (clock.now(), runner.num_steps(), runner.weight());
        let need = guarded_turn(runner, others);
        let has_stepped = runner.num_steps() > num_steps || need == Need::Turn;
        let took = clock.now().saturating_duration_since(began);
        self.charge(key, took, weight);
        (need, has_stepped)
    }

    /// Gives a load a turn.
    fn opening_turn(&mut self, key: ModelKey, opening: &mut Opening, clock: &dyn Clock) -> (Need, bool) {
        let others = self.others(key);
        self.last = Some(key);
        let began = clock.now();
        opening.turn(others.stream_step, clock);
        self.charge(key, clock.now().saturating_duration_since(began), LOAD_WEIGHT);
        (Need::Turn, true)
    }

    fn charge(&mut self, key: ModelKey, took: Duration, weight: u32) {
        let account = self.accounts.entry(key).or_default();
        self.virtual_time = self.virtual_time.max(account.tag);
        account.cost = took.as_secs_f64() / f64::from(weight.max(1));
        account.tag += account.cost;
    }

    fn others(&self, key: ModelKey) -> Others {
        let Some(own) = self.accounts.get(&key) else { return ALONE };
        // The runner must still be first after this turn and the step that would be in flight then.
        let ends = own.tag + 2.0 * own.cost;
        let is_behind = |other: &ModelKey| self.accounts.get(other).is_none_or(|account| ends < account.tag);
        let streams = self.streams.iter().filter(|&(&other, _)| other != key).map(|(_, &(_, step))| step);
        Others {
            may_plan_ahead: self.order.iter().filter(|&&other| other != key).all(is_behind),
            stream_step: streams.min(),
        }
    }
}

/// No other model uses the device.
const ALONE: Others = Others { may_plan_ahead: true, stream_step: None };

/// Runs a turn. A panic affects only this runner: all its rows fail, because parts of a step may be accounted already, and its
/// executor is reset.
fn guarded_turn(runner: &mut ModelRunner, others: Others) -> Need {
    guarded(Code::BackendError, || Ok(runner.turn(others))).unwrap_or_else(|error| {
        runner.fail_all(&error);
        runner.recover(&error);
        runner.deliver();
        Need::Turn
    })
}
