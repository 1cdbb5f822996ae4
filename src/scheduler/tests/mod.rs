mod batch_limit;
mod fairness;
mod joining;
mod memory;
mod pins;
mod plans;
mod preemption;
mod prefill;
mod prefix;
mod prefix_memory;
mod prefix_tree;
mod properties;
mod retained;
mod retry;
mod shares;
mod window;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::plan::{Feed, KvGrowth, KvWindow, Overlap, Plan, Row, StepOutput};
use super::*;
use crate::request::{FinishReason, Priority, Request, SequenceId};

const END: u32 = 9;
const STEP: Duration = Duration::from_millis(10);

/// The time at which every test starts.
fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

fn after(ms: u64) -> Instant {
    start() + Duration::from_millis(ms)
}

/// Two rows, four prompt tokens a step, no window, no reuse of KV between requests.
fn config() -> Config {
    with_rows(2)
}

fn with_rows(num_rows: usize) -> Config {
    Config {
        window: WindowConfig { fast_path: true, fixed: Duration::ZERO, adaptive: None },
        batch_limit: BatchLimitConfig { start: num_rows, tune: None, ..BatchLimitConfig::default() },
        prefill_chunk: 4,
        prefix: PrefixConfig { enabled: false, ..Config::default().prefix },
        ..Config::default()
    }
}

fn request(prompt_len: usize, max_tokens: usize) -> Request {
    let mut request = Request::of(vec![1; prompt_len], max_tokens);
    request.stop.end_tokens = [END].into();
    request
}

fn seq(id: u64) -> SequenceId {
    SequenceId(id)
}

/// The decision at a time, and the plan that was made, if any.
fn decide_at(scheduler: &mut Scheduler, now: Instant) -> (Decision, Plan) {
    let mut plan = Plan::default();
    let decision = scheduler.next(now, 0, &mut plan);
    (decision, plan)
}

fn decide(scheduler: &mut Scheduler) -> Decision {
    decide_at(scheduler, start()).0
}

fn plan_at(scheduler: &mut Scheduler, now: Instant) -> Plan {
    let (decision, plan) = decide_at(scheduler, now);
    assert_eq!(decision, Decision::Run);
    plan
}

fn plan(scheduler: &mut Scheduler) -> Plan {
    plan_at(scheduler, start())
}

/// The output of a plan in which every sampled row gets `token`.
fn answer(plan: &Plan, token: u32) -> StepOutput {
    let tokens = plan.rows.iter().filter(|row| row.sample).map(|row| (row.sequence, token)).collect();
    StepOutput { step: plan.step, tokens, ..StepOutput::default() }
}

fn commit(scheduler: &mut Scheduler, output: &StepOutput) -> Vec<SampledToken> {
    commit_after(scheduler, output, STEP)
}

fn commit_after(scheduler: &mut Scheduler, output: &StepOutput, took: Duration) -> Vec<SampledToken> {
    let mut sampled = Vec::new();
    scheduler.commit(output, Some(took), &mut sampled);
    sampled
}

/// Runs a step that samples an ordinary token for every row. Returns the plan.
fn step(scheduler: &mut Scheduler) -> Plan {
    let plan = plan(scheduler);
    commit(scheduler, &answer(&plan, 1));
    plan
}

fn expire(scheduler: &mut Scheduler, now: Instant) -> Vec<(SequenceId, Expiry)> {
    let mut expired = Vec::new();
    scheduler.expire(now, &mut expired);
    expired
}

fn ids(plan: &Plan) -> Vec<u64> {
    plan.rows.iter().map(|row| row.sequence.0).collect()
}

fn lens(plan: &Plan) -> Vec<(u64, usize)> {
    plan.rows.iter().map(|row| (row.sequence.0, row.len())).collect()
}
