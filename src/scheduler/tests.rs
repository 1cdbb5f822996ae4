use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::plan::{Feed, Plan, StepOutput};
use super::{Config, Decision, Expiry, Load, Scheduler};
use crate::request::{FinishReason, Request, SamplingParams, SequenceId, StopRules};

const END: u32 = 9;

fn config() -> Config {
    Config { max_rows: 2, prefill_chunk: 4, park_timeout: Duration::from_mins(1) }
}

fn request(prompt_len: usize, max_tokens: usize) -> Request {
    Request {
        prompt: vec![1; prompt_len].into(),
        sampling: SamplingParams::GREEDY,
        stop: StopRules { max_tokens, end_tokens: [END].into(), stop_sequences: Vec::new() },
        deadline: None,
    }
}

fn seq(id: u64) -> SequenceId {
    SequenceId(id)
}

fn plan(scheduler: &mut Scheduler) -> Plan {
    match scheduler.next(Instant::now()) {
        Decision::Run(plan) => plan,
        other => panic!("expected a plan, got {other:?}"),
    }
}

/// Answers a plan: every row that samples draws `token`.
fn answer(plan: &Plan, token: u32) -> StepOutput {
    let tokens = plan.rows.iter().filter(|row| row.sample).map(|row| (row.sequence, token)).collect();
    StepOutput { step: plan.step, tokens }
}

fn ids(plan: &Plan) -> Vec<u64> {
    plan.rows.iter().map(|row| row.sequence.0).collect()
}

#[test]
fn an_empty_scheduler_is_idle() {
    assert_eq!(Scheduler::new(config()).next(Instant::now()), Decision::Idle);
}

#[test]
fn a_short_prompt_is_prefilled_in_one_step_and_then_decoded_token_by_token() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(3, 3));
    let first = plan(&mut scheduler);
    assert_eq!(first.admit[0].prompt.len(), 3);
    assert_eq!((first.rows[0].start, first.rows[0].feed, first.rows[0].sample), (0, Feed::Prompt { len: 3 }, true));
    scheduler.commit(&answer(&first, 1));
    let second = plan(&mut scheduler);
    assert!(second.admit.is_empty(), "a sequence is admitted once");
    assert_eq!((second.rows[0].start, second.rows[0].feed, second.rows[0].sample), (3, Feed::Sampled, true));
}

#[test]
fn only_the_last_chunk_of_a_long_prompt_draws_a_token() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(9, 1));
    let chunks: Vec<_> = (0..3).map(|_| plan(&mut scheduler).rows[0]).collect();
    assert_eq!(chunks.iter().map(|row| (row.start, row.len())).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 1)]);
    assert_eq!(chunks.iter().map(|row| row.sample).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn several_short_prompts_share_the_budget_of_one_step() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(3, 5));
    scheduler.add(seq(2), request(3, 5));
    let first = plan(&mut scheduler);
    assert_eq!(first.rows.iter().map(super::plan::Row::len).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn decoding_rows_go_on_while_a_long_prompt_is_prefilled() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 9));
    let first = plan(&mut scheduler);
    scheduler.commit(&answer(&first, 1));
    scheduler.add(seq(2), request(9, 9));
    let mixed = plan(&mut scheduler);
    assert_eq!(mixed.rows.iter().map(|row| row.feed).collect::<Vec<_>>(), [Feed::Sampled, Feed::Prompt { len: 4 }]);
}

#[test]
fn requests_beyond_the_row_limit_wait_and_join_in_order_at_a_step_border() {
    let mut scheduler = Scheduler::new(config());
    for id in 1..=4 {
        scheduler.add(seq(id), request(1, 2));
    }
    let first = plan(&mut scheduler);
    assert_eq!(ids(&first), [1, 2]);
    let drawn = scheduler.commit(&StepOutput { step: 0, tokens: vec![(seq(1), END), (seq(2), 1)] });
    assert_eq!(drawn[0].finish, Some(FinishReason::Stop));
    let second = plan(&mut scheduler);
    assert_eq!((ids(&second), second.release), (vec![2, 3], vec![seq(1)]));
    assert_eq!(scheduler.load(), Load { num_queued: 1, num_running: 2, num_parked: 0 });
}

#[test]
fn max_tokens_ends_a_sequence_with_length() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 1));
    let first = plan(&mut scheduler);
    assert_eq!(scheduler.commit(&answer(&first, 1))[0].finish, Some(FinishReason::Length));
    assert!(scheduler.is_empty());
}

#[test]
fn a_step_planned_ahead_never_draws_beyond_max_tokens() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 2));
    let (first, second) = (plan(&mut scheduler), plan(&mut scheduler));
    assert_eq!(scheduler.next(Instant::now()), Decision::Idle, "both tokens are in flight");
    assert_eq!(scheduler.commit(&answer(&first, 1))[0].finish, None);
    assert_eq!(scheduler.commit(&answer(&second, 1))[0].finish, Some(FinishReason::Length));
}

#[test]
fn tokens_drawn_ahead_for_a_finished_sequence_are_dropped() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 5));
    let (first, second) = (plan(&mut scheduler), plan(&mut scheduler));
    assert_eq!(scheduler.commit(&answer(&first, END)).len(), 1);
    assert!(scheduler.commit(&answer(&second, 1)).is_empty());
    assert!(scheduler.is_empty());
}

#[test]
fn a_removed_sequence_is_released_if_it_was_running_and_forgotten_if_it_was_queued() {
    let mut scheduler = Scheduler::new(config());
    for id in 1..=3 {
        scheduler.add(seq(id), request(1, 5));
    }
    plan(&mut scheduler);
    assert!(scheduler.remove(seq(1)));
    assert!(scheduler.remove(seq(3)));
    assert!(!scheduler.remove(seq(3)), "it is gone");
    let second = plan(&mut scheduler);
    assert_eq!((ids(&second), second.release), (vec![2], vec![seq(1)]));
}

#[test]
fn a_parked_sequence_gives_its_row_away_and_goes_on_where_it_was() {
    let mut scheduler = Scheduler::new(Config { max_rows: 1, ..config() });
    scheduler.add(seq(1), request(2, 9));
    scheduler.add(seq(2), request(1, 9));
    let first = plan(&mut scheduler);
    scheduler.commit(&answer(&first, 1));
    scheduler.park(seq(1), Instant::now());
    assert_eq!(ids(&plan(&mut scheduler)), [2]);
    scheduler.unpark(seq(1));
    let resumed = plan(&mut scheduler);
    assert_eq!((ids(&resumed), resumed.rows[0].start), (vec![1], 2), "first come, first served");
}

#[test]
fn parked_sequences_cannot_pile_up_without_bound() {
    let mut scheduler = Scheduler::new(Config { max_rows: 1, ..config() });
    for id in 0..10 {
        scheduler.add(seq(id), request(1, 9));
    }
    while let Decision::Run(plan) = scheduler.next(Instant::now()) {
        plan.rows.iter().for_each(|row| scheduler.park(row.sequence, Instant::now()));
    }
    assert_eq!(scheduler.load(), Load { num_queued: 6, num_running: 4, num_parked: 4 });
}

#[test]
fn deadlines_expire_sequences_wherever_they_are() {
    let mut scheduler = Scheduler::new(Config { max_rows: 1, ..config() });
    let now = Instant::now();
    for id in 1..=2 {
        let deadline = Some(now + Duration::from_secs(id));
        scheduler.add(seq(id), Request { deadline, ..request(1, 9) });
    }
    plan(&mut scheduler);
    assert!(scheduler.expire(now).is_empty());
    assert_eq!(scheduler.expire(now + Duration::from_secs(1)), [(seq(1), Expiry::Deadline)]);
    assert_eq!(scheduler.expire(now + Duration::from_secs(2)), [(seq(2), Expiry::Deadline)]);
    assert!(scheduler.is_empty());
}

#[test]
fn a_sequence_parked_for_too_long_expires_and_the_moment_is_announced() {
    let mut scheduler = Scheduler::new(config());
    let now = Instant::now();
    scheduler.add(seq(1), request(1, 9));
    plan(&mut scheduler);
    scheduler.park(seq(1), now);
    let expiry = now + Duration::from_mins(1);
    assert_eq!(scheduler.next(now), Decision::WaitUntil(expiry));
    assert_eq!(scheduler.expire(expiry), [(seq(1), Expiry::Parked)]);
}

#[test]
fn after_a_device_failure_only_the_failed_sequences_end_and_the_others_recompute() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(2, 3));
    scheduler.add(seq(2), request(2, 3));
    let first = plan(&mut scheduler);
    scheduler.commit(&answer(&first, 7));
    assert_eq!(scheduler.recover(|id| id == seq(2)), [seq(2)]);
    let again = plan(&mut scheduler);
    assert_eq!(&*again.admit[0].prompt, [1, 1, 7], "prompt and what was generated");
    assert_eq!((again.rows[0].start, again.rows[0].feed), (0, Feed::Prompt { len: 3 }));
    assert_eq!(scheduler.commit(&answer(&again, 7))[0].finish, None);
    let last = plan(&mut scheduler);
    assert_eq!(scheduler.commit(&answer(&last, 7))[0].finish, Some(FinishReason::Length), "3 tokens in all");
}

/// What may happen to a scheduler, in any order.
#[derive(Debug, Clone)]
enum Act {
    Add { prompt: usize, max_tokens: usize },
    Step { ends: u8 },
    Remove(u64),
    Park(u64),
    Unpark(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (1..20usize, 1..6usize).prop_map(|(prompt, max_tokens)| Act::Add { prompt, max_tokens }),
        5 => any::<u8>().prop_map(|ends| Act::Step { ends }),
        1 => (0..30u64).prop_map(Act::Remove),
        1 => (0..30u64).prop_map(Act::Park),
        1 => (0..30u64).prop_map(Act::Unpark),
    ]
}

/// Checks every plan against what an executor relies on, then drains; whatever was added must end or have been removed.
fn run(acts: Vec<Act>) {
    let mut scheduler = Scheduler::new(config());
    let mut device = std::collections::HashMap::<SequenceId, (usize, usize)>::new();
    let mut added = 0;
    let mut step = |scheduler: &mut Scheduler, ends: u8| {
        let Decision::Run(plan) = scheduler.next(Instant::now()) else { return false };
        for id in &plan.release {
            device.remove(id);
        }
        for admission in &plan.admit {
            assert!(device.insert(admission.sequence, (0, admission.prompt.len())).is_none(), "admitted twice");
        }
        assert!(plan.rows.len() <= 2 && !plan.rows.iter().any(super::plan::Row::is_empty));
        assert!(
            plan.rows.iter().filter(|row| row.feed != Feed::Sampled).map(super::plan::Row::len).sum::<usize>() <= 4
        );
        for row in &plan.rows {
            let (fed, prompt) = device.get_mut(&row.sequence).expect("rows name admitted sequences");
            assert_eq!(row.start, *fed, "positions are fed in order, without gaps");
            *fed += row.len();
            assert_eq!(row.sample, *fed >= *prompt);
        }
        scheduler.commit(&answer(&plan, if ends < 64 { END } else { 1 }));
        true
    };
    for act in acts {
        match act {
            Act::Add { prompt, max_tokens } => {
                scheduler.add(seq(added), request(prompt, max_tokens));
                added += 1;
            }
            Act::Step { ends } => drop(step(&mut scheduler, ends)),
            Act::Remove(id) => drop(scheduler.remove(seq(id))),
            Act::Park(id) => scheduler.park(seq(id), Instant::now()),
            Act::Unpark(id) => scheduler.unpark(seq(id)),
        }
    }
    (0..added).for_each(|id| scheduler.unpark(seq(id)));
    for _ in 0..10_000 {
        if !step(&mut scheduler, 255) {
            break;
        }
        (0..added).for_each(|id| scheduler.unpark(seq(id)));
    }
    assert!(scheduler.is_empty(), "every sequence ends");
}

proptest! {
    #[test]
    fn plans_are_always_what_an_executor_relies_on(acts in prop::collection::vec(act(), 0..120)) {
        run(acts);
    }
}
