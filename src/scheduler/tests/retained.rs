//! Reuse of KV between requests.

use super::plan::Prefix;
use super::*;
use crate::request::PrefixScope;

/// Prefixes of at least four tokens are reused; eight prompt tokens a step.
fn sharing() -> Config {
    let prefix =
        PrefixConfig { enabled: true, min_tokens: 4, max_tokens: 1_000, max_pinned_percent: 25, max_disk_bytes: 0 };
    Config { prefix, prefill_chunk: 8, ..with_rows(4) }
}

fn prompt(tokens: impl IntoIterator<Item = u32>, max_tokens: usize) -> Request {
    Request { prompt: tokens.into_iter().collect(), ..request(1, max_tokens) }
}

/// Runs a step whose time is not known, so that steps read whole chunks.
fn step(scheduler: &mut Scheduler) -> Plan {
    let plan = plan(scheduler);
    scheduler.commit(&answer(&plan, 1), None, &mut Vec::new());
    plan
}

/// Runs steps that sample 1 until nothing is left. Returns the plans.
fn run(scheduler: &mut Scheduler) -> Vec<Plan> {
    let mut plans = Vec::new();
    while !scheduler.is_empty() {
        plans.push(step(scheduler));
    }
    plans
}

fn small(id: u64) -> u32 {
    u32::try_from(id).expect("a small number")
}

/// The prefixes of plans: (new sequence, source, number of positions, whether it is taken over).
fn prefixes(plans: &[Plan]) -> Vec<(u64, u64, usize, bool)> {
    let of = |id: SequenceId, Prefix { of, num_positions, takes_over }| (id.0, of.0, num_positions, takes_over);
    let admitted = plans.iter().flat_map(|plan| &plan.admit);
    admitted.filter_map(|admission| Some(of(admission.sequence, admission.prefix?))).collect()
}

fn num_prompt_tokens(plans: &[Plan]) -> usize {
    let rows = plans.iter().flat_map(|plan| &plan.rows).filter(|row| row.feed != Feed::Sampled);
    rows.map(Row::len).sum()
}

fn misses(scheduler: &Scheduler) -> Vec<(Miss, u64)> {
    let mut status = Status::default();
    scheduler.write_status(&mut status);
    let counted = Miss::ALL.into_iter().zip(status.prefix.misses);
    counted.filter(|(_, count)| *count > 0).collect()
}

fn figures(scheduler: &Scheduler) -> PrefixCounters {
    let mut status = Status::default();
    scheduler.write_status(&mut status);
    status.prefix
}

#[test]
fn the_next_turn_of_a_chat_takes_over_the_kv_of_prompt_and_answer() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..20, 3), start());
    run(&mut scheduler);
    // The last token of the answer was sampled and never fed.
    let next = (10..20).chain([1, 1, 1]).chain(30..35);
    scheduler.add(seq(2), prompt(next, 3), start());
    let plans = run(&mut scheduler);
    assert_eq!(prefixes(&plans), [(2, 1, 12, true)]);
    assert_eq!(plans[0].retain.iter().map(|it| (it.sequence, it.tokens.len())).collect::<Vec<_>>(), [(seq(1), 12)]);
    assert_eq!((num_prompt_tokens(&plans), plans.iter().flat_map(|plan| &plan.release).count()), (6, 0));
    assert_eq!(figures(&scheduler).num_entries, 1, "the second turn replaced the first");
}

#[test]
fn the_last_position_of_a_prompt_is_always_computed() {
    let mut scheduler = Scheduler::new(sharing());
    (1..=2).for_each(|id| {
        scheduler.add(seq(id), prompt(10..20, 1), start());
        assert_eq!(num_prompt_tokens(&run(&mut scheduler)), if id == 1 { 10 } else { 1 });
    });
}

#[test]
fn a_prompt_that_diverges_keeps_the_common_part_and_leaves_the_original() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..30, 1), start());
    run(&mut scheduler);
    scheduler.add(seq(2), prompt((10..18).chain(50..60), 1), start());
    assert_eq!(prefixes(&run(&mut scheduler)), [(2, 1, 8, false)]);
    assert_eq!(figures(&scheduler).num_entries, 2);
    scheduler.add(seq(3), prompt(10..31, 1), start());
    assert_eq!(prefixes(&run(&mut scheduler)), [(3, 1, 20, true)]);
}

#[test]
fn any_number_of_rows_copy_one_entry_at_once() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..sharing() });
    scheduler.add(seq(1), prompt(10..30, 1), start());
    run(&mut scheduler);
    (2..=4).for_each(|id| scheduler.add(seq(id), prompt((10..20).chain([small(id) + 50, 7]), 5), start()));
    let first = step(&mut scheduler);
    assert_eq!(prefixes(std::slice::from_ref(&first)), [(2, 1, 10, false), (3, 1, 10, false), (4, 1, 10, false)]);
    assert_eq!(num_prompt_tokens(&[first]), 6);
}

#[test]
fn equal_prompts_that_arrive_together_are_read_once() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 512, ..sharing() });
    let own = |id: u64| prompt((0..2_000).chain([5_000 + small(id)]), 4);
    (1..=4).for_each(|id| scheduler.add(seq(id), own(id), start()));
    let plans = run(&mut scheduler);
    assert_eq!(lens(&plans[0]), [(1, 512)], "the others wait, and the first gets the whole chunk");
    assert_eq!(num_prompt_tokens(&plans), 2_000 + 4);
    assert_eq!(prefixes(&plans).len(), 3);
}

#[test]
fn a_prompt_that_arrives_while_its_beginning_is_read_waits_for_that_beginning_only() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 100, ..sharing() });
    scheduler.add(seq(1), prompt(0..1_000, 1), start());
    step(&mut scheduler);
    scheduler.add(seq(2), prompt((0..250).chain(5_000..5_010), 1), start());
    assert_eq!(lens(&step(&mut scheduler)), [(1, 100)]);
    assert_eq!(lens(&step(&mut scheduler)), [(1, 100)]);
    let third = step(&mut scheduler);
    assert_eq!(prefixes(std::slice::from_ref(&third)), [(2, 1, 250, false)]);
    assert_eq!(lens(&third), [(1, 90), (2, 10)]);
}

#[test]
fn a_prompt_does_not_wait_for_a_less_urgent_one() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 100, ..sharing() });
    scheduler.add(seq(1), Request { priority: Priority::Background, ..prompt(0..1_000, 1) }, start());
    step(&mut scheduler);
    scheduler.add(seq(2), prompt((0..500).chain([7_000]), 1), start());
    let second = step(&mut scheduler);
    assert_eq!(prefixes(std::slice::from_ref(&second)), [(2, 1, 100, false)]);
    assert_eq!(lens(&second), [(1, 25), (2, 75)]);
}

#[test]
fn prompts_that_wait_go_on_when_the_one_that_reads_is_removed() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 100, ..sharing() });
    (1..=3).for_each(|id| scheduler.add(seq(id), prompt((0..300).chain([5_000 + small(id)]), 1), start()));
    step(&mut scheduler);
    scheduler.remove(seq(1));
    let second = step(&mut scheduler);
    assert_eq!(prefixes(std::slice::from_ref(&second)), [(2, 1, 100, true)], "what the first one read is not lost");
    let plans = run(&mut scheduler);
    assert_eq!(num_prompt_tokens(&plans) + second.num_tokens(), 201 + 1);
}

#[test]
fn requests_with_different_salts_share_nothing() {
    let mut scheduler = Scheduler::new(sharing());
    let salted =
        |salt: Option<&str>| Request { prefix_scope: Some(PrefixScope(salt.map(Into::into))), ..prompt(10..20, 1) };
    for (id, salt) in [(1, Some("a")), (2, Some("b")), (3, None)] {
        scheduler.add(seq(id), salted(salt), start());
        assert_eq!(prefixes(&run(&mut scheduler)), []);
    }
    assert_eq!(misses(&scheduler), [(Miss::New, 1), (Miss::Salt, 2)]);
    scheduler.add(seq(4), salted(Some("b")), start());
    assert_eq!(prefixes(&run(&mut scheduler)).len(), 1);
    for (id, salt) in [(5, Some("d")), (6, Some("e"))] {
        scheduler.add(seq(id), salted(salt), start());
    }
    assert_eq!(prefixes(&run(&mut scheduler)), [], "nor while they run");
}

#[test]
fn a_request_without_a_scope_neither_uses_nor_leaves_kv() {
    let mut scheduler = Scheduler::new(sharing());
    let private = || Request { prefix_scope: None, ..prompt(10..20, 1) };
    scheduler.add(seq(1), private(), start());
    run(&mut scheduler);
    let mut nothing = PrefixCounters::default();
    nothing.misses[Miss::Disabled as usize] = 1;
    assert_eq!(figures(&scheduler), nothing);
    scheduler.add(seq(2), prompt(10..20, 1), start());
    assert_eq!(prefixes(&run(&mut scheduler)), []);
    scheduler.add(seq(3), private(), start());
    assert_eq!(prefixes(&run(&mut scheduler)), []);
}

#[test]
fn without_the_prefix_cache_nothing_is_retained() {
    let off = PrefixConfig { enabled: false, ..sharing().prefix };
    let mut scheduler = Scheduler::new(Config { prefix: off, ..sharing() });
    for id in 1..=2 {
        scheduler.add(seq(id), prompt(10..20, 1), start());
        assert_eq!(prefixes(&run(&mut scheduler)), []);
    }
    assert_eq!(decide(&mut scheduler), Decision::Run, "the KV is dropped");
    scheduler.configure_prefixes(sharing().prefix);
    scheduler.add(seq(3), prompt(10..20, 1), start());
    run(&mut scheduler);
    assert_eq!(figures(&scheduler).num_entries, 1, "it can be switched on");
}

#[test]
fn cleared_kv_is_dropped_and_running_requests_leave_none() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..20, 1), start());
    run(&mut scheduler);
    scheduler.add(seq(2), prompt(30..40, 2), start());
    scheduler.forget_prefixes();
    let plans = run(&mut scheduler);
    assert_eq!(plans[0].release, [seq(1)]);
    scheduler.add(seq(3), prompt(30..40, 1), start());
    assert_eq!(prefixes(&run(&mut scheduler)), []);
}

#[test]
fn a_sequence_with_invalid_logits_is_not_retained() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..20, 9), start());
    step(&mut scheduler);
    step(&mut scheduler);
    assert!(scheduler.discard(seq(1)));
    scheduler.add(seq(2), prompt(10..20, 1), start());
    let plans = run(&mut scheduler);
    assert_eq!((&plans[0].release[..], prefixes(&plans)), (&[seq(1)][..], vec![]));
}

/// The step ahead of a removed sequence may fail after the sequence was retained.
#[test]
fn a_retained_sequence_whose_last_step_fails_is_dropped() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..18, 9), start());
    let ahead = plan(&mut scheduler);
    scheduler.remove(seq(1));
    commit(&mut scheduler, &StepOutput { step: ahead.step, not_finite: vec![seq(1)], ..StepOutput::default() });
    scheduler.discard(seq(1));
    assert_eq!(figures(&scheduler).num_entries, 0);
    assert_eq!(plan(&mut scheduler).release, [seq(1)]);
}

#[test]
fn kv_that_a_step_in_flight_may_write_is_copied_and_not_taken_over() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..sharing() });
    scheduler.add(seq(1), prompt(10..20, 9), start());
    let in_flight = plan(&mut scheduler);
    scheduler.remove(seq(1));
    scheduler.add(seq(2), prompt(10..21, 9), start());
    assert_eq!(prefixes(&[plan(&mut scheduler)]), [(2, 1, 10, false)]);
    commit(&mut scheduler, &answer(&in_flight, 1));
}

#[test]
fn the_device_that_lost_all_kv_has_nothing_to_reuse() {
    let mut scheduler = Scheduler::new(sharing());
    scheduler.add(seq(1), prompt(10..20, 1), start());
    run(&mut scheduler);
    scheduler.recover(start());
    scheduler.add(seq(2), prompt(10..20, 1), start());
    assert_eq!(prefixes(&run(&mut scheduler)), []);
}

#[test]
fn a_miss_has_a_reason() {
    let prefix = PrefixConfig { max_tokens: 25, ..sharing().prefix };
    let mut scheduler = Scheduler::new(Config { prefix, ..sharing() });
    let mut next = 0;
    let mut ask = |tokens: Vec<u32>| {
        next += 1;
        scheduler.add(seq(next), prompt(tokens, 1), start());
        run(&mut scheduler);
        misses(&scheduler)
    };
    assert_eq!(ask((10..14).collect()), [(Miss::Short, 1)]);
    assert_eq!(ask((20..40).collect()), [(Miss::Short, 1), (Miss::New, 1)]);
    let diverged = [(Miss::Short, 1), (Miss::New, 1), (Miss::Diverged, 1)];
    assert_eq!(ask(vec![20, 21, 22, 9, 9, 9, 9]), diverged, "three tokens are too few");
    assert_eq!(ask((50..70).collect())[1], (Miss::New, 2));
    let last = ask((20..40).collect());
    assert_eq!(last.last(), Some(&(Miss::Evicted, 1)), "{last:?}");
}

#[test]
fn a_miss_has_the_tokens_that_matched() {
    let mut scheduler = Scheduler::new(sharing());
    let mut ask = |requests: Vec<(u64, Request)>| {
        for (id, request) in requests {
            scheduler.add(seq(id), request, start());
        }
        run(&mut scheduler);
        let records: Vec<_> = scheduler.misses().collect();
        records.into_iter().map(|it| (it.sequence.0, it.reason, it.num_matched, it.num_prompt)).collect::<Vec<_>>()
    };
    assert_eq!(ask(vec![(1, prompt(20..40, 1))]), [(1, Miss::New, 0, 20)]);
    assert_eq!(ask(vec![(2, prompt([20, 21, 9, 9, 9], 1))]), [(2, Miss::Diverged, 2, 5)]);
    assert_eq!(ask(vec![(3, prompt(20..22, 1))]), [(3, Miss::Short, 2, 2)]);
    assert_eq!(ask(vec![(4, prompt(20..30, 1))]), [], "a hit is no miss");
    let alone = Request { prefix_scope: None, ..prompt(20..30, 1) };
    assert_eq!(ask(vec![(5, alone)]), [(5, Miss::Disabled, 0, 10)]);
    let together = (6..8).map(|id| (id, prompt([70, 71, 72, small(id), 5, 5, 5], 1))).collect();
    assert_eq!(ask(together), [(6, Miss::New, 0, 7), (7, Miss::Diverged, 3, 7)], "a running prompt counts as well");
    assert_eq!(misses(&scheduler).last(), Some(&(Miss::Disabled, 1)));
    assert_eq!(figures(&scheduler).num_misses(), 5, "a request that does not ask the cache does not miss it");
}

/// A request was refused because its whole prompt would take too long, although most of it was there.
#[test]
fn a_deadline_that_is_too_near_for_the_whole_prompt_is_met_with_a_prefix() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 100, ..sharing() });
    let commit = |scheduler: &mut Scheduler, plan: &Plan, ms| {
        scheduler.commit(&answer(plan, 1), Some(Duration::from_millis(ms)), &mut Vec::new());
    };
    for (id, len) in [(1, 100), (2, 10)] {
        scheduler.add(seq(id), prompt((0..len).map(|at| at + 1_000 * small(id)), 1), start());
        let read = plan(&mut scheduler);
        commit(&mut scheduler, &read, u64::from(len));
    }
    scheduler.add(seq(3), prompt(5_000..5_010, 99), start());
    plan(&mut scheduler);
    let within = |tokens: std::ops::Range<u32>| Request { deadline: Some(after(20)), ..prompt(tokens, 1) };
    scheduler.add(seq(4), within(1_000..1_100), start());
    scheduler.add(seq(5), within(7_000..7_100), start());
    assert_eq!(expire(&mut scheduler, start()), []);
    plan(&mut scheduler);
    scheduler.add(seq(6), within(8_000..8_100), start());
    assert_eq!(expire(&mut scheduler, start()), [(seq(6), Expiry::Hopeless)]);
}
