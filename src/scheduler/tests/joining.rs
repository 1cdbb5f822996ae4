use super::*;

/// Four rows decode while other requests wait, on a device on which a step with prompts takes `fixed` for any length.
fn saturated(fixed: Duration) -> Scheduler {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    let prompts = [1, 1, 1, 1, 8, 8, 8, 8];
    (0..40)
        .zip(prompts.into_iter().cycle())
        .for_each(|(id, prompt)| scheduler.add(seq(id), request(prompt, 1), start()));
    for _ in 0..8 {
        let plan = plan(&mut scheduler);
        commit_after(&mut scheduler, &answer(&plan, END), fixed + STEP);
    }
    (100..104).for_each(|id| scheduler.add(seq(id), Request { priority: Priority::Urgent, ..request(1, 90) }, start()));
    while scheduler.load().num_running < 4 || scheduler.running.iter().any(|it| it.id.0 < 100) {
        let plan = plan(&mut scheduler);
        commit_after(&mut scheduler, &answer(&plan, 1), fixed);
    }
    for _ in 0..20 {
        let plan = plan(&mut scheduler);
        let took = if plan.admit.is_empty() { STEP } else { fixed };
        commit_after(&mut scheduler, &answer(&plan, 1), took);
    }
    scheduler
}

#[test]
fn prompts_join_one_by_one_where_reading_them_costs_little() {
    let mut scheduler = saturated(Duration::ZERO);
    scheduler.remove(seq(100));
    assert_eq!(plan(&mut scheduler).admit.len(), 1);
}

#[test]
fn waiting_prompts_join_together_if_each_step_with_prompts_has_a_high_fixed_cost() {
    let mut scheduler = saturated(STEP * 40);
    scheduler.ends.per_step = 0.5;
    scheduler.remove(seq(100));
    assert!(plan(&mut scheduler).admit.is_empty(), "one free row is not enough");
    scheduler.remove(seq(101));
    assert_eq!(plan(&mut scheduler).admit.len(), 2);
}

#[test]
fn a_free_row_is_held_no_longer_than_the_wanted_rows_should_take_to_become_free() {
    let mut scheduler = saturated(STEP * 40);
    scheduler.ends.per_step = 0.5;
    scheduler.remove(seq(100));
    let num_steps = (0..20).take_while(|_| plan(&mut scheduler).admit.is_empty()).count();
    assert_eq!(num_steps, 4, "2 rows are wanted, and one becomes free every 2 steps");
}

#[test]
fn an_urgent_request_is_not_held() {
    let mut scheduler = saturated(STEP * 40);
    scheduler.ends.per_step = 0.5;
    scheduler.add(seq(200), Request { priority: Priority::Urgent, ..request(1, 1) }, start());
    scheduler.remove(seq(100));
    assert_eq!(plan(&mut scheduler).admit[0].sequence, seq(200));
}

#[test]
fn requests_that_have_waited_long_are_held_like_others() {
    let mut scheduler = saturated(STEP * 40);
    scheduler.ends.per_step = 0.5;
    scheduler.remove(seq(100));
    assert!(plan_at(&mut scheduler, after(60_000)).admit.is_empty(), "all of them have aged");
}

#[test]
fn no_request_is_held_if_every_request_has_a_row() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    scheduler.add(seq(1), request(1, 9), start());
    let first = plan(&mut scheduler);
    commit_after(&mut scheduler, &answer(&first, 1), STEP * 40);
    scheduler.add(seq(2), request(1, 9), start());
    assert_eq!(plan(&mut scheduler).admit.len(), 1);
}

#[test]
fn an_end_by_a_stop_sequence_updates_the_estimates_like_an_end_token() {
    let ended_by = |end: fn(&mut Scheduler, &Plan)| {
        let mut scheduler = Scheduler::new(with_rows(4));
        (1..=2).for_each(|id| scheduler.add(seq(id), request(2, 20), start()));
        for _ in 0..5 {
            let plan = plan(&mut scheduler);
            commit(&mut scheduler, &answer(&plan, 1));
        }
        let last = plan(&mut scheduler);
        end(&mut scheduler, &last);
        (scheduler.ends.per_step, scheduler.ends.answer_tokens, scheduler.load())
    };
    let by_tokens = ended_by(|scheduler, plan| drop(commit(scheduler, &answer(plan, END))));
    let by_text = ended_by(|scheduler, plan| {
        commit(scheduler, &answer(plan, 1));
        assert!(scheduler.end(seq(1)) && scheduler.end(seq(2)) && !scheduler.end(seq(3)));
    });
    assert_eq!(by_text, by_tokens);
}
