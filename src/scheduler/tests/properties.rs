use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// The calls to a scheduler, in any order.
#[derive(Debug, Clone)]
enum Act {
    Add { prompt: usize, max_tokens: usize, priority: Priority, num_choices: u64 },
    Step { ends: u8 },
    Remove(u64),
    Park(u64),
    Unpark(u64),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Urgent), Just(Priority::Default), Just(Priority::Background)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (1..20usize, 1..12usize, priority(), 1..5u64).prop_map(|(prompt, max_tokens, priority, num_choices)| {
            Act::Add { prompt, max_tokens, priority, num_choices }
        }),
        5 => any::<u8>().prop_map(|ends| Act::Step { ends }),
        1 => (0..30u64).prop_map(Act::Remove),
        1 => (0..30u64).prop_map(Act::Park),
        1 => (0..30u64).prop_map(Act::Unpark),
    ]
}

/// A device that checks every plan for the properties on which executors rely.
#[derive(Default)]
struct Device {
    /// The number of fed positions and the length of the prompt.
    sequences: HashMap<SequenceId, (usize, usize)>,
}

impl Device {
    fn take(&mut self, plan: &Plan, config: &Config) {
        for id in &plan.release {
            self.sequences.remove(id);
        }
        for admission in &plan.admit {
            let begins_at = admission.prefix.map_or(0, |prefix| {
                assert!(self.sequences[&prefix.of].0 >= prefix.num_positions, "a prefix exists when it is copied");
                prefix.num_positions
            });
            let held = self.sequences.insert(admission.sequence, (begins_at, admission.prompt.len()));
            assert!(held.is_none(), "admitted twice");
        }
        let num_prompt_tokens: usize =
            plan.rows.iter().filter(|row| row.feed != Feed::Sampled).map(super::plan::Row::len).sum();
        assert!(plan.rows.len() <= config.batch_limit.ceiling() && num_prompt_tokens <= config.prefill_chunk);
        for row in &plan.rows {
            let (fed, prompt) = self.sequences.get_mut(&row.sequence).expect("rows name admitted sequences");
            assert!(!row.is_empty());
            assert_eq!(row.start, *fed, "positions are fed in order, without gaps");
            *fed += row.len();
            assert_eq!(row.sample, *fed >= *prompt);
        }
        if let Some(kv) = config.kv {
            let held = self.sequences.values().map(|(fed, _)| fed.next_multiple_of(kv.block) as u64);
            let fits = held.sum::<u64>() * kv.bytes_per_position <= kv.bytes;
            assert!(fits || self.sequences.len() <= 1, "KV exceeds the memory");
        }
    }
}

/// Runs all acts, then steps until no sequence is left. Every sequence must end or be removed, and the device must hold no KV.
fn run(config: &Config, overlap: Overlap, acts: Vec<Act>) {
    let mut scheduler = Scheduler::new(*config);
    let (mut device, mut added, mut now) = (Device::default(), 0, start());
    let mut launched = VecDeque::new();
    let mut step = |scheduler: &mut Scheduler, now: Instant, ends: u8| {
        while scheduler.may_plan(overlap) {
            let is_ahead = !launched.is_empty();
            let (Decision::Run, plan) = decide_at(scheduler, now) else { break };
            let decodes = |row: &Row| row.feed == Feed::Sampled;
            let may_be_ahead = match overlap {
                Overlap::None => false,
                Overlap::Bounded => plan.rows.iter().all(decodes),
                // Rows that should have decoded in this step may have lost their KV or their row.
                Overlap::Whole => true,
            };
            assert!(!is_ahead || may_be_ahead, "{overlap:?}: {plan:?} was planned ahead");
            device.take(&plan, config);
            launched.push_back(plan);
        }
        let oldest = launched.pop_front();
        oldest.map(|plan| commit(scheduler, &answer(&plan, if ends < 64 { END } else { 1 }))).is_some()
    };
    for act in acts {
        now += STEP;
        match act {
            Act::Add { prompt, max_tokens, priority, num_choices } => {
                let request = Request { priority, ..request(prompt, max_tokens) };
                (added..added + num_choices).for_each(|id| scheduler.add(seq(id), request.clone(), now));
                added += num_choices;
            }
            Act::Step { ends } => drop(step(&mut scheduler, now, ends)),
            Act::Remove(id) => drop(scheduler.remove(seq(id))),
            Act::Park(id) => {
                scheduler.park(seq(id), now);
            }
            Act::Unpark(id) => scheduler.unpark(seq(id), now),
        }
    }
    for _ in 0..10_000 {
        (0..added).for_each(|id| scheduler.unpark(seq(id), now));
        if !step(&mut scheduler, now, 255) {
            break;
        }
    }
    assert!(scheduler.is_empty(), "every sequence ends");
    assert!(device.sequences.is_empty(), "every KV is dropped");
}

fn overlap() -> impl Strategy<Value = Overlap> {
    prop::sample::select(vec![Overlap::None, Overlap::Bounded, Overlap::Whole])
}

fn tuned() -> Config {
    Config { batch_limit: BatchLimitConfig::default(), prefill_chunk: 24, ..config() }
}

fn with_little_memory() -> Config {
    Config {
        kv: Some(KvLimit { bytes: 32 * 100, bytes_per_position: 100, block: 8, growth: KvGrowth::default() }),
        ..with_rows(6)
    }
}

proptest! {
    #[test]
    fn every_plan_has_the_properties_on_which_executors_rely(overlap in overlap(), acts in prop::collection::vec(act(), 0..120)) {
        run(&config(), overlap, acts);
    }

    #[test]
    fn plans_are_valid_while_the_batch_limit_moves(overlap in overlap(), acts in prop::collection::vec(act(), 0..120)) {
        run(&tuned(), overlap, acts);
    }

    #[test]
    fn plans_are_valid_while_memory_is_short(overlap in overlap(), acts in prop::collection::vec(act(), 0..120)) {
        run(&with_little_memory(), overlap, acts);
    }
}
