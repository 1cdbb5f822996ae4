//! The shares of tokens that tenants and priorities get, under any load.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A closed loop: each tenant has the same number of users, and a user sends the next request when the last one has ended.
struct Users {
    scheduler: Scheduler,
    kinds: Vec<(&'static str, usize, usize)>,
    owners: HashMap<SequenceId, usize>,
    tokens: Vec<usize>,
    num_asked: u64,
}

impl Users {
    fn new(num_rows: usize, num_users: usize, kinds: Vec<(&'static str, usize, usize)>) -> Self {
        let scheduler = Scheduler::new(Config { prefill_chunk: 256, ..with_rows(num_rows) });
        let tokens = vec![0; kinds.len()];
        let mut users = Self { scheduler, kinds, owners: HashMap::new(), tokens, num_asked: 0 };
        (0..users.kinds.len() * num_users).for_each(|user| users.ask(user / num_users));
        users
    }

    fn ask(&mut self, kind: usize) {
        let (tenant, prompt, max_tokens) = self.kinds[kind];
        let id = seq(self.num_asked);
        self.scheduler.add(id, Request { tenant: Some(tenant.into()), ..request(prompt, max_tokens) }, start());
        self.owners.insert(id, kind);
        self.num_asked += 1;
    }

    /// Runs one step, then cancels the requests for which `leaves` returns true.
    fn step(&mut self, leaves: impl Fn(SequenceId, usize) -> bool) {
        let plan = plan(&mut self.scheduler);
        for row in &plan.rows {
            self.tokens[self.owners[&row.sequence]] += row.len();
        }
        let ended =
            commit(&mut self.scheduler, &answer(&plan, 1)).into_iter().filter(|sampled| sampled.finish.is_some());
        let mut gone: Vec<_> = ended.map(|sampled| sampled.sequence).collect();
        for row in &plan.rows {
            if !gone.contains(&row.sequence) && leaves(row.sequence, self.owners[&row.sequence]) {
                assert!(self.scheduler.remove(row.sequence));
                gone.push(row.sequence);
            }
        }
        for id in gone {
            self.ask(self.owners[&id]);
        }
    }
}

#[test]
fn tenants_get_equal_tokens_for_any_lengths_of_their_answers() {
    let mut users = Users::new(8, 20, vec![("short", 30, 10), ("long", 30, 200)]);
    (0..20_000).for_each(|_| users.step(|_, _| false));
    let ratio = users.tokens[0] as f64 / users.tokens[1] as f64;
    assert!((0.9..1.1).contains(&ratio), "{:?} tokens", users.tokens);
}

#[test]
fn a_cancelled_request_is_charged_the_tokens_that_it_used() {
    let mut users = Users::new(8, 20, vec![("steady", 30, 40), ("fickle", 30, 40)]);
    // Every second request of this tenant is cancelled after its first step.
    (0..20_000).for_each(|_| users.step(|id, kind| kind == 1 && id.0 % 2 == 0));
    let ratio = users.tokens[0] as f64 / users.tokens[1] as f64;
    assert!((0.9..1.1).contains(&ratio), "{:?} tokens", users.tokens);
}

#[test]
fn accounts_of_tenants_without_requests_are_removed() {
    let mut scheduler = Scheduler::new(with_rows(2));
    for id in 0..5_000 {
        let request = Request { tenant: Some(format!("tenant {id}").into()), ..request(1, 1) };
        scheduler.add(seq(id), request, start());
        if id > 8 {
            let plan = plan(&mut scheduler);
            commit(&mut scheduler, &answer(&plan, END));
        }
    }
    assert!(scheduler.queue.num_accounts() < 100, "{} accounts", scheduler.queue.num_accounts());
}

#[derive(Debug, Clone)]
struct Arrival {
    priority: Priority,
    tenant: u8,
    prompt: usize,
    max_tokens: usize,
    /// Number of tokens that the device computes before the next request arrives.
    gap: usize,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let priority = prop_oneof![Just(Priority::Urgent), Just(Priority::Default), Just(Priority::Background)];
    (priority, 0..5u8, 1..40usize, 1..40usize, 0..60usize)
        .prop_map(|(priority, tenant, prompt, max_tokens, gap)| Arrival { priority, tenant, prompt, max_tokens, gap })
}

impl Arrival {
    fn most(&self) -> usize {
        self.prompt + self.max_tokens
    }

    /// The account to which the request belongs.
    fn account(&self) -> (Priority, u8) {
        (self.priority, self.tenant)
    }
}

const AGEING: usize = 500;

/// Serves requests on a device with `num_rows` rows and one token per millisecond. Returns the arrival and the start of each
/// request.
fn served(num_rows: usize, arrivals: &[Arrival]) -> BTreeMap<usize, (usize, usize)> {
    let ageing = Duration::from_millis(AGEING as u64);
    let mut scheduler = Scheduler::new(Config { ageing, prefill_chunk: 1_000, ..with_rows(num_rows) });
    let (mut now, mut next_at, mut next, mut times) = (0, 0, 0, BTreeMap::new());
    loop {
        while next < arrivals.len() && next_at <= now {
            let Arrival { priority, tenant, prompt, max_tokens, gap } = arrivals[next];
            let tenant: Arc<str> = format!("tenant {tenant}").into();
            let request = Request { priority, tenant: Some(tenant), ..request(prompt, max_tokens) };
            scheduler.add(seq(next as u64), request, after(now as u64));
            times.insert(next, (now, usize::MAX));
            next += 1;
            next_at += gap;
        }
        let (decision, plan) = decide_at(&mut scheduler, after(now as u64));
        if decision != Decision::Run {
            if next == arrivals.len() {
                return times;
            }
            now = now.max(next_at);
            continue;
        }
        for row in &plan.rows {
            let began = &mut times.get_mut(&index(row.sequence)).expect("it arrived").1;
            *began = (*began).min(now);
        }
        now += plan.num_tokens();
        commit(&mut scheduler, &answer(&plan, 1));
    }
}

fn index(id: SequenceId) -> usize {
    usize::try_from(id.0).expect("few")
}

/// The longest wait that `docs/scheduler.md` promises, in tokens that the device computes.
fn promise(num_rows: usize, arrivals: &[Arrival], index: usize) -> usize {
    let own = &arrivals[index];
    let largest = arrivals.iter().map(Arrival::most).max().unwrap_or(0);
    let same = |other: &&Arrival| other.priority == own.priority;
    let mut tenants: Vec<_> = arrivals.iter().filter(same).map(|arrival| arrival.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let ahead: usize = arrivals[..index].iter().filter(|it| it.account() == own.account()).map(Arrival::most).sum();
    let passes = tenants.len() * (ahead + (num_rows + 1) * largest);
    let (aged, sixteenths) = match own.priority {
        Priority::Urgent => (0, 25),
        Priority::Default | Priority::Background => (AGEING, 100),
    };
    aged + passes * sixteenths / 16 + (num_rows + 1) * largest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A few requests arrive first, then a repeated flood for much longer than the promised wait.
    #[test]
    fn no_load_makes_a_request_wait_longer_than_promised(
        num_rows in 1..5usize,
        first in prop::collection::vec(arrival(), 1..8),
        flood in prop::collection::vec(arrival(), 1..8),
    ) {
        let flood = flood.iter().cycle().take(600).map(|it| Arrival { gap: it.gap / 4, ..it.clone() });
        let arrivals: Vec<_> = first.iter().cloned().chain(flood).collect();
        let times = served(num_rows, &arrivals);
        for (index, (came, began)) in times {
            let (waited, most) = (began.saturating_sub(came), promise(num_rows, &arrivals, index));
            prop_assert!(waited <= most, "{index} waited for {waited} tokens instead of {most}");
        }
    }
}
