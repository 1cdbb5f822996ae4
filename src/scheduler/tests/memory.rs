use super::*;

/// Memory for `num_blocks` blocks of 16 positions.
fn with_blocks(num_blocks: u64, rows: usize) -> Config {
    let kv =
        Some(KvLimit { bytes: num_blocks * 16 * 10, bytes_per_position: 10, block: 16, growth: KvGrowth::default() });
    Config { kv, prefill_chunk: 64, ..with_rows(rows) }
}

#[test]
fn a_request_is_not_admitted_without_memory() {
    let mut scheduler = Scheduler::new(with_blocks(4, 8));
    (1..=4).for_each(|id| scheduler.add(seq(id), request(10, 2), start()));
    assert_eq!(ids(&plan(&mut scheduler)), [1, 2], "each needs one block, and another one is reserved for each");
    assert_eq!(scheduler.load().num_queued, 2);
}

#[test]
fn when_memory_runs_out_the_newest_of_the_least_urgent_sequences_is_recomputed_later() {
    let mut scheduler = Scheduler::new(with_blocks(6, 8));
    scheduler.add(seq(1), request(14, 40), start());
    scheduler.add(seq(2), Request { priority: Priority::Background, ..request(14, 40) }, after(1));
    scheduler.add(seq(3), request(14, 40), after(2));
    assert_eq!(ids(&step(&mut scheduler)), [1, 3, 2]);
    let mut plans = (0..).map(|_| step(&mut scheduler));
    let preempting = plans.find(|plan| !plan.release.is_empty()).expect("memory runs out");
    assert_eq!((preempting.release.clone(), ids(&preempting)), (vec![seq(2)], vec![1, 3]));
    assert_eq!(scheduler.counters().preemptions, 1);
}

#[test]
fn a_preempted_sequence_continues_its_answer_and_loses_no_token() {
    let mut scheduler = Scheduler::new(with_blocks(4, 8));
    (1..=2).for_each(|id| scheduler.add(seq(id), request(15, 33), after(id)));
    let mut answers = [0, 0, 0];
    let mut resumed = None;
    while !scheduler.is_empty() {
        let plan = plan_at(&mut scheduler, after(10));
        if plan.step > 0 {
            resumed = plan.admit.first().cloned().or(resumed);
        }
        for sampled in commit(&mut scheduler, &answer(&plan, 1)) {
            answers[usize::try_from(sampled.sequence.0).expect("few")] += 1;
        }
    }
    assert_eq!(answers, [0, 33, 33]);
    let resumed = resumed.expect("one sequence was preempted");
    assert_eq!(resumed.sequence, seq(2));
    assert!(resumed.prompt.len() > 15, "the tokens of its answer are part of the prompt");
}

#[test]
fn tokens_in_flight_of_a_restarted_sequence_are_dropped() {
    let mut scheduler = Scheduler::new(with_blocks(4, 8));
    (1..=2).for_each(|id| scheduler.add(seq(id), request(15, 60), after(id)));
    let mut in_flight = vec![plan_at(&mut scheduler, after(10))];
    while scheduler.counters().preemptions == 0 {
        in_flight.push(plan_at(&mut scheduler, after(10)));
    }
    let mut num_taken = 0;
    for plan in &in_flight {
        num_taken +=
            commit(&mut scheduler, &answer(plan, 1)).iter().filter(|sampled| sampled.sequence == seq(2)).count();
    }
    assert_eq!(num_taken, 0, "its tokens are sampled again");
}

#[test]
fn a_parked_sequence_loses_its_kv_first_and_waits_in_the_queue_when_it_is_unparked() {
    let mut scheduler = Scheduler::new(with_blocks(4, 8));
    (1..=2).for_each(|id| scheduler.add(seq(id), request(15, 60), start()));
    step(&mut scheduler);
    scheduler.park(seq(1), start());
    let mut plans = (0..).map(|_| step(&mut scheduler));
    let preempting = plans.find(|plan| !plan.release.is_empty()).expect("memory runs out");
    assert_eq!((preempting.release.clone(), ids(&preempting)), (vec![seq(1)], vec![2]));
    scheduler.unpark(seq(1), start());
    assert_eq!(scheduler.load(), Load { num_queued: 1, num_running: 1, num_parked: 0 });
    while !scheduler.is_empty() {
        step(&mut scheduler);
    }
}

#[test]
fn a_single_sequence_may_use_all_memory() {
    let mut scheduler = Scheduler::new(with_blocks(3, 8));
    scheduler.add(seq(1), request(10, 38), start());
    while !scheduler.is_empty() {
        step(&mut scheduler);
    }
    assert_eq!(scheduler.counters().preemptions, 0);
}

#[test]
fn after_the_device_ran_out_of_memory_all_sequences_restart_and_fewer_run_together() {
    let mut scheduler = Scheduler::new(with_blocks(100, 8));
    (1..=4).for_each(|id| scheduler.add(seq(id), request(10, 5), after(id)));
    let all = plan_at(&mut scheduler, after(10));
    assert_eq!(ids(&all), [1, 2, 3, 4]);
    assert_eq!(scheduler.recover_memory(start()), None);
    assert_eq!(scheduler.num_in_flight(), 0);
    let again = plan_at(&mut scheduler, after(10));
    assert_eq!(ids(&again), [1, 2, 3], "a tenth less than what the four held");
    assert_eq!(again.admit.len(), 3);
}

#[test]
fn a_shrunken_capacity_grows_back_while_the_device_does_not_fail() {
    let mut scheduler = Scheduler::new(with_blocks(8, 8));
    let fitting = |scheduler: &mut Scheduler, seconds: u64| {
        (1..=8).for_each(|id| scheduler.add(seq(id), request(10, 5), start()));
        let num = ids(&plan_at(scheduler, after(seconds * 1_000))).len();
        scheduler.recover(start());
        scheduler.clear();
        scheduler.next(after(seconds * 1_000), 0, &mut Plan::default());
        num
    };
    let fail = |scheduler: &mut Scheduler, seconds: u64| {
        (1..=4).for_each(|id| scheduler.add(seq(id), request(10, 5), start()));
        plan_at(scheduler, after(seconds * 1_000));
        assert_eq!(scheduler.recover_memory(start()), None);
        scheduler.clear();
        scheduler.next(after(seconds * 1_000), 0, &mut Plan::default());
    };
    assert_eq!(fitting(&mut scheduler, 0), 4, "another block is reserved for each");
    fail(&mut scheduler, 1);
    let all = [1, 10, 12, 22, 32, 62, 72, 92].map(|seconds| fitting(&mut scheduler, seconds));
    assert_eq!(all, [2, 2, 2, 2, 2, 3, 3, 4]);
    fail(&mut scheduler, 100);
    fail(&mut scheduler, 101);
    let all = [102, 200, 222, 290, 302].map(|seconds| fitting(&mut scheduler, seconds));
    assert_eq!(
        all,
        [1, 1, 2, 2, 4],
        "the pause doubled; the whole budget is back at twice the positions of the failure"
    );
    fail(&mut scheduler, 400);
    assert_eq!(fitting(&mut scheduler, 4_000), 4, "time in which the engine is idle counts as well");
}

#[test]
fn only_a_sequence_that_held_all_memory_alone_fails_for_lack_of_memory() {
    let mut scheduler = Scheduler::new(with_blocks(100, 8));
    scheduler.add(seq(1), request(10, 5), start());
    plan(&mut scheduler);
    assert_eq!(scheduler.recover_memory(start()), Some(seq(1)));
    assert!(scheduler.is_empty());
}

#[test]
fn a_failure_of_a_removed_sequence_shrinks_the_capacity_for_others() {
    let mut scheduler = Scheduler::new(with_blocks(100, 8));
    scheduler.add(seq(1), request(60, 50), start());
    step(&mut scheduler);
    plan(&mut scheduler);
    scheduler.remove(seq(1));
    assert_eq!(scheduler.recover_memory(start()), None);
    (2..=4).for_each(|id| scheduler.add(seq(id), request(1, 5), start()));
    assert_eq!(ids(&plan(&mut scheduler)), [2, 3], "three of the four blocks, and another one is reserved for each");
}

#[test]
fn the_last_of_several_sequences_does_not_fail_for_memory_that_they_held_together() {
    let mut scheduler = Scheduler::new(with_blocks(100, 8));
    scheduler.add(seq(1), request(60, 5), start());
    scheduler.add(seq(2), request(1, 5), start());
    plan(&mut scheduler);
    scheduler.remove(seq(1));
    assert_eq!(scheduler.recover_memory(start()), None);
    assert_eq!(ids(&plan(&mut scheduler)), [2]);
    (3..=5).for_each(|id| scheduler.add(seq(id), request(1, 5), start()));
    assert_eq!(ids(&plan(&mut scheduler)), [2, 3], "four of the five blocks, and another one is reserved for each");
}

#[test]
fn a_layer_with_a_window_takes_no_more_memory_once_the_window_is_full() {
    let window = Some(KvWindow { positions: 32, least: 32, bytes_per_position: 6 });
    let kv = |window| KvLimit {
        bytes: 1 << 20,
        bytes_per_position: 10,
        block: 16,
        growth: KvGrowth { doubles: true, window, spare_share: None },
    };
    let taken = |limit: KvLimit| [1, 17, 33, 65, 129].map(|positions| limit.whole_blocks(positions));
    assert_eq!(taken(kv(None)), [16, 32, 64, 128, 256]);
    // Each position beyond 32 takes 4 bytes instead of 10.
    assert_eq!(taken(kv(window)), [16, 32, 64 - 19, 128 - 57, 256 - 134]);
}

/// The budget was rounded down to whole blocks, so rows that hold less than a block ran alone.
#[test]
fn rows_with_a_window_use_memory_that_is_smaller_than_a_block() {
    let window = Some(KvWindow { positions: 4, least: 4, bytes_per_position: 10 });
    let growth = KvGrowth { doubles: true, window, spare_share: None };
    // Each row holds 4 positions, and another 4 are reserved for each row that runs.
    let kv = Some(KvLimit { bytes: 12 * 10, bytes_per_position: 10, block: 16, growth });
    let mut scheduler = Scheduler::new(Config { kv, prefill_chunk: 64, ..with_rows(8) });
    (1..=4).for_each(|id| scheduler.add(seq(id), request(10, 40), start()));
    assert_eq!(ids(&plan(&mut scheduler)), [1, 2]);
}

#[test]
fn memory_that_is_allocated_ahead_is_not_available_for_sequences() {
    let limit = |spare_share| KvLimit {
        bytes: 1600,
        bytes_per_position: 10,
        block: 1,
        growth: KvGrowth { spare_share, ..KvGrowth::default() },
    };
    assert_eq!([None, Some(16), Some(1)].map(|share| limit(share).capacity()), [160, 150, 0]);
}
