//! Where the KV of a prompt comes from. Choices of a request share one prompt (one allocation, by which they are found): one
//! of them computes its KV, and the others copy it.

use std::sync::Arc;

use super::kv::KvBudget;
use super::plan::Prefix;
use super::prefix_source::PrefixSource;
use super::running::Running;
use super::sequence::Sequence;

/// Sets the prefix source of every sequence that is about to start.
pub(super) fn share_prompts(running: &mut Running, kv: &KvBudget) {
    for index in 0..running.len() {
        let sequence = &running.as_slice()[index];
        if !sequence.is_on_device() && !sequence.is_parked() {
            let source = prefix_source(index, running.as_slice(), kv);
            running.at_mut(index).set_prefix_source(source);
        }
    }
}

fn prefix_source(index: usize, running: &[Sequence], kv: &KvBudget) -> PrefixSource {
    let own = &running[index];
    // Each sequence computes the last position itself: its first token is drawn from it.
    let num_positions = own.prompt.len() - 1;
    let same_prompt = || {
        let others = running.iter().enumerate().filter(|&(other, _)| other != index);
        others.filter(|(_, other)| Arc::ptr_eq(&other.prompt, &own.prompt))
    };
    // The sequence that reads the prompt draws in the same step. Where a window drops
    // positions by then, nothing is left to copy.
    let is_kept = kv.can_copy(num_positions, num_positions + 1);
    if num_positions == 0 || own.is_alone_with_prompt() || !is_kept {
        return PrefixSource::Computed;
    }
    let is_source = |other: &Sequence| other.has_fed(num_positions) && kv.can_copy(num_positions, other.num_fed());
    if let Some((_, source)) = same_prompt().find(|(_, other)| is_source(other)) {
        return PrefixSource::Copied(Prefix { of: source.id, num_positions });
    }
    // A sequence on the device has started; of the others, the first one starts.
    let may_compute = |other: &Sequence| !other.is_parked() && !other.has_fed(num_positions);
    let is_ahead = |(at, other): (usize, &Sequence)| may_compute(other) && (other.is_on_device() || at < index);
    if same_prompt().any(is_ahead) { PrefixSource::Awaited } else { PrefixSource::Computed }
}
