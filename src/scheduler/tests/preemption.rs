use super::*;

fn with(priority: Priority, max_tokens: usize) -> Request {
    Request { priority, ..request(2, max_tokens) }
}

/// Two background rows decode and one background request waits when an urgent request arrives.
fn crowded(config: &Config) -> Scheduler {
    let mut scheduler = Scheduler::new(*config);
    (1..4).for_each(|id| scheduler.add(seq(id), with(Priority::Background, 100), after(id)));
    step(&mut scheduler);
    step(&mut scheduler);
    scheduler.add(seq(9), with(Priority::Urgent, 2), after(10));
    scheduler
}

#[test]
fn an_urgent_request_takes_the_row_of_a_background_one_at_the_next_step() {
    let mut scheduler = crowded(&config());
    let taken = step(&mut scheduler);
    assert_eq!(lens(&taken), [(1, 1), (9, 2)], "the newer row is set aside");
    assert!(taken.release.is_empty(), "it keeps its KV");
    assert_eq!(scheduler.load(), Load { num_queued: 1, num_running: 3, num_parked: 1 });
    assert_eq!(scheduler.counters().set_aside, 1);
    assert_eq!(ids(&step(&mut scheduler)), [1, 9]);
    let back = step(&mut scheduler);
    assert_eq!(lens(&back), [(1, 1), (2, 1)], "it continues before a request that has not run");
    assert_eq!(back.rows[1].start, 3);
}

#[test]
fn a_token_that_was_sampled_before_its_row_was_set_aside_is_read() {
    let mut scheduler = crowded(&config());
    let ahead = plan(&mut scheduler);
    scheduler.add(seq(10), with(Priority::Urgent, 2), after(10));
    let next = plan(&mut scheduler);
    assert_eq!(ids(&next), [9, 10]);
    let sampled = commit(&mut scheduler, &answer(&ahead, 1));
    assert_eq!(sampled.iter().map(|sampled| sampled.sequence.0).collect::<Vec<_>>(), [1, 9]);
    assert_eq!(scheduler.num_under_way(seq(1)), 0);
}

#[test]
fn without_memory_for_both_the_row_that_is_set_aside_is_recomputed() {
    let kv = KvLimit { bytes: 24, bytes_per_position: 1, block: 8, growth: KvGrowth::default() };
    let mut scheduler = crowded(&Config { kv: Some(kv), prefill_chunk: 16, ..config() });
    scheduler.remove(seq(9));
    scheduler.add(seq(9), Request { priority: Priority::Urgent, ..request(10, 2) }, after(10));
    let taken = step(&mut scheduler);
    assert_eq!((ids(&taken), taken.release), (vec![1, 9], vec![seq(2)]));
    step(&mut scheduler);
    let again = step(&mut scheduler);
    assert_eq!(again.admit[0].sequence, seq(2));
    assert_eq!(again.admit[0].prompt.len(), 2 + 2, "the prompt and the generated tokens");
}

#[test]
fn a_default_request_takes_the_row_of_a_background_one_and_none_of_its_own_priority() {
    let mut scheduler = Scheduler::new(config());
    scheduler.add(seq(1), with(Priority::Default, 100), start());
    scheduler.add(seq(2), with(Priority::Background, 100), start());
    step(&mut scheduler);
    (3..5).for_each(|id| scheduler.add(seq(id), with(Priority::Default, 100), start()));
    assert_eq!(ids(&step(&mut scheduler)), [1, 3]);
    assert_eq!(ids(&step(&mut scheduler)), [1, 3]);
}

#[test]
fn an_endless_stream_of_urgent_requests_leaves_background_its_part() {
    let mut scheduler = Scheduler::new(Config { ageing: Duration::from_secs(1), ..with_rows(1) });
    scheduler.add(seq(1), with(Priority::Background, 20), start());
    let (mut next, mut tokens) = (100, 0);
    for round in 0..400 {
        while scheduler.load().num_queued < 3 {
            scheduler.add(seq(next), with(Priority::Urgent, 4), after(round * 10));
            next += 1;
        }
        let plan = plan_at(&mut scheduler, after(round * 10));
        tokens += usize::from(plan.rows[0].sequence == seq(1));
        commit(&mut scheduler, &answer(&plan, 1));
    }
    assert_eq!(tokens, 20, "it was set aside, and still ended");
}

#[test]
fn a_row_that_is_set_aside_may_end_be_parked_or_become_urgent() {
    let set_aside = || {
        let mut scheduler = crowded(&config());
        step(&mut scheduler);
        scheduler
    };
    let mut removed = set_aside();
    assert!(removed.remove(seq(2)));
    assert_eq!(ids(&step(&mut removed)), [1, 9]);
    assert_eq!(lens(&step(&mut removed)), [(1, 1), (3, 2)]);

    let mut parked = set_aside();
    assert!(parked.park(seq(2), after(20)));
    step(&mut parked);
    assert_eq!(lens(&step(&mut parked)), [(1, 1), (3, 2)], "a parked sequence has no place in the queue");
    parked.unpark(seq(2), after(30));
    assert!(ids(&step(&mut parked)).contains(&2));

    let mut wanted = set_aside();
    wanted.revise(seq(2), Urgency { priority: Priority::Urgent, deadline: None }, after(20));
    assert_eq!(ids(&step(&mut wanted)), [2, 9]);
}

/// The account of each tenant stayed, with a charge that nothing repaid.
#[test]
fn accounts_of_tenants_whose_preempted_requests_expire_are_removed() {
    let kv = KvLimit { bytes: 24, bytes_per_position: 1, block: 8, growth: KvGrowth::default() };
    let mut scheduler = Scheduler::new(Config { kv: Some(kv), prefill_chunk: 32, ..config() });
    for round in 0..200 {
        let (now, tenant) = (after(round * 10), Some(format!("tenant {round}").into()));
        let deadline = Some(now + Duration::from_millis(5));
        scheduler.add(seq(2 * round), Request { deadline, tenant, ..with(Priority::Background, 100) }, now);
        let begun = plan_at(&mut scheduler, now);
        commit(&mut scheduler, &answer(&begun, 1));
        scheduler.add(seq(2 * round + 1), Request { priority: Priority::Urgent, ..request(20, 1) }, now);
        let taken = plan_at(&mut scheduler, now);
        assert_eq!((ids(&taken), &*taken.release), (vec![2 * round + 1], &[seq(2 * round)][..]));
        commit(&mut scheduler, &answer(&taken, END));
        assert_eq!(expire(&mut scheduler, now + Duration::from_millis(6)), [(seq(2 * round), Expiry::Deadline)]);
    }
    assert!(scheduler.queue.num_accounts() < 100, "{} accounts", scheduler.queue.num_accounts());
}
