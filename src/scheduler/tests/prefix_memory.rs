//! The memory of retained KV: it is within the budget, and goes before running sequences lose theirs.

use super::*;

/// Memory for `num_blocks` blocks of 16 positions; prefixes of at least four tokens are reused.
fn with_blocks(num_blocks: u64) -> Config {
    let kv =
        Some(KvLimit { bytes: num_blocks * 16 * 10, bytes_per_position: 10, block: 16, growth: KvGrowth::default() });
    let prefix =
        PrefixConfig { enabled: true, min_tokens: 4, max_tokens: 1_000, max_pinned_percent: 25, max_disk_bytes: 0 };
    Config { kv, prefix, prefill_chunk: 64, ..with_rows(8) }
}

/// A request whose prompt begins with a token of its own.
fn own(first: u64, len: u32, max_tokens: usize) -> Request {
    let first = u32::try_from(first).expect("a small number");
    Request { prompt: (0..len).map(|at| first * 1_000 + at).collect(), ..request(1, max_tokens) }
}

fn run(scheduler: &mut Scheduler) -> Vec<SequenceId> {
    let mut released = Vec::new();
    while !scheduler.is_empty() {
        released.extend(step(scheduler).release);
    }
    released
}

fn figures(scheduler: &Scheduler) -> PrefixCounters {
    let mut status = Status::default();
    scheduler.write_status(&mut status);
    status.prefix
}

#[test]
fn retained_kv_is_evicted_before_a_running_sequence_loses_its_kv() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    for id in 1..=3 {
        scheduler.add(seq(id), own(id, 14, 1), start());
        run(&mut scheduler);
    }
    assert_eq!(figures(&scheduler).num_bytes, 3 * 160);
    (4..=5).for_each(|id| scheduler.add(seq(id), own(id, 14, 20), start()));
    assert_eq!(run(&mut scheduler), [seq(1), seq(2), seq(3)], "the least recently used first");
    assert_eq!((scheduler.counters().preemptions, figures(&scheduler).num_evictions), (0, 3));
}

#[test]
fn what_a_waiting_request_will_start_with_is_evicted_after_the_rest() {
    let mut scheduler = Scheduler::new(Config { batch_limit: with_rows(1).batch_limit, ..with_blocks(6) });
    for id in 1..=3 {
        scheduler.add(seq(id), own(id, 14, 1), start());
        run(&mut scheduler);
    }
    scheduler.add(seq(4), own(4, 14, 40), start());
    step(&mut scheduler);
    scheduler.add(seq(5), own(1, 15, 1), start());
    assert_eq!(run(&mut scheduler)[0], seq(2), "the least recently used of those that no request waits for");
    assert_eq!((figures(&scheduler).num_hits, figures(&scheduler).num_tokens_reused), (1, 14));
}

#[test]
fn waiting_requests_are_admitted_as_if_nothing_was_retained() {
    let mut scheduler = Scheduler::new(with_blocks(4));
    for id in 1..=4 {
        scheduler.add(seq(id), own(id, 14, 1), start());
        run(&mut scheduler);
    }
    (5..=6).for_each(|id| scheduler.add(seq(id), own(id, 10, 2), start()));
    let plan = plan(&mut scheduler);
    assert_eq!((ids(&plan), plan.release.len()), (vec![5, 6], 2));
}

/// The original and a copy do not fit together.
#[test]
fn a_prefix_is_taken_over_if_memory_has_no_room_for_a_copy() {
    let mut scheduler = Scheduler::new(with_blocks(4));
    scheduler.add(seq(1), own(1, 40, 1), start());
    run(&mut scheduler);
    let diverging: std::sync::Arc<[u32]> = (0..30).map(|at| 1_000 + at).chain(7_000..7_010).collect();
    scheduler.add(seq(2), Request { prompt: diverging, ..request(1, 1) }, start());
    let plan = plan(&mut scheduler);
    let prefix = plan.admit[0].prefix.expect("a prefix");
    assert_eq!((prefix.of, prefix.num_positions, prefix.takes_over), (seq(1), 30, true));
    assert_eq!(plan.release, []);
}

#[test]
fn requests_that_need_one_entry_without_room_for_copies_start_with_it_one_after_another() {
    let mut scheduler = Scheduler::new(with_blocks(8));
    scheduler.add(seq(1), own(1, 40, 1), start());
    run(&mut scheduler);
    let diverging =
        |id: u32| Request { prompt: (0..30).map(|at| 1_000 + at).chain([7_000 + id; 9]).collect(), ..request(1, 1) };
    for id in [2, 3] {
        scheduler.add(seq(id.into()), diverging(id), start());
    }
    let [first, second] = [(); 2].map(|()| step(&mut scheduler));
    let starts = |plan: &Plan| {
        plan.admit.iter().map(|it| (it.sequence.0, it.prefix.map(|it| (it.of.0, it.takes_over)))).collect::<Vec<_>>()
    };
    assert_eq!(starts(&first), [(2, Some((1, true)))]);
    assert_eq!(starts(&second), [(3, Some((2, false)))]);
    run(&mut scheduler);
}

#[test]
fn what_costs_little_to_compute_again_is_evicted_first() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    scheduler.add(seq(1), own(1, 60, 1), start());
    run(&mut scheduler);
    // It shares 28 tokens with the first one, which was used before it.
    let similar: std::sync::Arc<[u32]> = (0..28).map(|at| 1_000 + at).chain([9_000, 9_001]).collect();
    scheduler.add(seq(2), Request { prompt: similar, ..request(1, 1) }, start());
    assert_eq!(run(&mut scheduler), []);
    scheduler.add(seq(3), own(3, 14, 1), start());
    assert_eq!(run(&mut scheduler), [seq(2)]);
}

#[test]
fn entries_are_limited_by_tokens() {
    let config = with_blocks(1_000);
    let prefix = PrefixConfig { max_tokens: 30, ..config.prefix };
    let mut scheduler = Scheduler::new(Config { prefix, ..config });
    for id in 1..=4 {
        scheduler.add(seq(id), own(id, 10, 1), start());
        run(&mut scheduler);
    }
    assert_eq!((figures(&scheduler).num_entries, figures(&scheduler).num_tokens), (3, 30));
    scheduler.add(seq(5), own(1, 11, 1), start());
    run(&mut scheduler);
    assert_eq!(figures(&scheduler).misses[Miss::Evicted as usize], 1, "the first one was evicted");
    scheduler.add(seq(6), own(6, 40, 1), start());
    run(&mut scheduler);
    assert_eq!(figures(&scheduler).num_tokens, 10 + 11, "a longer one is not retained");
}

#[test]
fn memory_that_other_models_need_is_given_back_while_idle() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    for id in 1..=3 {
        scheduler.add(seq(id), own(id, 14, 1), start());
        run(&mut scheduler);
    }
    assert_eq!(decide(&mut scheduler), Decision::Idle);
    scheduler.set_kv_bytes(6 * 160, 160);
    assert_eq!(plan(&mut scheduler).release, [seq(1), seq(2)]);
    assert_eq!((scheduler.kv_bytes(), scheduler.retained_bytes()), (0, 160));
}

/// A lack of memory that retained KV caused would fail a request that runs alone.
#[test]
fn a_sequence_beside_retained_kv_does_not_fail_for_lack_of_memory() {
    let mut scheduler = Scheduler::new(with_blocks(6));
    scheduler.add(seq(1), own(1, 14, 1), start());
    run(&mut scheduler);
    scheduler.add(seq(2), own(2, 14, 5), start());
    plan(&mut scheduler);
    assert_eq!(scheduler.recover_memory(start()), None);
    assert_eq!(figures(&scheduler).num_entries, 0);
    run(&mut scheduler);
}

/// A model with layers whose window has this many positions.
fn with_window(positions: usize) -> Config {
    let window = Some(KvWindow { positions, least: positions, bytes_per_position: 1 });
    let growth = KvGrowth { doubles: true, window, spare_share: None };
    Config { kv: Some(KvLimit { bytes: 1 << 20, bytes_per_position: 2, block: 16, growth }), ..with_blocks(1) }
}

fn reused(scheduler: &mut Scheduler, id: u64, tokens: impl Iterator<Item = u32>) -> usize {
    let before = figures(scheduler).num_tokens_reused;
    scheduler.add(seq(id), Request { prompt: tokens.collect(), ..request(1, 1) }, start());
    run(scheduler);
    usize::try_from(figures(scheduler).num_tokens_reused - before).expect("few")
}

#[test]
fn a_window_that_lost_positions_is_reused_only_as_a_whole() {
    let mut scheduler = Scheduler::new(with_window(8));
    assert_eq!(reused(&mut scheduler, 1, 0..20), 0);
    assert_eq!(reused(&mut scheduler, 2, (0..12).chain(50..60)), 0, "positions before 12 have left the window");
    assert_eq!(figures(&scheduler).misses[Miss::Window as usize], 1);
    assert_eq!(reused(&mut scheduler, 3, 0..25), 20);
}

#[test]
fn a_sequence_within_its_window_is_reused_in_part() {
    let mut scheduler = Scheduler::new(with_window(20));
    assert_eq!(reused(&mut scheduler, 1, 0..20), 0);
    assert_eq!(reused(&mut scheduler, 2, (0..12).chain(50..53)), 12);
}
