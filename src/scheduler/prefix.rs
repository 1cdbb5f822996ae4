//! Prompts that are one: choices of a request have the same prompt, so one of them reads it, and the others begin with a
//! copy of its KV. They are known by their prompt being one allocation.

use std::sync::Arc;

use super::plan::Prefix;
use super::{Scheduler, Sequence};

/// How a sequence that is not on the device comes to the KV of its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Beginning {
    /// It reads its prompt.
    #[default]
    Reads,
    /// Another one is reading it.
    Waits,
    /// Another one has read it.
    Copies(Prefix),
}

impl Scheduler {
    /// Decides for everyone who is about to begin how.
    pub(super) fn share_prompts(&mut self) {
        for index in 0..self.running.len() {
            if !self.running[index].is_on_device() && !self.running[index].is_parked() {
                let beginning = self.beginning(index);
                self.running[index].begin_by(beginning);
            }
        }
    }

    fn beginning(&self, index: usize) -> Beginning {
        let own = &self.running[index];
        // The last position is computed by each for itself: that is what its first token is drawn from.
        let num_positions = own.prompt.len() - 1;
        let twins = || {
            let others = self.running.iter().enumerate().filter(|&(other, _)| other != index);
            others.filter(|(_, other)| Arc::ptr_eq(&other.prompt, &own.prompt))
        };
        // The sequence that reads the prompt draws in the same step. Where that drops positions, nothing is left to copy.
        let is_kept = self.kv.can_copy(num_positions, num_positions + 1);
        if num_positions == 0 || own.is_alone_with_prompt() || !is_kept {
            return Beginning::Reads;
        }
        let is_source =
            |twin: &Sequence| twin.has_fed(num_positions) && self.kv.can_copy(num_positions, twin.num_fed());
        if let Some((_, twin)) = twins().find(|(_, twin)| is_source(twin)) {
            return Beginning::Copies(Prefix { of: twin.id, num_positions });
        }
        // A sequence on the device has begun; of those that are not, the first one begins.
        let may_come = |twin: &Sequence| !twin.is_parked() && !twin.has_fed(num_positions);
        let is_ahead = |(other, twin): (usize, &Sequence)| may_come(twin) && (twin.is_on_device() || other < index);
        if twins().any(is_ahead) { Beginning::Waits } else { Beginning::Reads }
    }
}
