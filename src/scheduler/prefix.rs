//! Sharing of prompts. Choices of a request have the same prompt allocation, which identifies them. One of them computes the
//! prompt's KV, and the others copy it.

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
    // Each sequence computes the last position itself, because its first token is sampled there.
    let num_positions = own.prompt.len() - 1;
    let same_prompt = || {
        let others = running.iter().enumerate().filter(|&(other, _)| other != index);
        others.filter(|(_, other)| Arc::ptr_eq(&other.prompt, &own.prompt))
    };
    // The sequence that reads the prompt has one more position after the same step. If a sliding window drops positions then,
    // the prompt cannot be copied.
    let is_kept = kv.can_copy(num_positions, num_positions + 1);
    if num_positions == 0 || own.is_alone_with_prompt() || !is_kept {
        return PrefixSource::Computed;
    }
    let is_source = |other: &Sequence| other.has_fed(num_positions) && kv.can_copy(num_positions, other.num_fed());
    if let Some((_, source)) = same_prompt().find(|(_, other)| is_source(other)) {
        return PrefixSource::Copied(Prefix { of: source.id, num_positions });
    }
    // The prompt is computed by a sequence on the device, or else by the first of the sequences.
    let may_compute = |other: &Sequence| !other.is_parked() && !other.has_fed(num_positions);
    let is_ahead = |(at, other): (usize, &Sequence)| may_compute(other) && (other.is_on_device() || at < index);
    if same_prompt().any(is_ahead) { PrefixSource::Awaited } else { PrefixSource::Computed }
}
