//! Removal of sequences, and what becomes of their KV: it is retained for later requests, or dropped.

use crate::request::SequenceId;

use super::Scheduler;
use super::config::PrefixConfig;
use super::queue::Queue;
use super::sequence::Sequence;

impl Scheduler {
    /// Removes a sequence that no request reads any more. Its KV may be retained. Returns whether it existed.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        let running = self.running.take(id);
        if let Some(sequence) = &running {
            match self.retained.add(sequence, &self.kv, self.next_step, &mut self.release) {
                Some(retained) => self.retain.push(retained),
                None => self.release.push(id),
            }
            self.kv.set_pinned(self.retained.num_pinned());
        }
        self.settle(id, running)
    }

    /// Removes a sequence whose KV must not be used again, also if it is retained. Returns whether a request had it.
    pub fn discard(&mut self, id: SequenceId) -> bool {
        let running = self.running.take(id);
        if running.is_some() || self.retained.remove(id) {
            self.release.push(id);
            self.kv.set_pinned(self.retained.num_pinned());
        }
        self.settle(id, running)
    }

    fn settle(&mut self, id: SequenceId, running: Option<Sequence>) -> bool {
        let sequence = running.or_else(|| self.queue.remove(id)).or_else(|| self.retries.remove(id));
        sequence.map(|mut sequence| self.queue.settle(&mut sequence)).is_some()
    }

    /// Removes all sequences, and all retained KV.
    pub fn clear(&mut self) {
        self.clear_retained();
        self.import.clear();
        self.release.extend(self.running.take_all().map(|sequence| sequence.id));
        self.queue = Queue::new(self.config.ageing);
        self.retries.clear();
    }

    /// Drops all retained KV, also that of pinned prompts. Sequences that were added before this call no longer share KV with
    /// other requests, and their KV is not retained.
    pub fn forget_prefixes(&mut self) {
        self.clear_retained();
        self.sequences_mut().for_each(|sequence| sequence.scope = None);
        let unwanted: Vec<_> = self.sequences_mut().filter(|it| it.is_read_again).map(|it| it.id).collect();
        for id in unwanted {
            self.remove(id);
        }
    }

    pub(super) fn clear_retained(&mut self) {
        self.retained.clear(&mut self.release);
        self.kv.set_pinned(0);
    }

    /// Changes which KV is reused.
    pub fn configure_prefixes(&mut self, config: PrefixConfig) {
        self.retained.configure(config, &mut self.release);
        self.kv.set_pinned(self.retained.num_pinned());
    }

    /// Bytes of KV that is retained and not pinned; 0 without a KV limit.
    pub fn retained_bytes(&self) -> u64 {
        self.kv.bytes(self.retained.num_held())
    }
}
