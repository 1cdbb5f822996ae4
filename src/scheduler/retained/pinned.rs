//! The entries that are pinned: they are neither dropped nor taken over until every prompt that pins them is released.

use std::sync::Arc;

use crate::request::{PinId, PrefixScope, SequenceId, TokenId};

use super::super::kv::KvBudget;
use super::super::prefix_tree::NodeId;
use super::{Entry, LostPin, Retained};

impl Retained {
    /// The entry that makes another one at a node superfluous: one with the same tokens or more, and for a pinned prompt one
    /// that is pinned with the same tokens.
    pub(super) fn replacement(
        &self,
        node: NodeId,
        num_tokens: usize,
        pins: &[PinId],
        kv: &KvBudget,
    ) -> Option<SequenceId> {
        let serves = |other: &SequenceId| {
            let serves = |other: &Entry| {
                let is_enough = pins.is_empty() || (!other.pins.is_empty() && other.tokens.len() == num_tokens);
                is_enough && kv.can_copy(num_tokens, other.num_reached)
            };
            self.entries.get(other).is_some_and(serves)
        };
        self.tree.continuations_of(node).find(serves)
    }

    /// Pins an entry.
    pub(super) fn pin(&mut self, id: SequenceId, pins: Vec<PinId>) {
        let Some(entry) = self.entries.get_mut(&id).filter(|_| !pins.is_empty()) else { return };
        if entry.pins.is_empty() {
            self.order.remove(&entry.worth);
            (self.num_tokens, self.num_held) = (self.num_tokens - entry.tokens.len(), self.num_held - entry.num_held);
            self.num_pinned_tokens += entry.tokens.len();
            self.num_pinned_held += entry.num_held;
        }
        self.pins.extend(pins.iter().map(|pin| (*pin, id)));
        entry.pins.extend(pins);
    }

    /// Releases a pinned prompt. Its entry becomes one like others once no other prompt pins it.
    pub(in super::super) fn unpin(&mut self, pin: PinId) {
        let Some(id) = self.pins.remove(&pin) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.pins.retain(|own| *own != pin);
        if entry.pins.is_empty() {
            self.num_pinned_tokens -= entry.tokens.len();
            self.num_pinned_held -= entry.num_held;
            (self.num_tokens, self.num_held) = (self.num_tokens + entry.tokens.len(), self.num_held + entry.num_held);
            self.touch(id);
        }
    }

    /// Drops what exceeds the limit of tokens, after a pinned prompt was released.
    pub(in super::super) fn trim(&mut self, release: &mut Vec<SequenceId>) {
        self.limit_tokens(0, release);
    }

    /// Whether a prompt is pinned.
    pub(in super::super) fn has_pin(&self, pin: PinId) -> bool {
        self.pins.contains_key(&pin)
    }

    /// Number of pinned prompts.
    pub(in super::super) fn num_pins(&self) -> usize {
        self.pins.len()
    }

    /// Positions of whole blocks that pinned prompts hold.
    pub(in super::super) fn num_pinned(&self) -> usize {
        self.num_pinned_held
    }

    /// Whether a pinned prompt of a scope has just these tokens.
    pub(in super::super) fn is_pinned(&self, scope: &PrefixScope, tokens: &[TokenId]) -> bool {
        let pinned = self.pins.values().filter_map(|id| self.entries.get(id));
        pinned.into_iter().any(|entry| entry.scope == *scope && *entry.tokens == *tokens)
    }

    /// Drops all entries because the device has lost their KV. Returns those that were pinned.
    pub(in super::super) fn lose(&mut self) -> Vec<LostPin> {
        let pinned = self.entries.iter().filter(|(_, entry)| !entry.pins.is_empty());
        let lost = |(id, entry): (&SequenceId, &Entry)| {
            let (scope, tokens) = (entry.scope.clone(), Arc::clone(&entry.tokens));
            LostPin { id: *id, scope, tokens, pins: entry.pins.clone() }
        };
        let mut lost: Vec<_> = pinned.map(lost).collect();
        lost.sort_unstable_by_key(|lost| lost.id);
        self.clear(&mut Vec::new());
        lost
    }
}
