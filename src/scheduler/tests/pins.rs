//! Pinned prompts: their KV stays until they are released.

use super::plan::Prefix;
use super::*;
use crate::request::{PinId, PrefixScope};

/// Memory for `num_blocks` blocks of 16 positions, half of it for pinned prompts.
fn with_blocks(num_blocks: u64) -> Config {
    let kv =
        Some(KvLimit { bytes: num_blocks * 16 * 10, bytes_per_position: 10, block: 16, growth: KvGrowth::default() });
    let prefix =
        PrefixConfig { enabled: true, min_tokens: 4, max_tokens: 1_000, max_pinned_percent: 50, max_disk_bytes: 0 };
    Config { kv, prefix, prefill_chunk: 64, ..with_rows(8) }
}

fn tokens(first: u32, len: u32) -> Vec<u32> {
    (0..len).map(|at| first * 1_000 + at).collect()
}

fn prompt(tokens: Vec<u32>, max_tokens: usize) -> Request {
    Request { prompt: tokens.into(), ..request(1, max_tokens) }
}

fn pinned(pin: u32, tokens: Vec<u32>) -> Request {
    Request { pin: Some(PinId(pin)), ..Request::of(tokens, 1) }
}

/// Runs requests until they have ended. Returns the plans.
fn run(scheduler: &mut Scheduler, requests: Vec<(u64, Request)>) -> Vec<Plan> {
    for (id, request) in requests {
        assert_eq!(scheduler.check_pins(&request), Ok(()), "request {id}");
        scheduler.add(seq(id), request, start());
    }
    let mut plans = Vec::new();
    while !scheduler.is_empty() {
        plans.push(step(scheduler));
    }
    plans
}

fn prefixes(plans: &[Plan]) -> Vec<(u64, u64, usize, bool)> {
    let of = |id: SequenceId, Prefix { of, num_positions, takes_over }| (id.0, of.0, num_positions, takes_over);
    let admitted = plans.iter().flat_map(|plan| &plan.admit);
    admitted.filter_map(|admission| Some(of(admission.sequence, admission.prefix?))).collect()
}

fn released(plans: &[Plan]) -> Vec<u64> {
    plans.iter().flat_map(|plan| &plan.release).map(|id| id.0).collect()
}

fn figures(scheduler: &Scheduler) -> PrefixCounters {
    let mut status = Status::default();
    scheduler.write_status(&mut status);
    status.prefix
}

fn pins(scheduler: &Scheduler) -> (u64, u64, u64) {
    let PrefixCounters { num_pins, num_pinned_tokens, num_pinned_bytes, .. } = figures(scheduler);
    (num_pins, num_pinned_tokens, num_pinned_bytes)
}

#[test]
fn a_pinned_prompt_is_copied_by_any_number_of_longer_prompts_and_never_taken_over() {
    let mut scheduler = Scheduler::new(with_blocks(100));
    run(&mut scheduler, vec![(1, pinned(7, tokens(1, 30)))]);
    assert_eq!((scheduler.has_pin(PinId(7)), pins(&scheduler)), (true, (1, 30, 320)));
    let longer = |own: u32| [tokens(1, 30), tokens(own, 5)].concat();
    let requests = (2..6).map(|id| (u64::from(id), prompt(longer(id), 2))).collect();
    let expected: Vec<_> = (2..6).map(|id| (id, 1, 30, false)).collect();
    assert_eq!(prefixes(&run(&mut scheduler, requests)), expected);
    assert_eq!(prefixes(&run(&mut scheduler, vec![(9, prompt(tokens(1, 31), 1))])), [(9, 1, 30, false)]);
    assert_eq!(pins(&scheduler), (1, 30, 320), "longer prompts do not replace it");
}

#[test]
fn a_pinned_prompt_is_not_evicted_and_requests_have_the_rest_of_the_memory() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 30)))]);
    for id in 2..8 {
        run(&mut scheduler, vec![(id, prompt(tokens(u32::try_from(id).expect("small"), 14), 1))]);
    }
    let many = (10..16).map(|id| (u64::from(id), prompt(tokens(id, 14), 20))).collect();
    let plans = run(&mut scheduler, many);
    assert!(scheduler.counters().preemptions > 0 || figures(&scheduler).num_evictions > 0);
    assert!(!released(&plans).contains(&1));
    assert_eq!(prefixes(&run(&mut scheduler, vec![(20, prompt(tokens(1, 31), 1))])), [(20, 1, 30, false)]);
}

#[test]
fn the_memory_of_pinned_prompts_counts_when_rows_are_admitted() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 40)))]);
    assert_eq!(scheduler.kv_bytes(), 3 * 160);
    for id in 2..5 {
        scheduler.add(seq(id), prompt(tokens(u32::try_from(id).expect("small"), 10), 3), start());
    }
    assert_eq!(ids(&plan(&mut scheduler)), [2, 3], "without the pinned prompt all three fit");
}

#[test]
fn a_released_prompt_is_evicted_like_others() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 30)))]);
    scheduler.unpin(PinId(1));
    scheduler.unpin(PinId(1));
    assert_eq!((pins(&scheduler), figures(&scheduler).num_entries), ((0, 0, 0), 1));
    assert_eq!(prefixes(&run(&mut scheduler, vec![(2, prompt(tokens(1, 31), 1))])), [(2, 1, 30, true)]);
    run(&mut scheduler, vec![(3, prompt(tokens(3, 60), 20))]);
    assert_eq!(figures(&scheduler).num_evictions, 1);
}

#[test]
fn equal_prompts_are_pinned_once_until_both_are_released() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    let both = [(1, pinned(1, tokens(1, 40))), (2, pinned(2, tokens(1, 40)))];
    // Before one of them is read, both count.
    scheduler.add(seq(1), both[0].1.clone(), start());
    assert!(matches!(scheduler.check_pins(&both[1].1), Err(PinRefusal::Memory { .. })));
    run(&mut scheduler, vec![]);
    run(&mut scheduler, both[1..].to_vec());
    assert_eq!(pins(&scheduler), (2, 40, 480));
    scheduler.unpin(PinId(1));
    assert_eq!(pins(&scheduler), (1, 40, 480));
    assert!(scheduler.has_pin(PinId(2)));
    scheduler.unpin(PinId(2));
    assert_eq!(pins(&scheduler), (0, 0, 0));
}

#[test]
fn a_prompt_that_is_retained_already_is_pinned_with_its_kv() {
    let mut scheduler = Scheduler::new(with_blocks(100));
    run(&mut scheduler, vec![(1, prompt(tokens(1, 30), 1))]);
    assert_eq!(prefixes(&run(&mut scheduler, vec![(2, pinned(1, tokens(1, 30)))])), [(2, 1, 29, true)]);
    assert_eq!((pins(&scheduler).1, figures(&scheduler).num_entries), (30, 1));
    run(&mut scheduler, vec![(3, prompt(tokens(1, 50), 1)), (4, pinned(2, tokens(1, 20)))]);
    assert_eq!((pins(&scheduler).1, figures(&scheduler).num_entries), (50, 3), "a shorter one has KV of its own");
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_sizes() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    let memory = |needed, pinned| Err(PinRefusal::Memory { needed, pinned, most: 480 });
    assert_eq!(scheduler.check_pins(&pinned(1, tokens(1, 60))), memory(640, 0));
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 30)))]);
    assert_eq!(scheduler.check_pins(&pinned(2, tokens(2, 20))), memory(320, 320));
    let short = Err(PinRefusal::Short { num_tokens: 3, least: 4 });
    assert_eq!(scheduler.check_pins(&pinned(2, tokens(2, 3))), short);
    let private = Request { prefix_scope: None, ..pinned(2, tokens(2, 10)) };
    assert_eq!(scheduler.check_pins(&private), Err(PinRefusal::Disabled));
    let beside = Err(PinRefusal::Beside { needed: 800, pinned: 320, total: 960 });
    assert_eq!(scheduler.check_pins(&prompt(tokens(2, 10), 70)), beside);
    scheduler.add(seq(2), prompt(tokens(2, 10), 30), start());
    assert_eq!(scheduler.check_pins(&pinned(3, tokens(3, 10))), Ok(()), "one block is left");
    scheduler.add(seq(3), prompt(tokens(4, 10), 54), start());
    assert_eq!(scheduler.check_pins(&pinned(3, tokens(3, 10))), Err(PinRefusal::Pending { needed: 160, left: 0 }));
}

#[test]
fn a_prompt_that_is_left_before_it_is_read_is_not_pinned() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 8, ..with_blocks(100) });
    scheduler.add(seq(1), pinned(1, tokens(1, 30)), start());
    step(&mut scheduler);
    scheduler.remove(seq(1));
    assert_eq!((scheduler.has_pin(PinId(1)), figures(&scheduler).num_entries), (false, 1));
    scheduler.add(seq(2), pinned(2, tokens(2, 30)), start());
    step(&mut scheduler);
    scheduler.unpin(PinId(2));
    run(&mut scheduler, vec![]);
    assert_eq!((scheduler.has_pin(PinId(2)), figures(&scheduler).num_entries), (false, 2), "released while it is read");
}

#[test]
fn a_device_that_lost_all_kv_reads_pinned_prompts_again() {
    let mut scheduler = Scheduler::new(with_blocks(100));
    let scope = Some(PrefixScope(Some("a".into())));
    let salted = |request| Request { prefix_scope: scope.clone(), ..request };
    run(&mut scheduler, vec![(1, salted(pinned(1, tokens(1, 30)))), (2, pinned(2, tokens(2, 30)))]);
    run(&mut scheduler, vec![(3, salted(pinned(3, tokens(1, 30))))]);
    assert_eq!(scheduler.recover(start()), []);
    assert_eq!((pins(&scheduler), scheduler.kv_bytes()), ((0, 0, 0), 0));
    scheduler.unpin(PinId(2));
    assert_eq!((scheduler.load(), scheduler.is_empty()), (Load::default(), false), "no request waits for it");
    let plans = run(&mut scheduler, vec![]);
    assert_eq!(plans.iter().flat_map(|plan| &plan.admit).map(|it| it.sequence.0).collect::<Vec<_>>(), [1]);
    assert!(scheduler.has_pin(PinId(1)) && scheduler.has_pin(PinId(3)) && !scheduler.has_pin(PinId(2)));
    let next = run(&mut scheduler, vec![(4, salted(prompt(tokens(1, 31), 1)))]);
    assert_eq!(prefixes(&next), [(4, 1, 30, false)]);
    scheduler.recover_memory(start());
    run(&mut scheduler, vec![]);
    assert_eq!(pins(&scheduler), (2, 30, 320));
}

#[test]
fn clearing_and_turning_the_cache_off_end_pins_and_another_least_length_does_not() {
    let mut scheduler = Scheduler::new(with_blocks(100));
    let prefix = with_blocks(1).prefix;
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 30))), (2, prompt(tokens(2, 30), 1))]);
    scheduler.configure_prefixes(PrefixConfig { min_tokens: 20, ..prefix });
    assert_eq!((figures(&scheduler).num_entries, pins(&scheduler).0), (1, 1));
    assert_eq!(prefixes(&run(&mut scheduler, vec![(3, prompt(tokens(1, 31), 1))])), [(3, 1, 30, false)]);
    scheduler.forget_prefixes();
    assert_eq!((figures(&scheduler).num_entries, pins(&scheduler), scheduler.kv_bytes()), (0, (0, 0, 0), 0));
    run(&mut scheduler, vec![(4, pinned(4, tokens(1, 30)))]);
    scheduler.add(seq(5), pinned(5, tokens(5, 30)), start());
    scheduler.configure_prefixes(PrefixConfig { enabled: false, ..prefix });
    run(&mut scheduler, vec![]);
    assert_eq!((pins(&scheduler), scheduler.has_pin(PinId(5))), ((0, 0, 0), false));
}

/// A window of 8 positions: only a whole sequence can be continued.
#[test]
fn a_pinned_prompt_longer_than_a_window_is_the_beginning_of_longer_ones() {
    let window = Some(KvWindow { positions: 8, least: 8, bytes_per_position: 1 });
    let growth = KvGrowth { doubles: true, window, spare_share: None };
    let kv = Some(KvLimit { bytes: 1 << 20, bytes_per_position: 2, block: 16, growth });
    let mut scheduler = Scheduler::new(Config { kv, ..with_blocks(1) });
    run(&mut scheduler, vec![(1, pinned(1, tokens(1, 30)))]);
    for id in 2..5 {
        let longer = [tokens(1, 30), tokens(id, 5)].concat();
        let plans = run(&mut scheduler, vec![(u64::from(id), prompt(longer, 1))]);
        assert_eq!(prefixes(&plans), [(u64::from(id), 1, 30, false)]);
    }
}
