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

/// Serves one after another, each taking a second; returns who was served in which order.
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
fn who_is_wanted_more_urgently_by_another_goes_before_those_who_came_earlier() {
    let mut scheduler = Scheduler::new(with_rows(1));
    for (id, priority) in [(1, Priority::Default), (2, Priority::Default), (3, Priority::Background)] {
        scheduler.add(seq(id), of(priority), start());
    }
    let urgent = Wish { priority: Priority::Urgent, deadline: None };
    scheduler.revise(seq(3), urgent, start());
    scheduler.revise(seq(2), Wish { deadline: Some(after(500)), ..Wish::default() }, start());
    assert_eq!(scheduler.queue.since(), Some(start()), "nobody waits for company anew");
    assert_eq!(expire(&mut scheduler, after(500)), [(seq(2), Expiry::Deadline)]);
    assert_eq!(serve(&mut scheduler, after(500)), [3, 1]);
}

#[test]
fn several_want_it_as_the_most_urgent_and_for_as_long_as_the_most_patient() {
    let wish = |priority, ms: Option<u64>| Wish { priority, deadline: ms.map(after) };
    let (urgent, patient) = (wish(Priority::Urgent, Some(10)), wish(Priority::Background, Some(20)));
    assert_eq!(urgent.and(patient), wish(Priority::Urgent, Some(20)));
    assert_eq!(urgent.and(wish(Priority::Default, None)), wish(Priority::Urgent, None));
}

#[test]
fn whoever_waited_long_enough_rises_by_a_class() {
    let mut scheduler = Scheduler::new(with_rows(1));
    scheduler.add(seq(1), of(Priority::Background), start());
    scheduler.add(seq(2), of(Priority::Default), after(5_000));
    assert_eq!(serve(&mut scheduler, after(5_000)), [1, 2], "background has become default, and came first");
    scheduler.add(seq(3), of(Priority::Background), after(10_000));
    scheduler.add(seq(4), of(Priority::Urgent), after(20_000));
    assert_eq!(serve(&mut scheduler, after(20_000)), [3, 4], "and urgent, after twice as long");
}

#[test]
fn tenants_take_turns_however_much_one_of_them_asks_for() {
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
    assert_eq!(num_long, 3, "30 tokens against 10, so one in four: {served:?}");
}

#[test]
fn a_late_tenant_gets_its_share_from_now_on_and_nothing_for_the_past() {
    let mut scheduler = Scheduler::new(with_rows(1));
    (0..20).for_each(|id| scheduler.add(seq(id), by("early"), start()));
    for _ in 0..8 {
        let plan = plan(&mut scheduler);
        commit(&mut scheduler, &answer(&plan, END));
    }
    (20..26).for_each(|id| scheduler.add(seq(id), by("late"), start()));
    assert_eq!(serve(&mut scheduler, start())[..8], [8, 20, 9, 21, 10, 22, 11, 23]);
}

#[test]
fn a_request_that_cannot_be_in_time_any_more_is_refused_before_it_runs() {
    let mut scheduler = Scheduler::new(with_rows(1));
    scheduler.add(seq(1), request(4, 1), start());
    let first = plan(&mut scheduler);
    commit_after(&mut scheduler, &answer(&first, END), Duration::from_millis(400));
    let deadline = |ms| Some(after(ms));
    scheduler.add(seq(2), Request { deadline: deadline(100), ..request(4, 1) }, start());
    scheduler.add(seq(3), Request { deadline: deadline(1_000), ..request(4, 1) }, start());
    assert_eq!(expire(&mut scheduler, start()), [(seq(2), Expiry::Hopeless)]);
    assert_eq!(ids(&plan(&mut scheduler)), [3]);
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
    /// Every second another two arrive, of any priority and as many tenants as they like, and one is served: nobody who
    /// was there before the flood is still there after those before it, three times their number, were served.
    #[test]
    fn no_flood_starves_anybody(
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
