//! A plan that contradicts the executor's sequences is an error before it reaches the device, and changes nothing.

use mlx_serving::error::Code;
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxExecutor};
use mlx_serving::request::{SamplingParams, SequenceId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Prefix, RetainedPrefix, Row};

use super::driver::{first_step, run_plan};
use super::folders::open;

const PROMPT: [u32; 4] = [3, 1, 4, 1];

/// An executor with sequence 1, which has read its prompt and sampled one token.
fn executor() -> MlxExecutor {
    let mut executor = open("base", AttentionKind::Auto);
    run_plan(&mut executor, &first_step(1, &PROMPT)).expect("a first step");
    executor
}

fn next_row() -> Row {
    Row { sequence: SequenceId(1), start: PROMPT.len(), feed: Feed::Sampled, sample: true }
}

fn rows(rows: impl Into<Vec<Row>>) -> Plan {
    Plan { rows: rows.into(), ..Plan::default() }
}

fn admission(change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = first_step(2, &PROMPT);
    change(&mut plan);
    plan
}

/// An admission that copies KV of another sequence.
fn copying(of: u64, num_positions: usize) -> Plan {
    admission(|plan| {
        plan.admit[0].prefix = Some(Prefix { of: SequenceId(of), num_positions, takes_over: false });
        plan.rows[0] = Row { start: num_positions, feed: Feed::Prompt { len: 1 }, ..plan.rows[0] };
    })
}

/// An admission that takes KV of another sequence over.
fn taking_over(of: u64, num_positions: usize) -> Plan {
    let mut plan = copying(of, num_positions);
    plan.admit[0].prefix = Some(Prefix { of: SequenceId(of), num_positions, takes_over: true });
    plan
}

/// Sequence 1 retained with these tokens.
fn retained(tokens: &[u32]) -> RetainedPrefix {
    RetainedPrefix { sequence: SequenceId(1), tokens: tokens.into() }
}

fn bad_plans() -> Vec<(&'static str, Plan)> {
    let next = next_row();
    let sampling = |temperature, top_p| {
        admission(|plan| plan.admit[0].sampling = SamplingParams { temperature, top_p, ..SamplingParams::GREEDY })
    };
    vec![
        ("an unknown sequence", rows([Row { sequence: SequenceId(9), ..next }])),
        ("a sequence twice", rows([next, next])),
        ("a gap", rows([Row { start: 5, ..next }])),
        ("a position again", rows([Row { start: 3, ..next }])),
        ("a position beyond all integers", rows([Row { start: usize::MAX, ..next }])),
        ("a prompt beyond its end", rows([Row { feed: Feed::Prompt { len: 1 }, ..next }])),
        ("a prompt beyond all integers", rows([Row { feed: Feed::Prompt { len: usize::MAX }, ..next }])),
        ("no tokens", rows([Row { feed: Feed::Prompt { len: 0 }, ..next }])),
        ("a released sequence", Plan { release: vec![SequenceId(1)], ..rows([next]) }),
        ("a sequence admitted again", first_step(1, &PROMPT)),
        ("an admission twice", admission(|plan| plan.admit.push(plan.admit[0].clone()))),
        ("a token outside the vocabulary", admission(|plan| plan.admit[0].prompt = [128].into())),
        ("the largest token", admission(|plan| plan.admit[0].prompt = [u32::MAX].into())),
        ("more positions than the model has", admission(|plan| plan.admit[0].max_positions = 1 << 20)),
        ("more positions than announced", admission(|plan| plan.admit[0].max_positions = 3)),
        ("a sampled token before any", admission(|plan| plan.rows[0].feed = Feed::Sampled)),
        ("a prompt from its middle", admission(|plan| plan.rows[0].start = 2)),
        ("a prefix of an unknown sequence", copying(9, 3)),
        ("a prefix of itself", copying(2, 3)),
        ("a prefix that is not there yet", copying(1, 5)),
        ("a prefix beyond the prompt", copying(1, usize::MAX)),
        ("a prefix with a row from the start", Plan { rows: first_step(2, &PROMPT).rows, ..copying(1, 3) }),
        ("a prefix of other tokens", {
            let mut plan = copying(1, 3);
            plan.admit[0].prompt = [3, 1, 5, 1].into();
            plan
        }),
        ("a prefix of what is released", Plan { release: vec![SequenceId(1)], ..copying(1, 3) }),
        ("a prefix of a running sequence that ends", taking_over(1, 3)),
        ("a prefix that was taken over before", {
            let mut plan = Plan { retain: vec![retained(&PROMPT)], ..taking_over(1, 3) };
            plan.admit.push(Admission { sequence: SequenceId(3), ..plan.admit[0].clone() });
            plan
        }),
        ("a row of a sequence that is retained", Plan { retain: vec![retained(&PROMPT)], ..rows([next]) }),
        ("a row of a sequence that is taken over", {
            let mut plan = Plan { retain: vec![retained(&PROMPT)], ..taking_over(1, 3) };
            plan.rows.push(next);
            plan
        }),
        (
            "more retained positions than there are",
            Plan { retain: vec![retained(&[3, 1, 4, 1, 5])], ..Plan::default() },
        ),
        ("a prefix of tokens that were not retained", Plan { retain: vec![retained(&[3, 1])], ..copying(1, 3) }),
        ("a temperature below zero", sampling(-1.0, 1.0)),
        ("a temperature that is no number", sampling(f32::NAN, 1.0)),
        ("an empty nucleus", sampling(1.0, 0.0)),
    ]
}

#[test]
fn a_plan_that_contradicts_the_sequences_is_an_error_and_changes_nothing() {
    let mut executor = executor();
    let bytes = executor.kv_bytes();
    for (what, plan) in bad_plans() {
        let error = executor.submit(&plan).expect_err(what);
        assert_eq!(error.code(), Code::BackendError, "{what}: {error}");
        assert_eq!(executor.kv_bytes(), bytes, "{what}");
    }
    run_plan(&mut executor, &rows([next_row()])).expect("the sequence goes on");
    run_plan(&mut executor, &copying(1, 3)).expect("a known prefix");
}

#[test]
fn a_retained_sequence_has_no_rows_and_ends_where_it_is_taken_over() {
    let mut executor = executor();
    run_plan(&mut executor, &Plan { retain: vec![retained(&PROMPT)], ..Plan::default() }).expect("a step");
    executor.submit(&rows([next_row()])).expect_err("it is retained");
    run_plan(&mut executor, &taking_over(1, 3)).expect("retained KV");
    let again = Plan { release: vec![SequenceId(2)], ..copying(1, 3) };
    executor.submit(&again).expect_err("it has ended");
}

#[test]
fn a_row_fed_a_token_that_was_not_sampled_is_an_error() {
    let mut executor = executor();
    run_plan(&mut executor, &rows([Row { sample: false, ..next_row() }])).expect("a step that samples nothing");
    let error =
        executor.submit(&rows([Row { start: PROMPT.len() + 1, ..next_row() }])).expect_err("nothing was sampled");
    assert_eq!(error.code(), Code::BackendError);
}

#[test]
fn collecting_more_steps_than_were_launched_is_an_error() {
    let error = executor().collect().expect_err("nothing is launched");
    assert_eq!(error.code(), Code::BackendError);
}

#[test]
fn releasing_an_unknown_sequence_is_allowed() {
    let mut executor = executor();
    let plan = Plan { release: vec![SequenceId(77)], ..rows([next_row()]) };
    assert_eq!(run_plan(&mut executor, &plan).expect("a step").len(), 1);
}

#[test]
fn a_step_without_rows_samples_nothing() {
    let mut executor = executor();
    let plan = Plan { step: 5, release: vec![SequenceId(1)], ..Plan::default() };
    executor.submit(&plan).expect("a step");
    let output = executor.collect().expect("its output");
    assert_eq!((output.step, output.tokens.len(), executor.kv_bytes()), (5, 0, 0));
}
