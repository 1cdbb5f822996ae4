//! Decides with which KV a sequence starts: with what a retained sequence has computed (`retained`), with what a running
//! sequence has computed, or with none. A sequence waits for a running one that is still reading the same tokens, because reading
//! them twice takes longer. Each sequence computes the last position of its prompt itself, because its first token is sampled
//! there.

use super::Scheduler;
use super::kv::Room;
use super::plan::Prefix;
use super::prefix_source::PrefixSource;
use super::prefix_tree::common_prefix;
use super::retained::Start;
use super::sequence::Sequence;

/// A sequence does not wait for fewer positions than this: reading so few positions a second time costs almost nothing.
const LEAST_WAIT: usize = 16;

/// KV that a running sequence has, or will have.
#[derive(Debug, Clone, Copy, Default)]
struct Candidates {
    now: Option<Prefix>,
    later: Option<Later>,
    /// The longest beginning in common with a sequence that is ahead, if it is too short to be shared.
    num_short: usize,
}

#[derive(Debug, Clone, Copy)]
struct Later {
    /// Index of the sequence that reads.
    index: usize,
    num_positions: usize,
    /// The fewest positions for which waiting is worth it.
    least_wait: usize,
}

impl Scheduler {
    /// Sets the prefix source of every sequence that is about to start.
    pub(super) fn share_prefixes(&mut self, room: Room) {
        self.retained.begin_plan();
        self.running.iter_mut().for_each(|sequence| sequence.awaited = None);
        for index in 0..self.running.len() {
            let sequence = &self.running.as_slice()[index];
            if !sequence.is_on_device() && !sequence.is_parked() {
                let source = self.prefix_source(index, room);
                self.running.at_mut(index).set_prefix_source(source);
            }
        }
    }

    /// Counts a use of the retained KV that a waiting sequence would start with, so that other retained KV is dropped first.
    pub(super) fn keep_prefix(&mut self, sequence: &Sequence) {
        if let Some((id, _)) = self.retained.find(sequence, &self.kv, Room::Enough).source {
            self.retained.touch(id);
        }
    }

    fn prefix_source(&mut self, index: usize, room: Room) -> PrefixSource {
        let Candidates { now, later, num_short } = self.candidates(index);
        self.running.at_mut(index).num_matched = num_short;
        let own = &self.running.as_slice()[index];
        let retained = self.retained.find(own, &self.kv, room).source;
        let num_now = now.map_or(0, |prefix| prefix.num_positions);
        let retained = retained.filter(|(_, num_positions)| *num_positions > num_now);
        let num_now = retained.map_or(num_now, |(_, num_positions)| num_positions);
        if let Some(later) = later.filter(|later| later.num_positions >= num_now + later.least_wait) {
            return self.wait_for(later);
        }
        let Some((of, num_positions)) = retained else {
            return now.map_or(PrefixSource::Computed, PrefixSource::Given);
        };
        let first_step = self.in_flight.first_step().unwrap_or(self.next_step);
        let num_held = self.kv.held(&self.running.as_slice()[index]);
        let start = Start { first_step, is_short: room == Room::NoCopy, num_held };
        let takes_over = self.retained.choose(of, num_positions, start);
        PrefixSource::Given(Prefix { of, num_positions, takes_over })
    }

    fn wait_for(&mut self, Later { index, num_positions, .. }: Later) -> PrefixSource {
        let reader = self.running.at_mut(index);
        reader.awaited = Some(reader.awaited.map_or(num_positions, |awaited| awaited.min(num_positions)));
        PrefixSource::Awaited { of: reader.id, num_positions }
    }

    /// The most KV that running sequences have for the sequence at an index, and the most that they will have.
    fn candidates(&self, index: usize) -> Candidates {
        let running = self.running.as_slice();
        let (own, most) = (&running[index], running[index].num_known() - 1);
        let mut best = Candidates::default();
        for (at, other) in running.iter().enumerate().filter(|&(at, _)| at != index) {
            let Some(least) = self.least_shared(own, other) else { continue };
            let num_common = common_prefix(own.known(), other.known()).min(most);
            let is_ahead = other.is_on_device() || at < index;
            if num_common < least {
                best.num_short = best.num_short.max(if is_ahead { num_common } else { 0 });
                continue;
            }
            let num_fed = if other.is_on_device() { other.num_fed() } else { 0 };
            let num_now = num_common.min(num_fed);
            let is_better = best.now.is_none_or(|best| best.num_positions < num_now);
            if num_now >= least && is_better && self.kv.can_copy(num_now, num_fed) {
                best.now = Some(Prefix { of: other.id, num_positions: num_now, takes_over: false });
                if num_now == most {
                    break;
                }
            }
            // A sequence does not wait for a later one, which may wait for it, or for a less urgent one, which may get no turn.
            let reads = num_fed < num_common && !other.is_parked() && other.rank() <= own.rank();
            let is_longer = best.later.is_none_or(|best| best.num_positions < num_common);
            if reads && is_ahead && is_longer && self.kv.can_copy(num_common, other.num_known()) {
                let least_wait = if own.is_choice_beside(other) { 1 } else { LEAST_WAIT };
                best.later = Some(Later { index: at, num_positions: num_common, least_wait });
            }
        }
        best
    }

    /// The fewest positions that two sequences share, if they may share any. Choices of one request always share their prompt.
    fn least_shared(&self, own: &Sequence, other: &Sequence) -> Option<usize> {
        let config = self.retained.config();
        if own.is_choice_beside(other) {
            return Some(1);
        }
        let is_allowed = config.enabled && own.scope.is_some() && own.scope == other.scope;
        is_allowed.then_some(config.min_tokens)
    }
}
