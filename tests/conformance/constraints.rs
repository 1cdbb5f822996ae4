//! Constrained rows: they sample only allowed tokens, other rows of the batch sample the same tokens as without them, and steps
//! that are launched ahead sample the same tokens as others.

use std::path::Path;

use mlx_serving::constraint::Constraint;
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{MlxBackend, MlxExecutor};
use mlx_serving::hub::open_folder;
use mlx_serving::request::{SamplingParams, SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Row};
use mlx_serving::text::{ModelText, StructuredOutput};
use serde_json::json;

use super::driver::Driver;

const HOT: SamplingParams =
    SamplingParams { temperature: 1.5, seed: 7, presence_penalty: 0.5, ..SamplingParams::GREEDY };
const COUNT: usize = 40;

fn demo() -> (MlxExecutor, ModelText) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let folder = open_folder(&path).expect("a model folder");
    let executor = MlxBackend::new().expect("a backend").deterministic(true).open_mlx(&folder).expect("a model");
    (executor, ModelText::open(&folder).expect("a tokenizer"))
}

fn constraints(text: &ModelText) -> [Constraint; 3] {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "tags": {"type": "array", "items": {"type": "integer"}}},
        "required": ["name", "tags"],
    });
    let asked = [
        StructuredOutput::Schema(schema),
        StructuredOutput::Regex("[a-z]{2,9}( [a-z]{2,9}){0,5}\\.".to_owned()),
        StructuredOutput::Choices(vec!["yes".to_owned(), "no".to_owned(), "not at all".to_owned()]),
    ];
    asked.map(|structured| text.constraint(&structured).expect("a constraint"))
}

/// The tokens of the answer. Each must be allowed.
fn answer(constraint: &Constraint, tokens: &[TokenId]) -> Vec<TokenId> {
    let mut matcher = constraint.matcher();
    let mut said = Vec::new();
    for token in tokens {
        let allowed = matcher.allowed().expect("it can be followed");
        if allowed.bitmask.iter().all(|word| *word == 0) {
            break;
        }
        let word = allowed.bitmask[*token as usize / 32];
        assert!(word >> (token % 32) & 1 == 1, "{token} after {said:?} for {constraint:?}");
        matcher.accept(*token).expect("it was allowed");
        said.push(*token);
    }
    said
}

/// The answers of constrained and free rows in one batch.
fn run(executor: &mut MlxExecutor, constraints: &[Constraint], ahead: bool) -> (Vec<Vec<TokenId>>, Vec<Vec<TokenId>>) {
    let mut driver = Driver::new(executor);
    let ids = 0..constraints.len() as u64;
    for (id, constraint) in ids.clone().zip(constraints) {
        let sampling = SamplingParams { seed: id, ..HOT };
        driver.add_constrained(id, &[3, 60, 61 + u32::try_from(id).expect("small")], sampling, constraint);
        driver.add(100 + id, &[3, 70, 71 + u32::try_from(id).expect("small")], sampling);
    }
    if ahead {
        driver.run_ahead(COUNT);
    } else {
        driver.run(COUNT);
    }
    let bound = ids.clone().zip(constraints).map(|(id, constraint)| answer(constraint, &driver.remove(id))).collect();
    (bound, ids.map(|id| driver.remove(100 + id)).collect())
}

#[test]
fn steps_ahead_sample_the_same_and_other_rows_are_unaffected_by_a_constraint() {
    let (mut executor, text) = demo();
    let constraints = constraints(&text);
    let (bound, free) = run(&mut executor, &constraints, false);
    assert!(bound.iter().all(|answer| !answer.is_empty()));
    assert_eq!(run(&mut executor, &constraints, true), (bound, free.clone()));
    let mut driver = Driver::new(&mut executor);
    for id in 0..constraints.len() as u64 {
        let sampling = SamplingParams { seed: id, ..HOT };
        driver.add(100 + id, &[3, 70, 71 + u32::try_from(id).expect("small")], sampling);
    }
    driver.run(COUNT);
    assert_eq!((0..constraints.len() as u64).map(|id| driver.remove(100 + id)).collect::<Vec<_>>(), free);
}

#[test]
fn no_bias_brings_back_a_forbidden_token() {
    let (mut executor, text) = demo();
    let [_, _, choices] = constraints(&text);
    let vocab_size = TokenId::try_from(executor.limits().vocab_size).expect("a small vocabulary");
    let forbidden: Vec<_> = (0..vocab_size).map(|token| (token, -100.0)).collect();
    let first = text.encode("yes").expect("tokens")[0];
    let biased: Vec<_> =
        forbidden.iter().map(|(token, _)| (*token, if *token == first { -100.0 } else { 100.0 })).collect();
    for bias in [forbidden, biased] {
        let mut driver = Driver::new(&mut executor);
        driver.add_biased(0, &[3, 60], SamplingParams::GREEDY, &bias);
        driver.constraint(&choices);
        driver.run(COUNT);
        let answer = answer(&choices, &driver.remove(0));
        let said = text.decode(&answer).expect("text");
        assert!(["yes", "no", "not at all"].contains(&said.as_str()), "{said}");
    }
}

#[test]
fn a_recomputed_sequence_ignores_tokens_of_earlier_steps() {
    let (mut executor, text) = demo();
    let [_, _, choices] = constraints(&text);
    let admission =
        Admission { max_positions: 60, constraint: Some(choices), ..Admission::of(SequenceId(0), &[3, 60]) };
    let row = Row { sequence: SequenceId(0), start: 0, feed: Feed::Prompt { len: 2 }, sample: true };
    for step in 0..2 {
        let release = (step == 1).then_some(SequenceId(0)).into_iter().collect();
        let plan = Plan { step, release, admit: vec![admission.clone()], rows: vec![row], ..Plan::default() };
        executor.submit(&plan).expect("a step");
    }
    let outputs = [(); 2].map(|()| executor.collect().expect("tokens"));
    assert_eq!(outputs[0].tokens, outputs[1].tokens);
    assert!(outputs.iter().all(|output| output.closed.is_empty()), "{outputs:?}");
}
