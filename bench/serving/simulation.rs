//! One run: the real scheduler drives a simulated device with a clock moved by hand, like the engine's model runner (take
//! arrivals, plan and submit as many steps as overlap, collect the oldest, account), and charges the engine's own time.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use mlx_serving::clock::{Clock, ManualClock};
use mlx_serving::error::Result;
use mlx_serving::executor::sim::{Profile, Script, SimBackend};
use mlx_serving::executor::{Backend, Executor};
use mlx_serving::hub;
use mlx_serving::request::{Request, SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Overlap, Plan, StepOutput};
use mlx_serving::scheduler::{Decision, KvLimit, Reason, Scheduler, Tier};

use super::ledger::{Ledger, Served};
use super::original::Original;
use super::policy::Policy;
use super::traffic::{Arrivals, Lengths, Traffic};

/// The token that ends an answer, and one that does not end it.
const END: TokenId = 1;
const WORD: TokenId = 2;
/// The end token of the simulated model, which no answer has: the traffic sets the length of answers.
const NEVER_ENDS: TokenId = 3;
const VOCAB_SIZE: usize = 4;
/// `maxTokens` of every request.
const MAX_TOKENS: usize = 1_024;

/// The parameters of a simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) profile: Profile,
    pub(crate) policy: Policy,
    pub(crate) arrivals: Arrivals,
    pub(crate) lengths: Lengths,
    /// For how long requests arrive.
    pub(crate) span: Duration,
    pub(crate) host: Host,
    /// Memory for KV. Unlimited if absent.
    pub(crate) kv_bytes: Option<u64>,
}

/// The engine's own time after each step: a fixed part, and a part for each row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Host {
    pub(crate) fixed: Duration,
    pub(crate) per_row: Duration,
}

impl Host {
    /// The engine's bounds, 20 µs at one row and 60 µs at 32.
    pub(crate) const ENGINE: Self = Self { fixed: Duration::from_nanos(18_700), per_row: Duration::from_nanos(1_290) };
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) served: Served,
    pub(crate) steps: u64,
    /// Rows of a step, on average.
    pub(crate) mean_rows: f64,
    /// Admitted requests by reason.
    pub(crate) admissions: HashMap<String, u64>,
    /// The share of admissions at each tier of the adaptive window.
    pub(crate) tiers: HashMap<String, f64>,
    pub(crate) tier_switches: u64,
    /// Samples of the queue depth. The tier may change after each.
    pub(crate) tier_samples: u64,
    pub(crate) preemptions: u64,
    pub(crate) limit_changes: u64,
    pub(crate) batch_limit: usize,
}

/// Runs until every request is served.
pub(crate) fn simulate(setup: &Setup, seed: u64) -> Result<Report> {
    let mut simulation = Simulation::new(setup, seed)?;
    simulation.run()?;
    Ok(simulation.report())
}

/// A step in flight.
#[derive(Debug, Clone, Copy)]
struct Submitted {
    at: Instant,
    /// Whether another step was in flight then.
    is_ahead: bool,
    num_rows: usize,
}

struct Simulation {
    setup: Setup,
    clock: Arc<ManualClock>,
    start: Instant,
    device: Box<dyn Executor>,
    scheduler: Scheduler,
    gate: Option<Original>,
    traffic: Traffic,
    ledger: Ledger,
    /// The steps in flight.
    submitted: VecDeque<Submitted>,
    /// Rows of the step that was collected last.
    collected_rows: usize,
    collected: Instant,
    num_steps: u64,
    num_rows: u64,
    tiers: HashMap<Tier, u64>,
}

impl Simulation {
    fn new(setup: &Setup, seed: u64) -> Result<Self> {
        let clock = Arc::new(ManualClock::default());
        let vocabulary = |_: &hub::ModelFolder| {
            Ok((Script::new(vec![vec![WORD]], NEVER_ENDS).expect("there is a sentence"), VOCAB_SIZE))
        };
        let clock_of_device: Arc<dyn Clock> = clock.clone();
        let backend = SimBackend::new(setup.profile, clock_of_device, Box::new(vocabulary));
        let device =
            backend.open(&hub::open_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo"))?, None)?;
        let unit = device.limits().kv;
        let kv = setup.kv_bytes.map(|bytes| KvLimit {
            bytes,
            bytes_per_position: unit.bytes_per_position,
            block: unit.block,
            growth: unit.growth,
        });
        let start = clock.now();
        Ok(Self {
            setup: *setup,
            device,
            scheduler: Scheduler::new(mlx_serving::scheduler::Config { kv, ..setup.policy.config() }),
            gate: setup.policy.gate(),
            traffic: Traffic::new(setup.arrivals, setup.lengths, setup.span, seed),
            ledger: Ledger::default(),
            submitted: VecDeque::new(),
            collected_rows: 0,
            collected: start,
            num_steps: 0,
            num_rows: 0,
            tiers: HashMap::new(),
            clock,
            start,
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut plan = Plan::default();
        loop {
            self.take_requests();
            let until = self.fill_pipeline(&mut plan)?;
            if self.scheduler.num_in_flight() > 0 {
                self.collect()?;
                continue;
            }
            let opening = self.gate.as_ref().and_then(Original::next_opening);
            let ready = self.traffic.next_ready().map(|at| self.start + at);
            match until.into_iter().chain(opening).chain(ready).min() {
                Some(next) => self.clock.sleep_until(next),
                None => return Ok(()),
            }
        }
    }

    fn take_requests(&mut self) {
        let now = self.clock.now();
        let is_idle = self.scheduler.is_empty();
        while let Some(job) = self.traffic.take(now - self.start) {
            let place = self.ledger.add(job);
            match &mut self.gate {
                Some(gate) => gate.add(place, now),
                None => self.submit(place),
            }
        }
        if self.scheduler.is_empty()
            && let Some(gate) = &mut self.gate
        {
            // A device whose last step was collected at this moment was not idle before, although the scheduler is empty.
            let was_idle = is_idle && self.collected < now;
            gate.open(now, was_idle).into_iter().for_each(|place| self.submit(place));
        }
    }

    fn submit(&mut self, place: usize) {
        let job = self.ledger.job(place);
        let ends_by_length = !matches!(self.setup.lengths, Lengths::Chat | Lengths::ShortAndLong);
        let max_tokens = if ends_by_length { job.num_answer } else { MAX_TOKENS };
        let mut request = Request::of(vec![WORD; job.num_prompt], max_tokens);
        request.stop.end_tokens = [END].into();
        self.scheduler.add(SequenceId(place as u64), request, self.clock.now());
    }

    /// Submits as many steps as overlap. Returns the time at which to ask the scheduler again, if it waits.
    fn fill_pipeline(&mut self, plan: &mut Plan) -> Result<Option<Instant>> {
        while self.scheduler.may_plan(self.device.limits().overlap) {
            let now = self.clock.now();
            match self.scheduler.next(now, self.traffic.num_coming(), plan) {
                Decision::Run => {
                    let is_ahead = !self.submitted.is_empty();
                    self.submitted.push_back(Submitted { at: now, is_ahead, num_rows: plan.rows.len() });
                    self.device.submit(plan)?;
                }
                Decision::WaitUntil(at) => return Ok(Some(at)),
                Decision::Idle => return Ok(None),
            }
        }
        Ok(None)
    }

    fn collect(&mut self) -> Result<()> {
        let mut output = self.device.collect()?;
        let now = self.clock.now();
        let step = self.submitted.pop_front().unwrap_or(Submitted { at: now, is_ahead: false, num_rows: 0 });
        let num_rows = step.num_rows;
        let is_known = self.is_known(step);
        let took = is_known.then(|| now.saturating_duration_since(step.at.max(self.collected)));
        self.collected_rows = num_rows;
        self.collected = now;
        self.end_answers(&mut output);
        let mut sampled = Vec::new();
        self.scheduler.commit(&output, took, &mut sampled);
        if num_rows > 0 {
            self.num_steps += 1;
            self.num_rows += num_rows as u64;
            let Host { fixed, per_row } = self.setup.host;
            self.clock.advance(fixed + per_row * u32::try_from(num_rows).unwrap_or(u32::MAX));
        }
        // Users receive tokens at the end of the engine's turn.
        let now = self.clock.now() - self.start;
        for token in sampled {
            let place = place_of(token.sequence);
            self.ledger.token(place, now);
            if token.finish.is_some() {
                self.traffic.answered(self.ledger.job(place).user, now);
            }
        }
        for admission in self.scheduler.admissions() {
            *self.tiers.entry(admission.tier).or_default() += 1;
        }
        Ok(())
    }

    /// Whether the time of a step is known, by the rule of the engine. Submitting a step may block until the previous one ends.
    /// The time is then right only between steps of the same size that were all submitted ahead.
    fn is_known(&self, step: Submitted) -> bool {
        let next = self.submitted.front();
        let is_among_equals =
            || self.collected_rows == step.num_rows && next.map(|next| next.num_rows) == Some(step.num_rows);
        match self.device.limits().overlap {
            Overlap::None | Overlap::Whole => true,
            Overlap::Bounded => step.is_ahead == next.is_some() && (next.is_none() || is_among_equals()),
        }
    }

    /// Answers end at the length that the traffic sets.
    fn end_answers(&self, output: &mut StepOutput) {
        for (sequence, token) in &mut output.tokens {
            let place = place_of(*sequence);
            if self.ledger.num_tokens(place) + 1 == self.ledger.job(place).num_answer {
                *token = END;
            }
        }
    }

    fn report(mut self) -> Report {
        let counters = self.scheduler.counters();
        let mut status = mlx_serving::scheduler::Status::default();
        self.scheduler.write_status(&mut status);
        self.scheduler.admissions().for_each(drop);
        let num_admitted = self.tiers.values().sum::<u64>().max(1) as f64;
        let has_tiers = counters.tier_samples > 0;
        let tiers = self.tiers.into_iter().filter(|_| has_tiers);
        let by_reason = Reason::ALL.iter().map(|reason| (format!("{reason:?}"), counters.admissions[*reason as usize]));
        let long = (self.setup.lengths == Lengths::ShortAndLong).then_some(4_096);
        Report {
            served: self.ledger.sum_up(long),
            steps: self.num_steps,
            mean_rows: self.num_rows as f64 / self.num_steps.max(1) as f64,
            admissions: by_reason.filter(|&(_, count)| count > 0).collect(),
            tiers: tiers.map(|(tier, count)| (format!("{tier:?}"), count as f64 / num_admitted)).collect(),
            tier_switches: counters.tier_switches,
            tier_samples: counters.tier_samples,
            preemptions: counters.preemptions,
            limit_changes: counters.limit_changes,
            batch_limit: status.batch_limit,
        }
    }
}

/// The id of a sequence is its index in the ledger.
fn place_of(sequence: SequenceId) -> usize {
    usize::try_from(sequence.0).expect("it was a usize")
}
