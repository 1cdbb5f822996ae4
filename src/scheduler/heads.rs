//! Hashes of the first tokens of retained and of evicted sequences. They only explain why a request found no prefix: no KV is
//! reused because of a hash.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::request::{PrefixScope, TokenId};

/// Evicted sequences that are remembered.
const MOST_EVICTED: usize = 1_024;

/// The first tokens of a sequence, and these with its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    tokens: u64,
    in_scope: u64,
}

impl Head {
    pub(super) fn of(scope: &PrefixScope, tokens: &[TokenId]) -> Self {
        let hash = |value: &dyn Fn(&mut FxHasher)| {
            let mut hasher = FxHasher::default();
            value(&mut hasher);
            hasher.finish()
        };
        Self { tokens: hash(&|hasher| tokens.hash(hasher)), in_scope: hash(&|hasher| (scope, tokens).hash(hasher)) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Number of retained sequences of all scopes that begin with the same tokens.
    retained: FxHashMap<u64, usize>,
    /// Heads of sequences that were evicted, oldest first.
    evicted: VecDeque<u64>,
}

impl Heads {
    pub(super) fn retain(&mut self, head: Head) {
        *self.retained.entry(head.tokens).or_default() += 1;
    }

    pub(super) fn release(&mut self, head: Head) {
        if let Some(count) = self.retained.get_mut(&head.tokens) {
            *count -= 1;
            if *count == 0 {
                self.retained.remove(&head.tokens);
            }
        }
    }

    /// Remembers a sequence that was evicted.
    pub(super) fn drop_head(&mut self, head: Head) {
        if self.evicted.len() == MOST_EVICTED {
            self.evicted.pop_front();
        }
        self.evicted.push_back(head.in_scope);
    }

    /// Whether a retained sequence of any scope begins with the tokens. Call it only if no sequence of the head's own scope does.
    pub(super) fn has_other_scope(&self, head: Head) -> bool {
        self.retained.contains_key(&head.tokens)
    }

    /// Whether a sequence of its scope with these tokens was evicted lately.
    pub(super) fn was_dropped(&self, head: Head) -> bool {
        self.evicted.contains(&head.in_scope)
    }
}
