//! How models share the device: by time, which each runner is charged for its turns (start-time fair queueing: Goyal, Vin and
//! Cheng, 1996). The runner with the smallest tag has the next turn; its tag rises by what the turn took over the runner's weight.
//!
//! A model that is being loaded takes its turns like a runner (`opening.rs`).
//!
//! A runner with a step in flight keeps its turn, and submits a step ahead of another only if the next turn is its own as well:
//! no turn of another runner falls between the submission of a step and its end, so each runner measures its own times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::Code;

use super::command::ModelKey;
use super::guarded::guarded;
use super::opening::Opening;
use super::runner::{ModelRunner, Need, Others};

/// A model counts as having streams for so long after it had some: its user may be about to ask again.
const STREAMS_LINGER: Duration = Duration::from_secs(1);

/// The weight of a load beside lanes: that of background requests.
const LOAD_WEIGHT: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct DeviceShares {
    accounts: BTreeMap<ModelKey, Account>,
    /// Where a runner begins that had no work: the tag of the last turn.
    virtual_time: f64,
    /// When runners last had streams, and what a step of them took.
    streams: BTreeMap<ModelKey, (Instant, Duration)>,
    /// The runner that had the last turn.
    last: Option<ModelKey>,
    /// Lanes with work and models that are being loaded, in the order of their turns; kept to spare allocations.
    order: Vec<ModelKey>,
    /// Models that are loaded or being loaded.
    num_models: usize,
}

/// What a runner has had of the device.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// Weighted seconds.
    tag: f64,
    /// What its last turn added.
    cost: f64,
}

impl DeviceShares {
    /// Gives the runner a turn that has had least of the device; others that have work for it wait.
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

    /// Orders the runners with work by their tags, after one that has a step in flight. One that had no work begins at the
    /// virtual time.
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

    /// A turn of a runner. Says what it needs, and whether it had the device.
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

    /// A turn of a load.
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
        // After this turn and the step that would be in flight then, it must still be the first.
        let ends = own.tag + 2.0 * own.cost;
        let is_behind = |other: &ModelKey| self.accounts.get(other).is_none_or(|account| ends < account.tag);
        let streams = self.streams.iter().filter(|&(&other, _)| other != key).map(|(_, &(_, step))| step);
        Others {
            may_plan_ahead: self.order.iter().filter(|&&other| other != key).all(is_behind),
            stream_step: streams.min(),
        }
    }
}

/// Nothing else is on the device.
const ALONE: Others = Others { may_plan_ahead: true, stream_step: None };

/// A panic in a turn is that runner's alone; the others never hear of it. How far its account had come is not known, so every
/// row of it ends, and the device begins anew.
fn guarded_turn(runner: &mut ModelRunner, others: Others) -> Need {
    guarded(Code::BackendError, || Ok(runner.turn(others))).unwrap_or_else(|error| {
        runner.fail_all(&error);
        runner.recover(&error);
        runner.deliver();
        Need::Turn
    })
}
