use super::*;
use crate::constraint::{ConstraintEnd, ConstraintError};

#[test]
fn an_empty_scheduler_is_idle() {
    assert_eq!(decide(&mut Scheduler::new(config())), Decision::Idle);
}

#[test]
fn a_short_prompt_is_prefilled_in_one_step_and_then_decoded_token_by_token() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(3, 3), start());
    let first = plan(&mut scheduler);
    assert_eq!(first.admit[0].prompt.len(), 3);
    assert_eq!((first.rows[0].start, first.rows[0].feed, first.rows[0].sample), (0, Feed::Prompt { len: 3 }, true));
    commit(&mut scheduler, &answer(&first, 1));
    let second = plan(&mut scheduler);
    assert!(second.admit.is_empty(), "a sequence is admitted once");
    assert_eq!((second.rows[0].start, second.rows[0].feed, second.rows[0].sample), (3, Feed::Sampled, true));
}

#[test]
fn only_the_last_chunk_of_a_long_prompt_samples_a_token() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(9, 1), start());
    let chunks: Vec<_> = (0..3).map(|_| plan(&mut scheduler).rows[0]).collect();
    assert_eq!(chunks.iter().map(|row| (row.start, row.len())).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 1)]);
    assert_eq!(chunks.iter().map(|row| row.sample).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn several_short_prompts_share_the_budget_of_one_step() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(3, 5), start());
    scheduler.add(seq(2), request(3, 5), start());
    let first = plan(&mut scheduler);
    assert_eq!(first.rows.iter().map(Row::len).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn rows_decode_while_a_long_prompt_is_prefilled() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 9), start());
    let first = plan(&mut scheduler);
    commit(&mut scheduler, &answer(&first, 1));
    scheduler.add(seq(2), request(9, 9), start());
    let mixed = plan(&mut scheduler);
    assert_eq!(mixed.rows.iter().map(|row| row.feed).collect::<Vec<_>>(), [Feed::Sampled, Feed::Prompt { len: 4 }]);
}

#[test]
fn requests_beyond_the_batch_limit_wait_and_join_in_order_at_the_next_step() {
    let mut scheduler = Scheduler::new(config());
    for id in 1..=4 {
        scheduler.add(seq(id), request(1, 2), start());
    }
    let first = plan(&mut scheduler);
    assert_eq!(ids(&first), [1, 2]);
    let sampled = commit(
        &mut scheduler,
        &StepOutput { step: 0, tokens: vec![(seq(1), END), (seq(2), 1)], ..StepOutput::default() },
    );
    assert_eq!(sampled[0].finish, Some(FinishReason::Stop));
    let second = plan(&mut scheduler);
    assert_eq!((ids(&second), second.release), (vec![2, 3], vec![seq(1)]));
    assert_eq!(scheduler.load(), Load { num_queued: 1, num_running: 2, num_parked: 0 });
}

#[test]
fn complete_constraint_ends_a_sequence_even_at_its_last_token() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 1), start());
    plan(&mut scheduler);
    let closed = vec![(seq(1), ConstraintEnd::Complete)];
    let output = StepOutput { tokens: vec![(seq(1), 1)], closed, ..StepOutput::default() };
    let sampled = commit(&mut scheduler, &output);
    assert_eq!(
        (sampled[0].finish, sampled[0].constraint_end),
        (Some(FinishReason::Stop), Some(ConstraintEnd::Complete))
    );
    assert!(scheduler.is_empty());
}

#[test]
fn failed_constraint_leaves_the_sequence_for_the_caller_to_remove() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 9), start());
    plan(&mut scheduler);
    let closed = vec![(seq(1), ConstraintEnd::Failed(ConstraintError::DeadEnd))];
    let output = StepOutput { tokens: vec![(seq(1), 1)], closed, ..StepOutput::default() };
    let sampled = commit(&mut scheduler, &output);
    assert_eq!(
        (sampled[0].finish, sampled[0].constraint_end),
        (None, Some(ConstraintEnd::Failed(ConstraintError::DeadEnd)))
    );
    assert!(scheduler.remove(seq(1)));
}

#[test]
fn max_tokens_ends_a_sequence_with_length() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 1), start());
    let first = plan(&mut scheduler);
    assert_eq!(commit(&mut scheduler, &answer(&first, 1))[0].finish, Some(FinishReason::Length));
    assert!(scheduler.is_empty());
}

#[test]
fn if_submit_may_block_one_step_is_planned_ahead_only_if_both_steps_just_decode() {
    let may_plan = |scheduler: &Scheduler| scheduler.may_plan(Overlap::Bounded);
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(6, 9), start());
    for is_last_chunk in [false, true] {
        let reads = plan(&mut scheduler);
        assert_eq!(reads.rows[0].sample, is_last_chunk);
        assert!(
            !may_plan(&scheduler),
            "its token would wait for the next step, and the two times could not be measured separately"
        );
        commit(&mut scheduler, &answer(&reads, 1));
    }
    let decodes = plan(&mut scheduler);
    assert!(may_plan(&scheduler) && !scheduler.may_plan(Overlap::None));
    let ahead = plan(&mut scheduler);
    assert!(!may_plan(&scheduler), "at most two steps are in flight");
    commit(&mut scheduler, &answer(&decodes, 1));
    assert!(may_plan(&scheduler));
    scheduler.add(seq(2), request(3, 9), start());
    assert!(!may_plan(&scheduler), "the waiting request reads its prompt in the next step");
    commit(&mut scheduler, &answer(&ahead, 1));
    step(&mut scheduler);
    scheduler.add(seq(3), request(3, 9), start());
    plan(&mut scheduler);
    assert!(may_plan(&scheduler), "the waiting request gets no row before one of the two has ended");
}

#[test]
fn if_submit_does_not_block_one_step_is_planned_ahead_unless_the_next_step_only_reads_prompts() {
    let may_plan = |scheduler: &Scheduler| scheduler.may_plan(Overlap::Whole);
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(6, 9), start());
    let first = plan(&mut scheduler);
    assert!(!may_plan(&scheduler), "no row decodes, and a request that arrives meanwhile should join the next chunk");
    commit(&mut scheduler, &answer(&first, 1));
    let last = plan(&mut scheduler);
    assert!(last.rows[0].sample && may_plan(&scheduler), "its first token is sampled");
    let decodes = plan(&mut scheduler);
    assert_eq!(decodes.rows[0].feed, Feed::Sampled);
    assert!(!may_plan(&scheduler), "at most two steps are in flight");
    commit(&mut scheduler, &answer(&last, 1));
    scheduler.add(seq(2), request(3, 9), start());
    assert!(may_plan(&scheduler), "a row decodes in the same step as the prompt");
    let reads = plan(&mut scheduler);
    assert_eq!((ids(&reads), reads.admit.len()), (vec![1, 2], 1));
}

#[test]
fn a_step_planned_ahead_never_samples_beyond_max_tokens() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 2), start());
    let (first, second) = (plan(&mut scheduler), plan(&mut scheduler));
    assert_eq!(decide(&mut scheduler), Decision::Idle, "both tokens are in flight");
    assert_eq!(commit(&mut scheduler, &answer(&first, 1))[0].finish, None);
    assert_eq!(commit(&mut scheduler, &answer(&second, 1))[0].finish, Some(FinishReason::Length));
}

#[test]
fn tokens_sampled_ahead_for_a_finished_sequence_are_dropped() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(1, 5), start());
    let (first, second) = (plan(&mut scheduler), plan(&mut scheduler));
    assert_eq!(commit(&mut scheduler, &answer(&first, END)).len(), 1);
    assert!(commit(&mut scheduler, &answer(&second, 1)).is_empty());
    assert!(scheduler.is_empty());
}

#[test]
fn a_removed_sequence_is_released_if_it_was_running_and_forgotten_if_it_was_queued() {
    let mut scheduler = Scheduler::new(config());
    for id in 1..=3 {
        scheduler.add(seq(id), request(1, 5), start());
    }
    plan(&mut scheduler);
    assert!(scheduler.remove(seq(1)));
    assert!(scheduler.remove(seq(3)));
    assert!(!scheduler.remove(seq(3)), "it was removed");
    let second = plan(&mut scheduler);
    assert_eq!((ids(&second), second.release), (vec![2], vec![seq(1)]));
}

#[test]
fn a_parked_sequence_frees_its_row_and_continues_at_its_position() {
    let mut scheduler = Scheduler::new(with_rows(1));
    scheduler.add(seq(1), request(2, 9), start());
    scheduler.add(seq(2), request(1, 9), start());
    let first = plan(&mut scheduler);
    commit(&mut scheduler, &answer(&first, 1));
    scheduler.park(seq(1), start());
    assert_eq!(ids(&plan(&mut scheduler)), [2]);
    scheduler.unpark(seq(1), start());
    let resumed = plan(&mut scheduler);
    assert_eq!((ids(&resumed), resumed.rows[0].start), (vec![1], 2), "the older sequence runs first");
}

#[test]
fn parked_sequences_free_their_rows_and_a_bounded_number_of_them_keeps_kv() {
    let mut scheduler = Scheduler::new(with_rows(1));
    for id in 0..10 {
        scheduler.add(seq(id), request(1, 9), start());
    }
    while let (Decision::Run, plan) = decide_at(&mut scheduler, start()) {
        commit(&mut scheduler, &answer(&plan, 1));
        assert!(plan.rows.iter().all(|row| scheduler.park(row.sequence, start())));
        assert!(scheduler.running.holders().count() <= 4);
    }
    assert_eq!(scheduler.load(), Load { num_queued: 0, num_running: 10, num_parked: 10 });
    (0..10).for_each(|id| scheduler.unpark(seq(id), start()));
    let mut num_sampled = [1; 10];
    while let (Decision::Run, plan) = decide_at(&mut scheduler, start()) {
        for sampled in commit(&mut scheduler, &answer(&plan, 1)) {
            num_sampled[usize::try_from(sampled.sequence.0).expect("few")] += 1;
        }
    }
    assert_eq!(num_sampled, [9; 10], "all of them end");
}

#[test]
fn deadlines_expire_running_and_queued_sequences() {
    let mut scheduler = Scheduler::new(with_rows(1));
    let now = start();
    for id in 1..=2 {
        let deadline = Some(now + Duration::from_secs(id));
        scheduler.add(seq(id), Request { deadline, ..request(1, 9) }, start());
    }
    plan(&mut scheduler);
    assert!(expire(&mut scheduler, now).is_empty());
    assert_eq!(expire(&mut scheduler, now + Duration::from_secs(1)), [(seq(1), Expiry::Deadline)]);
    assert_eq!(expire(&mut scheduler, now + Duration::from_secs(2)), [(seq(2), Expiry::Deadline)]);
    assert!(scheduler.is_empty());
}

#[test]
fn a_sequence_that_is_parked_for_too_long_expires_at_the_time_of_the_decision() {
    let mut scheduler = Scheduler::new(config());
    let now = start();
    scheduler.add(seq(1), request(1, 9), start());
    plan(&mut scheduler);
    scheduler.park(seq(1), now);
    let expiry = now + Duration::from_mins(1);
    assert_eq!(decide_at(&mut scheduler, now).0, Decision::WaitUntil(expiry));
    assert_eq!(expire(&mut scheduler, expiry), [(seq(1), Expiry::Parked)]);
}

#[test]
fn after_a_device_failure_only_the_failed_sequences_end_and_the_others_recompute() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), request(2, 3), start());
    scheduler.add(seq(2), request(2, 3), start());
    let first = plan(&mut scheduler);
    commit(&mut scheduler, &answer(&first, 7));
    scheduler.park(seq(1), start());
    assert_eq!(ids(&plan(&mut scheduler)), [2]);
    assert_eq!(scheduler.recover(start()), [seq(2)]);
    scheduler.unpark(seq(1), start());
    let again = plan(&mut scheduler);
    assert_eq!(&*again.admit[0].prompt, [1, 1, 7], "the prompt and the generated token");
    assert_eq!((again.rows[0].start, again.rows[0].feed), (0, Feed::Prompt { len: 3 }));
    assert_eq!(commit(&mut scheduler, &answer(&again, 7))[0].finish, None);
    let last = plan(&mut scheduler);
    assert_eq!(commit(&mut scheduler, &answer(&last, 7))[0].finish, Some(FinishReason::Length), "3 tokens in all");
}
