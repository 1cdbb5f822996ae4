//! The KV of sequences that have ended: which of it is retained for later requests, and which is dropped first. `prefix` decides
//! which request uses it, `admission` when memory is short. The executor owns the KV itself.

mod pinned;
mod saved;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::request::{PinId, PrefixScope, SequenceId, TokenId};

use super::config::PrefixConfig;
use super::heads::{Head, Heads};
use super::kv::{KvBudget, Room};
use super::plan::RetainedPrefix;
use super::prefix_tree::{Found, NodeId, PrefixTree, Wanted};
use super::sequence::Sequence;
use super::status::{Miss, MissRecord, PrefixCounters};

/// The most retained sequences: an executor looks through them when it arranges its memory.
const MOST_ENTRIES: usize = 1_024;
/// The value of an entry whose recomputation costs one token for each position that it holds.
const WHOLE_VALUE: u64 = 1 << 10;

/// The retained sequences.
#[derive(Debug)]
pub(super) struct Retained {
    config: PrefixConfig,
    entries: FxHashMap<SequenceId, Entry>,
    tree: PrefixTree,
    /// Entries in the order in which they are dropped.
    order: BTreeSet<Worth>,
    /// The value of the entry that was dropped last. Entries that are used later are worth more (GreedyDual-Size: Cao and Irani,
    /// 1997), so that an entry that is not used is dropped in the end, however much its recomputation costs.
    floor: u64,
    num_uses: u64,
    /// Tokens and positions of whole blocks of the entries that are not pinned, and of those that are.
    num_tokens: usize,
    num_held: usize,
    num_pinned_tokens: usize,
    num_pinned_held: usize,
    /// The entry of each pinned prompt. Equal prompts have one entry.
    pins: FxHashMap<PinId, SequenceId>,
    /// Entries with which sequences start in the plan that is being made.
    chosen: Vec<Choice>,
    heads: Heads,
    counters: PrefixCounters,
    /// Entries that may have to be written to the disk, oldest first. Absent without a disk tier.
    unsaved: Option<VecDeque<SequenceId>>,
}

#[derive(Debug)]
struct Entry {
    scope: PrefixScope,
    tokens: Arc<[TokenId]>,
    node: NodeId,
    /// Positions of which the device holds KV, including those whose tokens were not read.
    num_reached: usize,
    /// Memory, in positions of whole blocks.
    num_held: usize,
    /// Steps before this one may still write its KV.
    since_step: u64,
    worth: Worth,
    /// While there are any, the entry is neither dropped nor taken over.
    pins: Vec<PinId>,
}

/// A pinned prompt whose KV the device has lost.
#[derive(Debug)]
pub(super) struct LostPin {
    pub(super) id: SequenceId,
    pub(super) scope: PrefixScope,
    pub(super) tokens: Arc<[TokenId]>,
    pub(super) pins: Vec<PinId>,
}

/// Ordered as entries are dropped: by the tokens to compute again for each position that is held, then by the last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    value: u64,
    last_use: u64,
    id: SequenceId,
}

/// KV that the device holds, or gets before the next step.
struct HeldKv<'a> {
    scope: &'a PrefixScope,
    tokens: Arc<[TokenId]>,
    num_reached: usize,
    since_step: u64,
    pins: Vec<PinId>,
}

/// The start of a sequence with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The oldest step in flight.
    pub(super) first_step: u64,
    /// Whether memory has no room for a copy.
    pub(super) is_short: bool,
    /// Positions of whole blocks that the sequence will hold.
    pub(super) num_held: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    id: SequenceId,
    /// If a sequence takes the entry over: the positions that the sequence will hold. Absent if the entry is copied.
    taken_by: Option<usize>,
}

impl Retained {
    pub(super) fn new(config: PrefixConfig) -> Self {
        Self {
            config,
            entries: FxHashMap::default(),
            tree: PrefixTree::default(),
            order: BTreeSet::new(),
            floor: 0,
            num_uses: 0,
            num_tokens: 0,
            num_held: 0,
            num_pinned_tokens: 0,
            num_pinned_held: 0,
            pins: FxHashMap::default(),
            chosen: Vec::new(),
            heads: Heads::default(),
            counters: PrefixCounters::default(),
            unsaved: None,
        }
    }

    pub(super) fn config(&self) -> PrefixConfig {
        self.config
    }

    /// Changes the config. If `min_tokens` changes, entries that are not pinned are dropped; if the cache is off, all entries.
    pub(super) fn configure(&mut self, config: PrefixConfig, release: &mut Vec<SequenceId>) {
        if !config.enabled {
            self.clear(release);
        } else if config.min_tokens != self.config.min_tokens {
            self.drop_unpinned(release);
            self.config = config;
            let heads: Vec<_> = self.entries.values().map(|entry| self.head(&entry.scope, &entry.tokens)).collect();
            self.heads = Heads::default();
            for head in heads {
                self.heads.retain(head);
            }
        }
        self.config = config;
        self.limit_tokens(0, release);
    }

    /// Retains a sequence that ended, unless another entry can replace it. Entries that it replaces are added to `release`.
    /// Steps before `since_step` may still write its KV.
    pub(super) fn add(
        &mut self,
        sequence: &Sequence,
        kv: &KvBudget,
        since_step: u64,
        release: &mut Vec<SequenceId>,
    ) -> Option<RetainedPrefix> {
        let scope = sequence.scope.as_ref().filter(|_| self.config.enabled)?;
        // A prompt that was not read to its end is retained as any other.
        let pins = if sequence.is_prompt_computed() { sequence.pins.clone() } else { Vec::new() };
        let most = if pins.is_empty() { self.config.max_tokens } else { usize::MAX };
        if !(self.config.min_tokens..=most).contains(&sequence.num_computed()) {
            return None;
        }
        let (tokens, num_reached) = (sequence.computed_tokens(), sequence.num_fed());
        let held = HeldKv { scope, tokens, num_reached, since_step, pins };
        let retained = self.insert(sequence.id, held, kv, release)?;
        self.add_unsaved(retained.sequence);
        Some(retained)
    }

    fn insert(
        &mut self,
        id: SequenceId,
        HeldKv { scope, tokens, num_reached, since_step, pins }: HeldKv<'_>,
        kv: &KvBudget,
        release: &mut Vec<SequenceId>,
    ) -> Option<RetainedPrefix> {
        let num_tokens = tokens.len();
        let node = self.tree.insert(scope, &tokens, id);
        if let Some(same) = self.replacement(node, num_tokens, &pins, kv) {
            self.tree.remove(node, id);
            self.pin(same, pins);
            self.touch(same);
            return None;
        }
        let is_served = |other: &SequenceId| {
            let serves = |other: &Entry| other.pins.is_empty() && kv.can_copy(other.tokens.len(), num_reached);
            self.entries.get(other).is_some_and(serves)
        };
        // An equal entry exists here only if the new entry alone is pinned, or if the equal one lacks positions of layers with a
        // window.
        let equal = self.tree.ends_at(node).filter(|other| *other != id);
        let replaced: Vec<_> = self.tree.prefixes_of(node).chain(equal).filter(is_served).collect();
        release.extend(replaced.into_iter().filter(|other| self.remove(*other)));
        if pins.is_empty() {
            self.limit_tokens(num_tokens, release);
        }
        let worth = Worth { value: 0, last_use: 0, id };
        let num_held = kv.whole_blocks(num_reached);
        self.heads.retain(self.head(scope, &tokens));
        self.num_tokens += num_tokens;
        self.num_held += num_held;
        let (scope, entry_tokens) = (scope.clone(), Arc::clone(&tokens));
        let entry =
            Entry { scope, tokens: entry_tokens, node, num_reached, num_held, since_step, worth, pins: Vec::new() };
        self.entries.insert(id, entry);
        self.touch(id);
        self.pin(id, pins);
        Some(RetainedPrefix { sequence: id, tokens })
    }

    /// The entry with the longest beginning of a sequence's tokens. The last token does not count: the sequence computes it.
    pub(super) fn find(&self, sequence: &Sequence, kv: &KvBudget, room: Room) -> Found {
        let Some(scope) = sequence.scope.as_ref().filter(|_| self.config.enabled) else { return Found::default() };
        let wanted = Wanted { least: self.config.min_tokens, most: sequence.num_known() - 1 };
        let usable = |id: SequenceId, num_positions: usize| {
            let is_taken = self.chosen.iter().any(|choice| choice.id == id && choice.taken_by.is_some());
            let is_usable = |entry: &Entry| {
                (room != Room::Nothing || !entry.pins.is_empty()) && kv.can_copy(num_positions, entry.num_reached)
            };
            !is_taken && self.entries.get(&id).is_some_and(is_usable)
        };
        self.tree.find(scope, sequence.known(), wanted, usable)
    }

    /// Number of positions of a sequence that an entry has.
    pub(super) fn num_reusable(&self, sequence: &Sequence, kv: &KvBudget) -> usize {
        self.find(sequence, kv, Room::Enough).source.map_or(0, |(_, num_positions)| num_positions)
    }

    /// Chooses an entry for a sequence that starts with its first `num_positions`. Returns whether the sequence takes the entry
    /// over. It does if the entry is not pinned, no other sequence copies it, no step in flight writes it, and either few tokens
    /// are lost or memory is short.
    pub(super) fn choose(&mut self, id: SequenceId, num_positions: usize, start: Start) -> bool {
        let Start { first_step, is_short, num_held } = start;
        let is_copied = self.chosen.iter().any(|choice| choice.id == id);
        let may_end = |entry: &Entry| {
            let num_lost = entry.tokens.len() - num_positions;
            let is_worth_it = is_short || num_lost < self.config.min_tokens;
            entry.pins.is_empty() && entry.since_step <= first_step && is_worth_it
        };
        let is_taken = !is_copied && self.entries.get(&id).is_some_and(may_end);
        self.chosen.push(Choice { id, taken_by: is_taken.then_some(num_held) });
        is_taken
    }

    /// Forgets the choices of the last plan.
    pub(super) fn begin_plan(&mut self) {
        self.chosen.clear();
    }

    /// Counts a use of an entry that a planned step copies or takes over. An entry that is taken over is no longer retained.
    pub(super) fn used(&mut self, id: SequenceId, takes_over: bool) {
        if takes_over {
            self.remove(id);
        } else {
            self.touch(id);
        }
    }

    /// Counts a request that starts for the first time. Returns why it starts without KV of another request.
    pub(super) fn count(&mut self, sequence: &Sequence, kv: &KvBudget) -> Option<MissRecord> {
        let num_reused = sequence.prefix_source().given().map_or(0, |prefix| prefix.num_positions);
        let is_used = sequence.scope.is_some() && self.config.enabled;
        if num_reused > 0 || is_used {
            self.counters.num_tokens_reused += num_reused as u64;
            self.counters.num_tokens_computed += (sequence.num_known() - num_reused) as u64;
        }
        if num_reused > 0 {
            self.counters.num_hits += 1;
            return None;
        }
        let miss = if is_used { self.miss(sequence, kv) } else { no_match(sequence, Miss::Disabled) };
        self.counters.misses[miss.reason as usize] += 1;
        Some(miss)
    }

    fn miss(&self, sequence: &Sequence, kv: &KvBudget) -> MissRecord {
        let (least, scope) = (self.config.min_tokens, sequence.scope.clone().unwrap_or_default());
        let num_common = self.find(sequence, kv, Room::Enough).num_common;
        let num_matched = num_common.max(sequence.num_matched);
        let head = || self.head(&scope, sequence.known());
        let reason = match num_matched {
            _ if sequence.num_known() <= least => Miss::Short,
            _ if num_common >= least => Miss::Window,
            _ if self.heads.has_other_scope(head()) => Miss::Salt,
            _ if self.heads.was_dropped(head()) => Miss::Evicted,
            0 => Miss::New,
            _ => Miss::Diverged,
        };
        MissRecord { num_matched, ..no_match(sequence, reason) }
    }

    /// Positions that entries hold, without pinned entries. Of an entry that a sequence takes over, only the positions beyond
    /// those of the sequence count. They must count, because the sequence may get no row in this plan, and then the entry stays.
    pub(super) fn num_held(&self) -> usize {
        let taken = self.chosen.iter().filter_map(|choice| Some((self.entries.get(&choice.id)?, choice.taken_by?)));
        self.num_held - taken.map(|(entry, num_held)| entry.num_held.min(num_held)).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops the entry that is worth least, except entries that are chosen. Returns its sequence.
    pub(super) fn evict(&mut self) -> Option<SequenceId> {
        let is_free = |worth: &&Worth| self.chosen.iter().all(|choice| choice.id != worth.id);
        let Worth { value, id, .. } = *self.order.iter().find(is_free)?;
        self.floor = self.floor.max(value);
        if let Some(entry) = self.entries.get(&id) {
            let head = self.head(&entry.scope, &entry.tokens);
            self.heads.drop_head(head);
        }
        self.remove(id);
        self.counters.num_evictions += 1;
        Some(id)
    }

    /// Drops an entry. Returns whether it existed.
    pub(super) fn remove(&mut self, id: SequenceId) -> bool {
        let pins = self.entries.get(&id).map(|entry| entry.pins.clone()).unwrap_or_default();
        for pin in pins {
            self.unpin(pin);
        }
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.tree.remove(entry.node, id);
        self.order.remove(&entry.worth);
        self.heads.release(self.head(&entry.scope, &entry.tokens));
        self.num_tokens -= entry.tokens.len();
        self.num_held -= entry.num_held;
        true
    }

    /// Drops all entries, also those that are pinned, and what is known of entries that were dropped before.
    pub(super) fn clear(&mut self, release: &mut Vec<SequenceId>) {
        let pins: Vec<_> = self.pins.keys().copied().collect();
        for pin in pins {
            self.unpin(pin);
        }
        self.drop_unpinned(release);
        self.heads = Heads::default();
    }

    fn drop_unpinned(&mut self, release: &mut Vec<SequenceId>) {
        let ids: Vec<_> = self.order.iter().map(|worth| worth.id).collect();
        release.extend(ids.into_iter().filter(|id| self.remove(*id)));
        self.chosen.clear();
    }

    /// Counters, and what is retained now.
    pub(super) fn counters(&self, kv: &KvBudget) -> PrefixCounters {
        PrefixCounters {
            num_entries: self.entries.len() as u64,
            num_tokens: (self.num_tokens + self.num_pinned_tokens) as u64,
            num_bytes: kv.bytes(self.num_held + self.num_pinned_held),
            num_pins: self.pins.len() as u64,
            num_pinned_tokens: self.num_pinned_tokens as u64,
            num_pinned_bytes: kv.bytes(self.num_pinned_held),
            ..self.counters
        }
    }

    /// Drops entries until `num_more` tokens and one entry fit.
    fn limit_tokens(&mut self, num_more: usize, release: &mut Vec<SequenceId>) {
        while self.num_tokens + num_more > self.config.max_tokens || self.order.len() >= MOST_ENTRIES {
            let Some(id) = self.evict() else { return };
            release.push(id);
        }
    }

    pub(super) fn touch(&mut self, id: SequenceId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.pins.is_empty()) else { return };
        self.order.remove(&entry.worth);
        self.num_uses += 1;
        let cost = self.tree.num_own(entry.node).max(1) as u64;
        entry.worth.value = self.floor + cost * WHOLE_VALUE / entry.num_held.max(1) as u64;
        entry.worth.last_use = self.num_uses;
        self.order.insert(entry.worth);
    }

    fn head(&self, scope: &PrefixScope, tokens: &[TokenId]) -> Head {
        Head::of(scope, &tokens[..tokens.len().min(self.config.min_tokens)])
    }
}

/// A miss of a request that was compared with no other one.
fn no_match(sequence: &Sequence, reason: Miss) -> MissRecord {
    MissRecord { sequence: sequence.id, reason, num_matched: 0, num_prompt: sequence.num_known() }
}
