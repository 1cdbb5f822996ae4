//! Where the KV of a prompt comes from. Choices of a request share one prompt (one allocation, by which they are found): one
//! of them computes its KV, and the others copy it.

use std::sync::Arc;

use super::plan::Prefix;
use super::prefix_source::PrefixSource;
use super::{Scheduler, Sequence};

impl Scheduler {
    /// Sets the prefix source of every sequence that is about to start.
    pub(super) fn share_prompts(&mut self) {
        for index in 0..self.running.len() {
            if !self.running[index].is_on_device() && !self.running[index].is_parked() {
                let source = self.prefix_source(index);
                self.running[index].set_prefix_source(source);
            }
        }
    }

    fn prefix_source(&self, index: usize) -> PrefixSource {
        let own = &self.running[index];
        // Each sequence computes the last position itself: its first token is drawn from it.
        let num_positions = own.prompt.len() - 1;
        let same_prompt = || {
            let others = self.running.iter().enumerate().filter(|&(other, _)| other != index);
            others.filter(|(_, other)| Arc::ptr_eq(&other.prompt, &own.prompt))
        };
        // The sequence that reads the prompt draws in the same step. Where a window drops
        // positions by then, nothing is left to copy.
        let is_kept = self.kv.can_copy(num_positions, num_positions + 1);
        if num_positions == 0 || own.is_alone_with_prompt() || !is_kept {
            return PrefixSource::Computed;
        }
        let is_source =
            |other: &Sequence| other.has_fed(num_positions) && self.kv.can_copy(num_positions, other.num_fed());
        if let Some((_, source)) = same_prompt().find(|(_, other)| is_source(other)) {
            return PrefixSource::Copied(Prefix { of: source.id, num_positions });
        }
        // A sequence on the device has started; of the others, the first one starts.
        let may_compute = |other: &Sequence| !other.is_parked() && !other.has_fed(num_positions);
        let is_ahead = |(at, other): (usize, &Sequence)| may_compute(other) && (other.is_on_device() || at < index);
        if same_prompt().any(is_ahead) { PrefixSource::Awaited } else { PrefixSource::Computed }
    }
}
