//! Retained KV between the device and the disk: which of it may have to be written, and KV that was read from the disk. The
//! engine decides what is written and read (`engine/runner/disk.rs`); a plan brings what was read to the device.

use std::sync::Arc;
use std::time::Instant;

use crate::request::{PrefixScope, Request, SequenceId, TokenId};

use super::Scheduler;
use super::config::PrefixConfig;
use super::plan::{ImportedPrefix, Plan};
use super::prefix_tree::common_prefix;
use super::sequence::Sequence;

/// A retained sequence that may have to be written to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsavedPrefix {
    /// The sequence.
    pub sequence: SequenceId,
    /// The requests that may use its KV.
    pub scope: PrefixScope,
    /// The tokens of its positions.
    pub tokens: Arc<[TokenId]>,
    /// Positions that the device computed for it, including those whose tokens were not read.
    pub num_reached: usize,
}

impl Scheduler {
    /// Remembers from now on which retained sequences may have to be written to the disk.
    pub fn remember_unsaved(&mut self) {
        self.retained.remember_unsaved();
    }

    /// The oldest retained sequence that may have to be written to the disk. The same one until [`saved`](Self::saved) is called.
    pub fn unsaved(&mut self) -> Option<UnsavedPrefix> {
        self.retained.unsaved()
    }

    /// Forgets the sequence that [`unsaved`](Self::unsaved) returns.
    pub fn saved(&mut self) {
        self.retained.saved();
    }

    /// Retains a sequence whose KV was read from the disk. The next plan brings it to the device, unless memory has no room.
    pub fn import(&mut self, scope: &PrefixScope, imported: ImportedPrefix) {
        if self.retained.import(scope, &imported, &self.kv, &mut self.release) {
            self.import.push(imported);
        }
    }

    /// Writes the imports of a plan whose releases are known.
    pub(super) fn import_into(&mut self, plan: &mut Plan) {
        let Plan { import, release, .. } = plan;
        import.extend(self.import.drain(..).filter(|imported| !release.contains(&imported.sequence)));
    }

    /// Number of leading tokens of a request whose KV is in memory, or is being computed.
    pub fn num_in_memory(&self, request: &Request, now: Instant) -> usize {
        // The id is not used.
        let sequence = Sequence::new(SequenceId(u64::MAX), request.clone(), now);
        let retained = self.retained.num_reusable(&sequence, &self.kv);
        let is_alike = |other: &&Sequence| request.prefix_scope.is_some() && other.scope == request.prefix_scope;
        let running = self.running.iter().filter(is_alike);
        running.map(|other| common_prefix(other.known(), &request.prompt)).max().unwrap_or_default().max(retained)
    }

    /// Which KV is reused.
    pub fn prefix_config(&self) -> PrefixConfig {
        self.retained.config()
    }
}
