//! The disk tier of a model's prefix cache: which retained KV is written, and which requests wait for KV that is read. The files
//! belong to `prefix_store`, whose thread alone waits for the disk.
//!
//! **Writing.** Every retained sequence is written soon after its end, block by block, as long as it is retained. KV is not
//! written when it is evicted, because a request then waits for the memory. A block is copied from the device between two steps.
//! These copies take a fiftieth of the time while requests run, and otherwise a quarter, because another model may use the
//! device. KV that is evicted before it is written is lost.
//!
//! **Reading.** A request waits for KV only if reading is expected to be faster than computing, and no longer than computing
//! would take. So a slow disk delays a request by at most the time that its prompt takes to compute.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::Code;
use crate::host_kv::KvLayout;
use crate::lock::lock;
use crate::prefix_store::{BlockKey, Origin, PrefixStore, Read, ReadEnd, Write, Written};
use crate::request::{PrefixScope, Request, SequenceId, TokenId};
use crate::scheduler::plan::{ImportedPrefix, Plan};
use crate::scheduler::{PrefixConfig, Scheduler};

use super::super::guarded::guarded;
use super::super::row::Row;
use super::pins::refused;
use super::{Model, ModelRunner, Need};

/// A read that saves fewer tokens is not worth its place in the queue.
const LEAST_GAIN: usize = 64;
/// The most bytes of a read, which are on the host twice for a moment. The rest of the prompt is computed.
const MOST_READ_BYTES: usize = 1 << 30;
/// The most reads of a model at a time.
const MOST_READS: usize = 32;
/// How long a request waits for a read if the speed of computing is unknown: this many times the expected time, and at least
/// this long.
const PATIENCE: u32 = 4;
const LEAST_PATIENCE: Duration = Duration::from_millis(250);
/// The time between two exports, in times of an export, while requests run and while none do.
const PAUSE_BUSY: u32 = 49;
const PAUSE_IDLE: u32 = 3;
/// Ids of sequences whose KV was read. The engine counts its own ids from 0.
const FIRST_IMPORT: u64 = 1 << 63;

/// See the module.
pub(super) struct DiskTier {
    store: Arc<PrefixStore>,
    origin: Origin,
    layout: Arc<KvLayout>,
    /// The most positions of which all layers keep the KV.
    most_positions: usize,
    reads: Vec<PendingRead>,
    /// Reads that have ended, by number; filled by the thread of the store.
    ended: Arc<Mutex<HashMap<u64, ReadEnd>>>,
    num_reads: u64,
    num_imports: u64,
    /// The sequence that is being written.
    exporting: Option<Exporting>,
    /// No block is exported before this time.
    next_export: Option<Instant>,
}

struct PendingRead {
    number: u64,
    scope: PrefixScope,
    /// The tokens of the blocks.
    tokens: Arc<[TokenId]>,
    keys: Arc<[BlockKey]>,
    is_wanted: Arc<AtomicBool>,
    /// When its requests stop waiting.
    until: Instant,
    waiting: Vec<(SequenceId, Request)>,
}

struct Exporting {
    sequence: SequenceId,
    keys: Vec<BlockKey>,
    /// The block before which all were written or tried.
    next: usize,
}

/// A read that a request should wait for.
struct Wanted {
    keys: Vec<BlockKey>,
    patience: Duration,
}

impl DiskTier {
    /// `None` if the device cannot copy KV.
    pub(super) fn new(
        store: &Arc<PrefixStore>,
        model: &Model,
        files: &[u8; 32],
        scheduler: &mut Scheduler,
    ) -> Option<Self> {
        let (layout, limits) = (model.executor.kv_layout()?, model.executor.limits());
        if store.is_writable() {
            scheduler.remember_unsaved();
        }
        let device = format!("{} {}", limits.device, limits.compute_type);
        Some(Self {
            store: Arc::clone(store),
            origin: Origin::new(files, &device, &layout),
            layout: Arc::new(layout),
            most_positions: limits.kv.growth.window.map_or(usize::MAX, |window| window.least),
            reads: Vec::new(),
            ended: Arc::default(),
            num_reads: 0,
            num_imports: 0,
            exporting: None,
            next_export: None,
        })
    }

    /// Requests that wait for a read.
    pub(super) fn waiting(&self) -> impl Iterator<Item = SequenceId> {
        self.reads.iter().flat_map(|read| read.waiting.iter().map(|(id, _)| *id))
    }

    /// When the first request stops waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.reads.iter().map(|read| read.until).min()
    }

    /// The read that a request should wait for, if it should wait for one.
    fn wanted(&self, request: &Request, scheduler: &Scheduler, now: Instant) -> Option<Wanted> {
        let (scope, block) = (request.prefix_scope.as_ref()?, self.layout.block);
        let PrefixConfig { enabled, min_tokens, max_tokens, .. } = scheduler.prefix_config();
        let num_most = self.most_positions.min(max_tokens).min(request.prompt.len()) / block;
        let num_blocks = num_most.min((MOST_READ_BYTES / self.layout.block_bytes().max(1)).max(1));
        if !enabled || num_blocks == 0 {
            return None;
        }
        let mut keys = self.origin.keys(scope, &request.prompt[..num_blocks * block], block);
        let (num_found, takes) = self.store.find(&keys);
        keys.truncate(num_found);
        let num_in_memory = scheduler.num_in_memory(request, now);
        // The last token of a prompt is always computed.
        let num_usable = (num_found * block).min(request.prompt.len() - 1);
        if num_usable < num_in_memory + LEAST_GAIN || num_found * block < min_tokens {
            let is_miss = num_found == 0 && num_in_memory < min_tokens;
            self.store.count(|counts| counts.num_misses += u64::from(is_miss));
            return None;
        }
        let computing = scheduler.prefill_time(num_usable - num_in_memory);
        if computing.is_some_and(|computing| computing <= takes) || self.reads.len() >= MOST_READS {
            self.store.count(|counts| counts.num_skipped += 1);
            return None;
        }
        let patience = computing.unwrap_or_else(|| (takes * PATIENCE).max(LEAST_PATIENCE));
        Some(Wanted { keys, patience })
    }

    fn start(&mut self, (id, request): (SequenceId, Request), Wanted { keys, patience }: Wanted, now: Instant) {
        if let Some(read) = self.reads.iter_mut().find(|read| read.keys.starts_with(&keys)) {
            return read.waiting.push((id, request));
        }
        let (number, ended, keys) = (self.num_reads, Arc::clone(&self.ended), Arc::<[BlockKey]>::from(keys));
        self.num_reads += 1;
        let is_wanted = Arc::new(AtomicBool::new(true));
        let done = Box::new(move |blocks| drop(lock(&ended).insert(number, blocks)));
        let (layout, is_still_wanted) = (Arc::clone(&self.layout), Arc::clone(&is_wanted));
        let tokens = request.prompt[..keys.len() * self.layout.block].into();
        let scope = request.prefix_scope.clone().unwrap_or_default();
        let waiting = vec![(id, request)];
        self.reads.push(PendingRead {
            number,
            scope,
            tokens,
            keys: Arc::clone(&keys),
            is_wanted,
            until: now + patience,
            waiting,
        });
        self.store.read(Read { keys, layout, is_wanted: is_still_wanted, done });
    }

    /// The reads that have ended or take too long, with their blocks.
    fn take_ended(&mut self, now: Instant) -> Vec<(PendingRead, ReadEnd)> {
        if self.reads.is_empty() {
            // What is left is of reads that took too long.
            lock(&self.ended).clear();
            return Vec::new();
        }
        let mut ended = std::mem::take(&mut *lock(&self.ended));
        let mut taken = Vec::new();
        for read in std::mem::take(&mut self.reads) {
            match ended.remove(&read.number) {
                Some(blocks) => taken.push((read, blocks)),
                None if read.until <= now => {
                    read.is_wanted.store(false, Ordering::Relaxed);
                    taken.push((read, Vec::new()));
                }
                None => self.reads.push(read),
            }
        }
        taken
    }

    /// Ends all reads. Returns the requests that waited.
    fn abandon(&mut self) -> Vec<(SequenceId, Request)> {
        let reads = std::mem::take(&mut self.reads);
        for read in &reads {
            read.is_wanted.store(false, Ordering::Relaxed);
        }
        reads.into_iter().flat_map(|read| read.waiting).collect()
    }

    /// The sequence and the block that are written next, with the keys up to that block.
    fn next_export(&mut self, scheduler: &mut Scheduler) -> Option<(SequenceId, Vec<BlockKey>)> {
        loop {
            let unsaved = scheduler.unsaved()?;
            if self.exporting.as_ref().is_none_or(|exporting| exporting.sequence != unsaved.sequence) {
                let is_whole = unsaved.num_reached <= self.most_positions;
                let tokens = if is_whole { &*unsaved.tokens } else { &[] };
                let keys = self.origin.keys(&unsaved.scope, tokens, self.layout.block);
                self.exporting = Some(Exporting { sequence: unsaved.sequence, keys, next: 0 });
            }
            let exporting = self.exporting.as_mut()?;
            if let Some(index) = self.store.first_missing(&exporting.keys).filter(|index| *index >= exporting.next) {
                return Some((unsaved.sequence, exporting.keys[..=index].to_vec()));
            }
            // All blocks are written, or one could not be written. The blocks after a missing block cannot be used.
            self.exporting = None;
            scheduler.saved();
        }
    }
}

/// A store does not read for a runner that is gone.
impl Drop for DiskTier {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl ModelRunner {
    /// Adds a request to the scheduler, or lets it wait for KV that is read from the disk.
    pub(super) fn schedule(&mut self, id: SequenceId, request: Request, now: Instant) {
        // A prompt that is pinned must be known to the scheduler, which checks all pins together.
        if let Some(disk) = self.disk.as_mut().filter(|_| request.pin.is_none())
            && let Some(wanted) = disk.wanted(&request, &self.scheduler, now)
        {
            return disk.start((id, request), wanted, now);
        }
        self.scheduler.add(id, request, now);
    }

    /// Brings KV that was read to the scheduler, and adds the requests that waited for it.
    pub(super) fn take_reads(&mut self, now: Instant) {
        let Some(disk) = &mut self.disk else { return };
        let mut ended = Vec::new();
        for (PendingRead { scope, tokens, mut waiting, .. }, blocks) in disk.take_ended(now) {
            waiting.retain(|(id, _)| self.rows.get(*id).is_some());
            if !blocks.is_empty() && !waiting.is_empty() {
                let sequence = SequenceId(FIRST_IMPORT + disk.num_imports);
                disk.num_imports += 1;
                let tokens = tokens[..blocks.len() * disk.layout.block].into();
                self.scheduler.import(&scope, ImportedPrefix { sequence, tokens, kv: Arc::new(blocks) });
            }
            ended.extend(waiting);
        }
        for read in &mut disk.reads {
            read.waiting.retain(|(id, _)| self.rows.get(*id).is_some());
            read.is_wanted.fetch_and(!read.waiting.is_empty(), Ordering::Relaxed);
        }
        disk.reads.retain(|read| !read.waiting.is_empty());
        for (id, request) in ended {
            self.go_on(id, request, now);
        }
    }

    /// Adds a request that has waited to the scheduler, unless it has ended. Meanwhile prompts may have been pinned, and readers
    /// have joined it.
    fn go_on(&mut self, id: SequenceId, request: Request, now: Instant) {
        let Some(urgency) = self.rows.get(id).map(Row::urgency) else { return };
        if let Err(refusal) = self.scheduler.check_pins(&request) {
            return self.fail(id, refused(refusal));
        }
        self.scheduler.add(id, request, now);
        self.scheduler.revise(id, urgency, now);
    }

    /// Requests that wait for the disk.
    pub(super) fn num_waiting_for_disk(&self) -> usize {
        let waiting = self.disk.iter().flat_map(DiskTier::waiting);
        waiting.filter(|id| self.rows.get(*id).is_some()).count()
    }

    /// Counts sequences of a plan that start with KV from the disk.
    pub(super) fn count_disk_hits(&self, plan: &Plan) {
        let Some(disk) = &self.disk else { return };
        let prefixes = plan.admit.iter().filter_map(|admission| admission.prefix);
        for prefix in prefixes.filter(|prefix| prefix.of.0 >= FIRST_IMPORT) {
            disk.store.count(|counts| {
                counts.num_hits += 1;
                counts.num_tokens_reused += prefix.num_positions as u64;
            });
        }
    }

    /// Ends all reads. Requests that waited start without their KV.
    pub(super) fn forget_disk(&mut self) {
        let now = self.shared.clock.now();
        for (id, request) in self.disk.as_mut().map(DiskTier::abandon).unwrap_or_default() {
            self.go_on(id, request, now);
        }
    }

    /// Drops the requests that wait for the disk, because their rows have failed.
    pub(super) fn drop_waiting(&mut self) {
        self.disk.as_mut().map(DiskTier::abandon);
    }

    /// Whether a step should not be submitted ahead, so that a block can be exported after the step that runs.
    pub(super) fn wants_gap(&mut self, now: Instant) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        disk.next_export.is_none_or(|at| at <= now)
            && disk.store.has_room()
            && disk.next_export(&mut self.scheduler).is_some()
    }

    /// Exports a block if the device is free, and says when the next one may follow. The store wakes the engine when it has room
    /// again.
    pub(super) fn save_blocks(&mut self) -> Need {
        let (now, is_busy) = (self.shared.clock.now(), !self.scheduler.is_empty());
        let Some(disk) = &mut self.disk else { return Need::Command };
        let later = disk.next_export.filter(|at| *at > now);
        // While requests run, another turn follows.
        if self.scheduler.num_in_flight() > 0 || is_busy && later.is_some() || !disk.store.has_room() {
            return Need::Command;
        }
        if disk.next_export(&mut self.scheduler).is_none() {
            return Need::Command;
        }
        if let Some(at) = later {
            return Need::Until(at);
        }
        self.export();
        let after = self.shared.clock.now();
        let pause = if is_busy { PAUSE_BUSY } else { PAUSE_IDLE };
        let next = after + after.saturating_duration_since(now) * pause;
        if let Some(disk) = &mut self.disk {
            disk.next_export = Some(next);
        }
        Need::Until(next)
    }

    /// Exports the blocks that are not written yet, as far as `until` allows. `waits` says whether to wait for the disk, which
    /// only an engine that ends may do.
    pub(in super::super) fn save_all(&mut self, until: Instant, waits: bool) {
        let is_early = |runner: &Self| runner.shared.clock.now() < until;
        while self.scheduler.num_in_flight() > 0 {
            if self.disk.is_none() || self.try_turn(false).is_err() {
                return;
            }
        }
        while let Some(disk) = self.disk.as_mut().filter(|disk| disk.store.is_writable()) {
            let has_room = disk.store.has_room() || waits && disk.store.wait_for_room(until);
            if !has_room || disk.next_export(&mut self.scheduler).is_none() || !is_early(self) {
                return;
            }
            self.export();
        }
    }

    /// Exports the next block and gives it to the store. After a failure, the rest of its sequence is not written.
    fn export(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let Some((sequence, keys)) = disk.next_export(&mut self.scheduler) else { return };
        let index = keys.len() - 1;
        let Model { executor, lease, account, .. } = &mut self.model;
        // A device that hangs here is noticed as in a step.
        account.watch.begin(self.shared.clock.now(), None);
        let exported = lease.lend(|| guarded(Code::BackendError, || executor.export_kv(sequence, index)));
        account.watch.end();
        let written = match exported {
            Ok(block) => disk.store.write(Write { keys: keys.into(), layout: Arc::clone(&disk.layout), block }),
            Err(error) => {
                tracing::warn!(target: "mlx_serving::engine", model = ?self.model.replica, %error, "KV was not exported");
                Written::Dropped
            }
        };
        match &mut disk.exporting {
            Some(exporting) if written == Written::Queued => exporting.next = index + 1,
            exporting => {
                *exporting = None;
                self.scheduler.saved();
            }
        }
    }
}
