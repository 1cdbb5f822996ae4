//! Who waits, and who is next. Three classes of priority; within each, tenants take turns by what they were given
//! (self-clocked fair queueing: Golestani, 1994), and a request that has waited long enough rises by one class. Whatever
//! arrives after a request, it is served after finitely many others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::request::SequenceId;

use super::sequence::Sequence;
use super::wish::Wish;

/// Virtual time, in tokens.
pub(super) type Tag = u64;

/// Place among those of a class.
type Place = (Tag, SequenceId);

#[derive(Debug)]
pub(super) struct Queue {
    ageing: Duration,
    classes: [Class; 3],
    /// Where a waiting sequence is.
    index: HashMap<SequenceId, (usize, Place)>,
    deadlines: BTreeSet<(Instant, SequenceId)>,
    /// Those who have somebody waiting.
    tenants: HashMap<Option<Arc<str>>, Tenant>,
    virtual_time: Tag,
    /// Since when there is somebody.
    since: Option<Instant>,
}

/// Those of one priority, risen ones included.
#[derive(Debug, Default)]
struct Class {
    waiting: BTreeMap<Place, Sequence>,
    /// When each of them rises.
    rises: BTreeSet<(Instant, SequenceId)>,
}

#[derive(Debug, Default)]
struct Tenant {
    /// When its next sequence is due.
    due: Tag,
    num_waiting: usize,
}

impl Queue {
    pub(super) fn new(ageing: Duration) -> Self {
        Self {
            ageing,
            classes: Default::default(),
            index: HashMap::new(),
            deadlines: BTreeSet::new(),
            tenants: HashMap::new(),
            virtual_time: 0,
            since: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SequenceId> {
        self.index.keys().copied()
    }

    /// Since when there has been somebody.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Adds a sequence behind those of its tenant, who is charged with what it is expected to take.
    pub(super) fn push(&mut self, mut sequence: Sequence, charge: Tag, now: Instant) {
        let due = self.tenants.get(&sequence.tenant).map_or(0, |tenant| tenant.due);
        sequence.tag = due.max(self.virtual_time);
        sequence.charge = charge.max(1);
        self.insert(sequence, now);
    }

    /// Gives back a sequence that was taken out. It keeps its turn.
    pub(super) fn give_back(&mut self, sequence: Sequence, now: Instant) {
        self.insert(sequence, now);
    }

    /// Changes what is wanted of a sequence. It keeps its turn among those of the class it comes to be in.
    pub(super) fn revise(&mut self, id: SequenceId, wish: Wish, now: Instant) {
        let since = self.since;
        if let Some(mut sequence) = self.remove(id) {
            sequence.revise(wish);
            self.insert(sequence, now);
            self.since = since;
        }
    }

    /// Lets those rise who have waited long enough.
    pub(super) fn age(&mut self, now: Instant) {
        for class in 1..self.classes.len() {
            while let Some(&(at, id)) = self.classes[class].rises.first()
                && at <= now
            {
                self.rise(id, now);
            }
        }
    }

    /// Who is next.
    pub(super) fn peek(&self) -> Option<&Sequence> {
        self.classes.iter().find_map(|class| class.waiting.first_key_value()).map(|(_, sequence)| sequence)
    }

    /// Whether somebody is urgent, from the beginning or by age.
    pub(super) fn has_urgent(&self) -> bool {
        !self.classes[0].waiting.is_empty()
    }

    /// Takes out who is next.
    pub(super) fn pop(&mut self) -> Option<Sequence> {
        let sequence = self.peek().map(|next| next.id).and_then(|id| self.remove(id))?;
        self.virtual_time = self.virtual_time.max(sequence.tag + sequence.charge);
        Some(sequence)
    }

    /// Takes a sequence out, wherever it is.
    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let (class, place) = self.index.remove(&id)?;
        let sequence = self.classes[class].waiting.remove(&place)?;
        self.classes[class].rises.remove(&(self.rises_at(&sequence, class), id));
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.leave(&sequence);
        Some(sequence)
    }

    /// The earliest deadline of those who wait.
    pub(super) fn first_deadline(&self) -> Option<(Instant, SequenceId)> {
        self.deadlines.first().copied()
    }

    fn insert(&mut self, sequence: Sequence, now: Instant) {
        let id = sequence.id;
        let tenant = self.tenants.entry(sequence.tenant.clone()).or_default();
        tenant.due = tenant.due.max(sequence.tag + sequence.charge);
        tenant.num_waiting += 1;
        self.since.get_or_insert(now);
        self.deadlines.extend(sequence.deadline.map(|at| (at, id)));
        self.place(sequence, now);
    }

    /// Puts a sequence into the class that its priority and its age give it.
    fn place(&mut self, sequence: Sequence, now: Instant) {
        let mut class = sequence.priority as usize;
        while class > 0 && self.rises_at(&sequence, class) <= now {
            class -= 1;
        }
        let place = (sequence.tag, sequence.id);
        self.index.insert(sequence.id, (class, place));
        self.classes[class].rises.insert((self.rises_at(&sequence, class), sequence.id));
        self.classes[class].waiting.insert(place, sequence);
    }

    fn rise(&mut self, id: SequenceId, now: Instant) {
        let Some((class, place)) = self.index.remove(&id) else { return };
        if let Some(sequence) = self.classes[class].waiting.remove(&place) {
            self.classes[class].rises.remove(&(self.rises_at(&sequence, class), id));
            self.place(sequence, now);
        }
    }

    /// When a sequence leaves a class for the next higher one.
    fn rises_at(&self, sequence: &Sequence, class: usize) -> Instant {
        let num_rises = u32::try_from((sequence.priority as usize).saturating_sub(class) + 1).unwrap_or(u32::MAX);
        let wait = self.ageing.saturating_mul(num_rises);
        sequence.arrived.checked_add(wait).unwrap_or(sequence.arrived + Duration::from_secs(u64::from(u32::MAX)))
    }

    fn leave(&mut self, sequence: &Sequence) {
        if let Some(tenant) = self.tenants.get_mut(&sequence.tenant) {
            tenant.num_waiting -= 1;
            // What it was given is in the virtual time; who leaves unserved is not charged.
            if tenant.num_waiting == 0 {
                self.tenants.remove(&sequence.tenant);
            }
        }
        if self.index.is_empty() {
            self.since = None;
        }
    }
}
