//! Entries that may have to be written to the disk, and entries that were read from it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::request::{PrefixScope, SequenceId};

use super::super::kv::KvBudget;
use super::super::plan::ImportedPrefix;
use super::super::saving::UnsavedPrefix;
use super::{Entry, HeldKv, MOST_ENTRIES, Retained};

impl Retained {
    /// Retains a sequence whose KV comes from the host, unless another entry can replace it. Returns whether it is retained.
    pub(in super::super) fn import(
        &mut self,
        scope: &PrefixScope,
        imported: &ImportedPrefix,
        kv: &KvBudget,
        release: &mut Vec<SequenceId>,
    ) -> bool {
        let ImportedPrefix { sequence, tokens, .. } = imported;
        if !self.config.enabled || !(self.config.min_tokens..=self.config.max_tokens).contains(&tokens.len()) {
            return false;
        }
        let held =
            HeldKv { scope, tokens: Arc::clone(tokens), num_reached: tokens.len(), since_step: 0, pins: Vec::new() };
        self.insert(*sequence, held, kv, release).is_some()
    }

    /// Remembers an entry that may have to be written to the disk.
    pub(super) fn add_unsaved(&mut self, id: SequenceId) {
        let Some(unsaved) = &mut self.unsaved else { return };
        if unsaved.len() >= 2 * MOST_ENTRIES {
            unsaved.retain(|id| self.entries.contains_key(id));
        }
        unsaved.push_back(id);
    }

    /// Remembers from now on which entries may have to be written to the disk, those included that exist.
    pub(in super::super) fn remember_unsaved(&mut self) {
        self.unsaved = Some(self.entries.keys().copied().collect());
    }

    /// The oldest entry that may have to be written to the disk. It is returned until [`saved`](Self::saved) is called.
    pub(in super::super) fn unsaved(&mut self) -> Option<UnsavedPrefix> {
        let unsaved = self.unsaved.as_mut()?;
        loop {
            let sequence = *unsaved.front()?;
            if let Some(Entry { scope, tokens, num_reached, .. }) = self.entries.get(&sequence) {
                let (scope, tokens, num_reached) = (scope.clone(), Arc::clone(tokens), *num_reached);
                return Some(UnsavedPrefix { sequence, scope, tokens, num_reached });
            }
            // It was dropped or taken over.
            unsaved.pop_front();
        }
    }

    /// Forgets the entry that [`unsaved`](Self::unsaved) returns.
    pub(in super::super) fn saved(&mut self) {
        self.unsaved.as_mut().and_then(VecDeque::pop_front);
    }
}
