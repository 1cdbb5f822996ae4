use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::plan::{ImportedPrefix, Prefix};
use super::*;
use crate::request::{PinId, PrefixScope};

/// The calls to a scheduler, in any order.
#[derive(Debug, Clone)]
enum Act {
    Add {
        prompt: Vec<u32>,
        max_tokens: usize,
        priority: Priority,
        num_choices: u64,
        salt: Option<u8>,
    },
    /// Pins a prompt, if that is allowed.
    Pin {
        prompt: Vec<u32>,
        salt: Option<u8>,
    },
    Unpin(u32),
    Step {
        ends: u8,
    },
    Import {
        tokens: Vec<u32>,
        salt: Option<u8>,
    },
    Forget,
    Remove(u64),
    Park(u64),
    Unpark(u64),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Urgent), Just(Priority::Default), Just(Priority::Background)]
}

/// Prompts that often begin with the same tokens, also with those of an answer: 1 is the token of answers.
fn prompt() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![9 => Just(1), 1 => Just(2)], 1..20)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (prompt(), 1..12usize, priority(), 1..5u64, prop::option::of(0..2u8)).prop_map(
            |(prompt, max_tokens, priority, num_choices, salt)| {
                Act::Add { prompt, max_tokens, priority, num_choices, salt }
            }
        ),
        1 => (prompt(), prop::option::of(0..2u8)).prop_map(|(prompt, salt)| Act::Pin { prompt, salt }),
        1 => (0..10u32).prop_map(Act::Unpin),
        5 => any::<u8>().prop_map(|ends| Act::Step { ends }),
        1 => (prompt(), prop::option::of(0..2u8)).prop_map(|(tokens, salt)| Act::Import { tokens, salt }),
        1 => Just(Act::Forget),
        1 => (0..30u64).prop_map(Act::Remove),
        1 => (0..30u64).prop_map(Act::Park),
        1 => (0..30u64).prop_map(Act::Unpark),
    ]
}

/// A device that checks every plan for the properties on which executors rely.
#[derive(Default)]
struct Device {
    sequences: HashMap<SequenceId, Held>,
    /// The salts of sequences whose KV comes from the host.
    imports: HashMap<SequenceId, Option<Arc<str>>>,
}

struct Held {
    num_fed: usize,
    /// The length of the prompt.
    num_known: usize,
    /// The prompt and what was sampled.
    tokens: Vec<u32>,
    is_retained: bool,
    salt: Option<Arc<str>>,
}

impl Device {
    /// `salts` has the salt of each sequence.
    fn take(&mut self, plan: &Plan, config: &Config, salts: &[Option<Arc<str>>]) {
        for retained in &plan.retain {
            let held = self.sequences.get_mut(&retained.sequence).expect("a sequence that is retained is there");
            assert!(held.tokens.starts_with(&retained.tokens) && retained.tokens.len() <= held.num_fed);
            held.is_retained = true;
        }
        for id in &plan.release {
            self.sequences.remove(id);
        }
        for imported in &plan.import {
            let (tokens, salt) = (imported.tokens.to_vec(), self.imports[&imported.sequence].clone());
            let held = Held { num_fed: tokens.len(), num_known: tokens.len(), tokens, is_retained: true, salt };
            assert!(self.sequences.insert(imported.sequence, held).is_none(), "imported twice");
        }
        for admission in &plan.admit {
            let salt = salts[usize::try_from(admission.sequence.0).expect("few")].clone();
            let num_fed = admission.prefix.map_or(0, |prefix| self.give(prefix, &admission.prompt, salt.as_deref()));
            let (tokens, num_known) = (admission.prompt.to_vec(), admission.prompt.len());
            let held = Held { num_fed, num_known, tokens, is_retained: false, salt };
            assert!(self.sequences.insert(admission.sequence, held).is_none(), "admitted twice");
        }
        let num_prompt_tokens: usize =
            plan.rows.iter().filter(|row| row.feed != Feed::Sampled).map(super::plan::Row::len).sum();
        assert!(plan.rows.len() <= config.batch_limit.ceiling() && num_prompt_tokens <= config.prefill_chunk);
        for row in &plan.rows {
            let held = self.sequences.get_mut(&row.sequence).expect("rows name admitted sequences");
            assert!(!row.is_empty() && !held.is_retained);
            assert_eq!(row.start, held.num_fed, "positions are fed in order, without gaps");
            held.num_fed += row.len();
            assert_eq!(row.sample, held.num_fed >= held.num_known);
        }
        if let Some(kv) = config.kv {
            let held = self.sequences.values().map(|held| held.num_fed.next_multiple_of(kv.block) as u64);
            let fits = held.sum::<u64>() * kv.bytes_per_position <= kv.bytes;
            assert!(fits || self.sequences.len() <= 1, "KV exceeds the memory");
        }
    }

    /// Checks a prefix and returns its positions.
    fn give(&mut self, Prefix { of, num_positions, takes_over }: Prefix, prompt: &[u32], salt: Option<&str>) -> usize {
        let source = &self.sequences[&of];
        assert!(source.num_fed >= num_positions, "a prefix exists when it is used");
        assert_eq!(source.tokens[..num_positions], prompt[..num_positions], "a prefix has the same tokens");
        assert_eq!(source.salt.as_deref(), salt, "a prefix has the same salt");
        assert!(num_positions < prompt.len(), "the last position is computed");
        if takes_over {
            assert!(source.is_retained, "only retained KV is taken over");
            self.sequences.remove(&of);
        }
        num_positions
    }

    /// Whether the KV of a whole prompt is there.
    fn has(&self, prompt: &[u32], salt: Option<&str>) -> bool {
        let has = |held: &Held| held.tokens.starts_with(prompt) && held.num_fed >= prompt.len();
        self.sequences.values().any(|held| has(held) && held.salt.as_deref() == salt)
    }

    fn sampled(&mut self, output: &StepOutput) {
        for (id, token) in &output.tokens {
            if let Some(held) = self.sequences.get_mut(id) {
                held.tokens.push(*token);
            }
        }
    }
}

/// Runs all acts, then steps until no sequence is left. Every sequence must end or be removed, and the device must hold no KV
/// after all that was retained is dropped.
fn run(config: &Config, overlap: Overlap, acts: Vec<Act>) {
    let mut scheduler = Scheduler::new(*config);
    let (mut device, mut salts, mut now) = (Device::default(), Vec::new(), start());
    let mut launched = VecDeque::new();
    let mut pinned: Vec<(Vec<u32>, Option<Arc<str>>)> = Vec::new();
    let mut step = |scheduler: &mut Scheduler, device: &mut Device, salts: &[_], now: Instant, ends: u8| {
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
            device.take(&plan, config, salts);
            launched.push_back(plan);
        }
        let oldest = launched.pop_front();
        let Some(plan) = oldest else { return false };
        let output = answer(&plan, if ends < 64 { END } else { 1 });
        device.sampled(&output);
        commit(scheduler, &output);
        true
    };
    for act in acts {
        now += STEP;
        match act {
            Act::Add { prompt, max_tokens, priority, num_choices, salt } => {
                let salt: Option<Arc<str>> = salt.map(|salt| salt.to_string().into());
                let prefix_scope = Some(PrefixScope(salt.clone()));
                let request = Request { priority, prefix_scope, prompt: prompt.into(), ..request(1, max_tokens) };
                if scheduler.check_pins(&request).is_err() {
                    continue;
                }
                for _ in 0..num_choices {
                    scheduler.add(seq(salts.len() as u64), request.clone(), now);
                    salts.push(salt.clone());
                }
            }
            Act::Pin { prompt, salt } => {
                let salt: Option<Arc<str>> = salt.map(|salt| salt.to_string().into());
                let pin = Some(PinId(u32::try_from(pinned.len()).expect("few")));
                let prefix_scope = Some(PrefixScope(salt.clone()));
                let request = Request { prefix_scope, pin, ..Request::of(prompt.clone(), 1) };
                if scheduler.check_pins(&request).is_ok() {
                    scheduler.add(seq(salts.len() as u64), request, now);
                    salts.push(salt.clone());
                    pinned.push((prompt, salt));
                }
            }
            Act::Unpin(pin) => scheduler.unpin(PinId(pin)),
            Act::Step { ends } => drop(step(&mut scheduler, &mut device, &salts, now, ends)),
            Act::Import { tokens, salt } => {
                let salt: Option<Arc<str>> = salt.map(|salt| salt.to_string().into());
                let sequence = seq((1 << 63) + device.imports.len() as u64);
                device.imports.insert(sequence, salt.clone());
                let imported = ImportedPrefix { sequence, tokens: tokens.into(), kv: Arc::default() };
                scheduler.import(&PrefixScope(salt), imported);
            }
            Act::Forget => scheduler.forget_prefixes(),
            Act::Remove(id) => drop(scheduler.remove(seq(id))),
            Act::Park(id) => {
                scheduler.park(seq(id), now);
            }
            Act::Unpark(id) => scheduler.unpark(seq(id), now),
        }
        for (pin, (prompt, salt)) in (0..).zip(&pinned) {
            let is_there = || device.has(prompt, salt.as_deref());
            assert!(!scheduler.has_pin(PinId(pin)) || is_there(), "the KV of a pinned prompt stays");
        }
    }
    for _ in 0..10_000 {
        (0..salts.len() as u64).for_each(|id| scheduler.unpark(seq(id), now));
        if !step(&mut scheduler, &mut device, &salts, now, 255) {
            break;
        }
    }
    scheduler.forget_prefixes();
    step(&mut scheduler, &mut device, &salts, now, 255);
    assert!(scheduler.is_empty(), "every sequence ends");
    assert!(device.sequences.is_empty(), "every KV is dropped");
}

fn overlap() -> impl Strategy<Value = Overlap> {
    prop::sample::select(vec![Overlap::None, Overlap::Bounded, Overlap::Whole])
}

/// Reuses prefixes of two tokens.
fn sharing(config: &Config) -> Config {
    Config {
        prefix: PrefixConfig {
            enabled: true,
            min_tokens: 2,
            max_tokens: 200,
            max_pinned_percent: 25,
            max_disk_bytes: 0,
        },
        ..*config
    }
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
        run(&sharing(&config()), overlap, acts);
    }

    #[test]
    fn plans_are_valid_while_the_batch_limit_moves(overlap in overlap(), acts in prop::collection::vec(act(), 0..120)) {
        run(&sharing(&tuned()), overlap, acts);
    }

    #[test]
    fn plans_are_valid_while_memory_is_short(overlap in overlap(), acts in prop::collection::vec(act(), 0..120)) {
        run(&sharing(&with_little_memory()), overlap, acts);
    }
}
