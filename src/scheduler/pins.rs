//! Pinned prompts: their KV is in the prefix cache until it is released, and is neither dropped for memory nor taken over.
//! `retained` holds the KV. This file decides which prompts may be pinned and which requests fit beside them. After the device
//! has lost the KV of pinned prompts, it adds sequences that read these prompts again.

use std::time::Instant;

use crate::request::{PinId, Request, SequenceId};

use super::Scheduler;
use super::retained::LostPin;
use super::sequence::Sequence;

/// The most pinned prompts of a model.
const MOST_PINS: usize = 512;

/// Why a request cannot run: its prompt cannot be pinned, or pinned prompts have the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinRefusal {
    /// The prefix cache is off.
    Disabled,
    /// No request would use so short a prompt.
    Short {
        /// Tokens of the prompt.
        num_tokens: usize,
        /// The fewest tokens that are reused.
        least: usize,
    },
    /// There are as many pinned prompts as are allowed.
    TooMany(usize),
    /// The prompt would take more memory than pinned prompts may have.
    Memory {
        /// Bytes of KV of the prompt.
        needed: u64,
        /// Bytes of KV of the prompts that are pinned.
        pinned: u64,
        /// Bytes that all of them may have.
        most: u64,
    },
    /// A request that was accepted needs the memory.
    Pending {
        /// Bytes of KV of the prompt.
        needed: u64,
        /// Bytes that accepted requests and pinned prompts leave.
        left: u64,
    },
    /// The request does not fit beside pinned prompts, even alone.
    Beside {
        /// Bytes of KV that the request may take.
        needed: u64,
        /// Bytes of KV of the prompts that are pinned.
        pinned: u64,
        /// Bytes of KV altogether.
        total: u64,
    },
}

impl Scheduler {
    /// Whether a request may run as far as pinned prompts matter. A request that pins its prompt must leave the memory to other
    /// requests.
    pub fn check_pins(&mut self, request: &Request) -> Result<(), PinRefusal> {
        let total = self.kv.total().unwrap_or(u64::MAX);
        let (needed, pinned) = (self.whole_bytes(request.max_positions()), self.pinned_bytes());
        if pinned > 0 && needed.saturating_add(pinned) > total {
            return Err(PinRefusal::Beside { needed, pinned, total });
        }
        if request.pin.is_some() { self.check_pin(request, pinned, total) } else { Ok(()) }
    }

    fn check_pin(&self, request: &Request, pinned: u64, total: u64) -> Result<(), PinRefusal> {
        let (config, num_tokens) = (self.retained.config(), request.prompt.len());
        let Some(scope) = request.prefix_scope.as_ref().filter(|_| config.enabled) else {
            return Err(PinRefusal::Disabled);
        };
        if num_tokens < config.min_tokens {
            return Err(PinRefusal::Short { num_tokens, least: config.min_tokens });
        }
        if self.retained.num_pins() + self.pinning.len() >= MOST_PINS {
            return Err(PinRefusal::TooMany(MOST_PINS));
        }
        if self.retained.is_pinned(scope, &request.prompt) {
            return Ok(());
        }
        let needed = self.whole_bytes(num_tokens);
        let most = u64::try_from(u128::from(total) * config.max_pinned_percent as u128 / 100).unwrap_or(u64::MAX);
        if needed.saturating_add(pinned) > most {
            return Err(PinRefusal::Memory { needed, pinned, most });
        }
        let largest = self.sequences().map(|sequence| self.whole_bytes(sequence.max_positions())).max().unwrap_or(0);
        let left = total.saturating_sub(pinned.saturating_add(largest));
        if needed > left { Err(PinRefusal::Pending { needed, left }) } else { Ok(()) }
    }

    /// Whether the KV of a prompt is pinned.
    pub fn has_pin(&self, pin: PinId) -> bool {
        self.retained.has_pin(pin)
    }

    /// Releases a pinned prompt. Its KV stays as that of any request.
    pub fn unpin(&mut self, pin: PinId) {
        self.retained.unpin(pin);
        self.retained.trim(&mut self.release);
        self.kv.set_pinned(self.retained.num_pinned());
        self.sequences_mut().for_each(|sequence| sequence.pins.retain(|own| *own != pin));
        let unwanted = self.sequences().find(|sequence| sequence.is_read_again && sequence.pins.is_empty());
        if let Some(id) = unwanted.map(|sequence| sequence.id) {
            self.remove(id);
        }
    }

    /// Has pinned prompts read again, after the device lost their KV.
    pub(super) fn read_again(&mut self, lost: Vec<LostPin>, now: Instant) {
        for LostPin { id, scope, tokens, pins } in lost {
            let request = Request { prefix_scope: Some(scope), ..Request::of(tokens, 1) };
            let mut sequence = Sequence::new(id, request, now);
            (sequence.pins, sequence.is_read_again) = (pins, true);
            sequence.answer_estimate = 1;
            self.pinning.push(id);
            self.queue.push(sequence, now);
        }
    }

    /// Numbers of pinned prompts that wait to be read again, and that are being read again.
    pub(super) fn num_read_again(&self) -> (usize, usize) {
        let ids =
            || self.pinning.iter().filter(|id| self.sequence(**id).is_some_and(|sequence| sequence.is_read_again));
        let num_running = ids().filter(|id| self.running.get(**id).is_some()).count();
        (ids().count() - num_running, num_running)
    }

    /// Bytes of prompts that are pinned, and of those that will be.
    fn pinned_bytes(&mut self) -> u64 {
        let mut pinning = std::mem::take(&mut self.pinning);
        pinning.retain(|id| self.sequence(*id).is_some_and(|sequence| !sequence.pins.is_empty()));
        self.pinning = pinning;
        let coming = self.pinning.iter().filter_map(|id| self.sequence(*id));
        let coming: u64 = coming.map(|sequence| self.whole_bytes(sequence.prompt.len())).sum();
        self.kv.bytes(self.kv.num_pinned()).saturating_add(coming)
    }

    fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.running.get(id).or_else(|| self.queue.get(id)).or_else(|| self.retries.get(id))
    }

    fn whole_bytes(&self, num_positions: usize) -> u64 {
        self.kv.bytes(self.kv.whole_blocks(num_positions))
    }

    fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(self.queue.iter()).chain(self.retries.iter())
    }

    pub(super) fn sequences_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.running.iter_mut().chain(self.queue.iter_mut()).chain(self.retries.iter_mut())
    }
}
