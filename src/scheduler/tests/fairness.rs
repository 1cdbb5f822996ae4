use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn of(priority: Priority) -> Request {
    Request { priority, ..request(1, 1) }
}

fn by(tenant: &str) -> Request {
    Request { tenant: Some(tenant.into()), ..request(1, 1) }
}

/// Runs one request after another, one second each. Returns their ids in the order in which they ran.
fn serve(scheduler: &mut Scheduler, mut now: Instant) -> Vec<u64> {
    let mut served = Vec::new();
    while let (Decision::Run, plan) = decide_at(scheduler, now) {
        served.extend(ids(&plan));
        commit(scheduler, &answer(&plan, END));
        now += Duration::from_secs(1);
    }
    served
}

#[test]
fn urgent_goes_before_default_and_default_before_background() {
    let mut scheduler = Scheduler::new(with_rows(1));
    for (id, priority) in [(1, Priority::Background), (2, Priority::Default), (3, Priority::Urgent)] {
        scheduler.add(seq(id), of(priority), start());
    }
    assert_eq!(serve(&mut scheduler, start()), [3, 2, 1]);
}

#[test]
fn a_request_made_more_urgent_goes_before_earlier_requests() {
    let mut scheduler = Scheduler::new(with_rows(1));
    for (id, priority) in [(1, Priority::Default), (2, Priority::Default), (3, Priority::Background)] {
        scheduler.add(seq(id), of(priority), start());
    }
    let urgent = Urgency { priority: Priority::Urgent, deadline: None };
    scheduler.revise(seq(3), urgent, start());
    scheduler.revise(seq(2), Urgency { deadline: Some(after(500)), ..Urgency::default() }, start());
    assert_eq!(scheduler.queue.since(), Some(start()), "the window does not start again");
    assert_eq!(expire(&mut scheduler, after(500)), [(seq(2), Expiry::Deadline)]);
    assert_eq!(serve(&mut scheduler, after(500)), [3, 1]);
}

#[test]
fn a_sequence_of_several_requests_has_their_highest_priority_and_latest_deadline() {
    let urgency = |priority, ms: Option<u64>| Urgency { priority, deadline: ms.map(after) };
    let (urgent, patient) = (urgency(Priority::Urgent, Some(10)), urgency(Priority::Background, Some(20)));
    assert_eq!(urgent.and(patient), urgency(Priority::Urgent, Some(20)));
    assert_eq!(urgent.and(urgency(Priority::Default, None)), urgency(Priority::Urgent, None));
}

#[test]
fn an_old_backlog_delays_no_urgent_request_and_no_other_tenant() {
    let mut scheduler = Scheduler::new(with_rows(1));
    (0..20).for_each(|id| scheduler.add(seq(id), by("many"), start()));
    let mut now = after(60_000);
    for id in [0, 1] {
        assert_eq!(ids(&plan_at(&mut scheduler, now)), [id]);
        now += Duration::from_secs(1);
        if id == 0 {
            commit(&mut scheduler, &StepOutput { step: id, tokens: vec![(seq(id), END)], ..StepOutput::default() });
        }
    }
    scheduler.add(seq(30), by("other"), now);
    scheduler.add(seq(31), Request { priority: Priority::Urgent, ..by("many") }, now);
    commit(&mut scheduler, &StepOutput { step: 1, tokens: vec![(seq(1), END)], ..StepOutput::default() });
    assert_eq!(serve(&mut scheduler, now)[..4], [31, 2, 30, 3]);
}

#[test]
fn an_aged_priority_is_owed_a_quarter_of_the_tokens_of_higher_ones_and_no_more() {
    let mut scheduler = Scheduler::new(Config { ageing: Duration::from_secs(5), ..with_rows(1) });
    (0..40).for_each(|id| scheduler.add(seq(id), of(Priority::Urgent), start()));
    (100..110).for_each(|id| scheduler.add(seq(id), of(Priority::Background), start()));
    let served = serve(&mut scheduler, start());
    let low = |served: &[u64]| served.iter().filter(|&&id| id >= 100).count();
    assert_eq!(low(&served[..9]), 0, "background ages after 5 s and is owed a request after 4 urgent ones: {served:?}");
    assert_eq!(low(&served[..29]), 4, "from then on one of five is background: {served:?}");
}

#[test]
fn tenants_take_turns_for_any_number_of_waiting_requests() {
    let mut scheduler = Scheduler::new(with_rows(1));
    (0..6).for_each(|id| scheduler.add(seq(id), by("many"), start()));
    (10..12).for_each(|id| scheduler.add(seq(id), by("few"), start()));
    assert_eq!(serve(&mut scheduler, start()), [0, 10, 1, 11, 2, 3, 4, 5]);
}

#[test]
fn a_tenant_with_long_requests_gets_fewer_of_them() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(1) });
    let long = |id: u64| (seq(id), Request { tenant: Some("long".into()), ..request(29, 1) });
    (0..4).map(long).for_each(|(id, request)| scheduler.add(id, request, start()));
    (10..30).for_each(|id| scheduler.add(seq(id), Request { tenant: Some("short".into()), ..request(9, 1) }, start()));
    let served = serve(&mut scheduler, start());
    let num_long = served[..12].iter().filter(|&&id| id < 10).count();
    assert_eq!(num_long, 3, "requests of 30 and 10 tokens, so one in four is long: {served:?}");
}

#[test]
fn a_late_tenant_gets_its_share_from_its_arrival_on_and_nothing_for_the_past() {
    let mut scheduler = Scheduler::new(Config { ageing: Duration::MAX, ..with_rows(1) });
    (0..20).for_each(|id| scheduler.add(seq(id), by("early"), start()));
    for _ in 0..8 {
        let plan = plan(&mut scheduler);
        commit(&mut scheduler, &answer(&plan, END));
    }
    (20..26).for_each(|id| scheduler.add(seq(id), by("late"), start()));
    assert_eq!(serve(&mut scheduler, start())[..8], [8, 20, 9, 21, 10, 22, 11, 23]);
}

/// Runs the next request while the time stands still. Returns its id.
fn serve_one(scheduler: &mut Scheduler) -> u64 {
    let plan = plan(scheduler);
    commit(scheduler, &answer(&plan, END));
    plan.rows[0].sequence.0
}

#[test]
fn tenants_with_waiting_requests_get_equal_tokens_for_any_request_lengths() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 1_000, ..with_rows(1) });
    let kinds = [("few and long", 999, 2), ("many and short", 9, 10)];
    let (mut next, mut given, mut owners) = (0, [0, 0], HashMap::new());
    let mut ask = |scheduler: &mut Scheduler, owners: &mut HashMap<u64, usize>, kind: usize| {
        let (tenant, prompt, _) = kinds[kind];
        scheduler.add(seq(next), Request { tenant: Some(tenant.into()), ..request(prompt, 1) }, start());
        owners.insert(next, kind);
        next += 1;
    };
    (0..2).for_each(|kind| (0..kinds[kind].2).for_each(|_| ask(&mut scheduler, &mut owners, kind)));
    for _ in 0..3_000 {
        let kind = owners[&serve_one(&mut scheduler)];
        given[kind] += kinds[kind].1 + 1;
        ask(&mut scheduler, &mut owners, kind);
    }
    assert!(given[0].abs_diff(given[1]) <= 1_000, "{given:?} tokens");
}

#[test]
fn a_long_request_of_another_tenant_does_not_delay_later_requests() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 1_000, ..with_rows(1) });
    (0..50).for_each(|id| scheduler.add(seq(id), by("many"), start()));
    scheduler.add(seq(50), Request { tenant: Some("long".into()), ..request(999, 1) }, start());
    assert_eq!([(); 3].map(|()| serve_one(&mut scheduler)), [0, 50, 1]);
    scheduler.add(seq(51), by("late"), start());
    assert_eq!([(); 3].map(|()| serve_one(&mut scheduler)), [2, 51, 3]);
}

#[test]
fn waiting_requests_of_another_priority_are_not_charged_before_they_run() {
    let mut scheduler = Scheduler::new(with_rows(1));
    let of = |priority, tenant| Request { priority, ..by(tenant) };
    (0..50).for_each(|id| scheduler.add(seq(id), of(Priority::Background, "patient"), start()));
    (50..60).for_each(|id| scheduler.add(seq(id), of(Priority::Default, "other"), start()));
    scheduler.add(seq(60), of(Priority::Default, "patient"), start());
    assert_eq!([(); 3].map(|()| serve_one(&mut scheduler)), [50, 60, 51]);
}

#[test]
fn requests_that_are_cancelled_before_they_run_cost_their_tenant_nothing() {
    let mut scheduler = Scheduler::new(with_rows(1));
    (0..50).for_each(|id| scheduler.add(seq(id), by("fickle"), start()));
    (50..60).for_each(|id| scheduler.add(seq(id), by("steady"), start()));
    (0..49).for_each(|id| assert!(scheduler.remove(seq(id))));
    scheduler.add(seq(60), by("fickle"), start());
    assert_eq!([(); 4].map(|()| serve_one(&mut scheduler)), [49, 50, 51, 60]);
}

#[test]
fn a_request_that_cannot_meet_its_deadline_expires_before_it_runs() {
    let mut scheduler = Scheduler::new(with_rows(1));
    scheduler.add(seq(1), request(4, 1), start());
    let first = plan(&mut scheduler);
    commit_after(&mut scheduler, &answer(&first, END), Duration::from_millis(400));
    let deadline = |ms| Some(after(ms));
    scheduler.add(seq(2), Request { deadline: deadline(1_000), ..request(4, 9) }, start());
    plan(&mut scheduler);
    scheduler.add(seq(3), Request { deadline: deadline(100), ..request(4, 1) }, start());
    scheduler.add(seq(4), Request { deadline: deadline(1_000), ..request(4, 1) }, start());
    assert_eq!(expire(&mut scheduler, start()), [(seq(3), Expiry::Hopeless)]);
    assert_eq!(scheduler.load(), Load { num_queued: 1, num_running: 1, num_parked: 0 });
}

#[test]
fn an_idle_engine_tries_a_request_even_if_the_last_one_took_too_long() {
    let mut scheduler = Scheduler::new(with_rows(1));
    scheduler.add(seq(1), request(4, 1), start());
    let slow = plan(&mut scheduler);
    commit_after(&mut scheduler, &answer(&slow, END), Duration::from_secs(5));
    scheduler.add(seq(2), Request { deadline: Some(after(1_000)), ..request(4, 1) }, start());
    assert_eq!(expire(&mut scheduler, start()), []);
    assert_eq!(ids(&plan(&mut scheduler)), [2]);
}

#[derive(Debug, Clone)]
struct Arrival {
    priority: Priority,
    tenant: u8,
    prompt: usize,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let priority = prop_oneof![Just(Priority::Urgent), Just(Priority::Default), Just(Priority::Background)];
    (priority, any::<u8>(), 1..40usize).prop_map(|(priority, tenant, prompt)| Arrival { priority, tenant, prompt })
}

proptest! {
    /// Two requests of any priority and tenant arrive every second, and one request runs. After 600 seconds every request that
    /// arrived before this flood has run.
    #[test]
    fn no_flood_starves_a_request(
        victims in prop::collection::vec(arrival(), 1..12),
        flood in prop::collection::vec(arrival(), 2..30),
    ) {
        let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(1) });
        let add = |scheduler: &mut Scheduler, id, arrival: &Arrival, now| {
            let tenant: Arc<str> = format!("tenant {}", arrival.tenant).into();
            let request = Request { priority: arrival.priority, tenant: Some(tenant), ..request(arrival.prompt, 1) };
            scheduler.add(seq(id), request, now);
        };
        let mut now = start();
        (0..).zip(&victims).for_each(|(id, victim)| add(&mut scheduler, id, victim, now));
        let (mut next, mut waited) = (1_000, HashMap::new());
        for round in 0..600 {
            for arrival in flood.iter().cycle().skip(round * 2).take(2) {
                add(&mut scheduler, next, arrival, now);
                next += 1;
            }
            let plan = plan_at(&mut scheduler, now);
            waited.insert(plan.rows[0].sequence, round);
            commit(&mut scheduler, &answer(&plan, END));
            now += Duration::from_secs(1);
        }
        for id in 0..victims.len() as u64 {
            prop_assert!(waited.contains_key(&seq(id)), "{id} of {} still waits", victims.len());
        }
    }
}
