//! Who waits, and who is next. Three classes of priority; within each, tenants get equal shares of what is served
//! (self-clocked fair queueing: Golestani, 1994), and a request that has waited long enough rises by one class. Whatever
//! arrives after a request, it is served after finitely many others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::request::{Priority, SequenceId};

use super::sequence::Sequence;
use super::wish::Wish;

/// Virtual time, in tokens: how many each tenant with somebody waiting was given, had all been served at once.
pub(super) type Tag = u64;

#[derive(Debug)]
pub(super) struct Queue {
    ageing: Duration,
    /// Everybody who waits, with the class it is in.
    waiting: HashMap<SequenceId, (usize, Sequence)>,
    classes: [Class; 3],
    deadlines: BTreeSet<(Instant, SequenceId)>,
    /// Those that were asked for urgently.
    num_urgent: usize,
    /// Since when there is somebody.
    since: Option<Instant>,
}

/// Those of one priority, risen ones included.
#[derive(Debug, Default)]
struct Class {
    /// Those who have somebody waiting.
    tenants: HashMap<Option<Arc<str>>, Line>,
    /// The first of each tenant, by when its service would end.
    heads: BTreeSet<(Tag, SequenceId)>,
    /// When each of them rises.
    rises: BTreeSet<(Instant, SequenceId)>,
    /// When the service of who was taken out last would have ended.
    virtual_time: Tag,
}

/// Those of one tenant. Only the first has a turn: who leaves from behind it has cost its tenant nothing.
#[derive(Debug)]
struct Line {
    /// With what each is to be charged, in the order of arrival.
    waiting: BTreeMap<(Instant, SequenceId), Tag>,
    /// When the service of the first one would begin.
    begins: Tag,
}

impl Queue {
    pub(super) fn new(ageing: Duration) -> Self {
        Self {
            ageing,
            waiting: HashMap::new(),
            classes: Default::default(),
            deadlines: BTreeSet::new(),
            num_urgent: 0,
            since: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when there has been somebody.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Adds a sequence. One that was taken out by [`pop`](Self::pop) and is given back has been charged: it keeps its turn.
    pub(super) fn push(&mut self, sequence: Sequence, now: Instant) {
        let id = sequence.id;
        self.since.get_or_insert(now);
        self.num_urgent += usize::from(sequence.priority == Priority::Urgent);
        self.deadlines.extend(sequence.deadline.map(|at| (at, id)));
        let class = self.class_at(&sequence, now);
        self.classes[class].rises.extend((class > 0).then(|| (self.rises_at(&sequence, class), id)));
        self.classes[class].edit(sequence.tenant.as_ref(), |line| {
            line.waiting.insert((sequence.arrived, id), sequence.charge);
        });
        self.waiting.insert(id, (class, sequence));
    }

    /// Changes what is wanted of a sequence. It keeps its turn among those of its tenant in the class it comes to be in.
    pub(super) fn revise(&mut self, id: SequenceId, wish: Wish, now: Instant) {
        if let Some(mut sequence) = self.extract(id) {
            sequence.revise(wish);
            self.push(sequence, now);
        }
    }

    /// Lets those rise who have waited long enough.
    pub(super) fn age(&mut self, now: Instant) {
        for class in 1..self.classes.len() {
            while let Some(&(at, id)) = self.classes[class].rises.first()
                && at <= now
                && let Some(sequence) = self.extract(id)
            {
                self.push(sequence, now);
            }
        }
    }

    /// Who is next.
    pub(super) fn peek(&self) -> Option<&Sequence> {
        let (_, id) = self.classes.iter().find_map(|class| class.heads.first())?;
        self.waiting.get(id).map(|(_, sequence)| sequence)
    }

    /// Whether somebody was asked for urgently. Who has risen that far has waited long, and can wait for company.
    pub(super) fn has_urgent(&self) -> bool {
        self.num_urgent > 0
    }

    /// Takes out who is next, with whom its tenant is charged.
    pub(super) fn pop(&mut self) -> Option<Sequence> {
        let class = self.classes.iter_mut().find(|class| !class.heads.is_empty())?;
        let &(ends, id) = class.heads.first()?;
        class.virtual_time = class.virtual_time.max(ends);
        let (_, sequence) = self.waiting.get_mut(&id)?;
        sequence.charge = 0;
        class.edit(sequence.tenant.as_ref(), Line::charge_first);
        self.remove(id)
    }

    /// Takes a sequence out, wherever it is.
    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let sequence = self.extract(id);
        if self.waiting.is_empty() {
            self.since = None;
        }
        sequence
    }

    /// The earliest deadline of those who wait.
    pub(super) fn first_deadline(&self) -> Option<(Instant, SequenceId)> {
        self.deadlines.first().copied()
    }

    /// Takes a sequence out, perhaps to be put in again.
    fn extract(&mut self, id: SequenceId) -> Option<Sequence> {
        let (class, sequence) = self.waiting.remove(&id)?;
        self.num_urgent -= usize::from(sequence.priority == Priority::Urgent);
        self.classes[class].rises.remove(&(self.rises_at(&sequence, class), id));
        self.classes[class].edit(sequence.tenant.as_ref(), |line| {
            line.waiting.remove(&(sequence.arrived, id));
        });
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(sequence)
    }

    /// The class that its priority and its age give a sequence.
    fn class_at(&self, sequence: &Sequence, now: Instant) -> usize {
        let stays = |class: &usize| *class == 0 || self.rises_at(sequence, *class) > now;
        (0..=sequence.priority as usize).rev().find(stays).unwrap_or(0)
    }

    /// When a sequence leaves a class for the next higher one.
    fn rises_at(&self, sequence: &Sequence, class: usize) -> Instant {
        let num_rises = u32::try_from((sequence.priority as usize).saturating_sub(class) + 1).unwrap_or(u32::MAX);
        let wait = self.ageing.saturating_mul(num_rises);
        sequence.arrived.checked_add(wait).unwrap_or(sequence.arrived + Duration::from_secs(u64::from(u32::MAX)))
    }
}

impl Class {
    /// Changes the line of a tenant, whose first one has its turn afterwards. Who had nobody waiting begins now.
    fn edit(&mut self, tenant: Option<&Arc<str>>, change: impl FnOnce(&mut Line)) {
        let (tenant, begins) = (tenant.cloned(), self.virtual_time);
        let line = self.tenants.entry(tenant.clone()).or_insert_with(|| Line { waiting: BTreeMap::new(), begins });
        let before = line.head();
        change(line);
        let head = line.head();
        if head.is_none() {
            self.tenants.remove(&tenant);
        }
        if let Some(before) = before.filter(|_| before != head) {
            self.heads.remove(&before);
        }
        self.heads.extend(head);
    }
}

impl Line {
    /// The first one, and when its service would end.
    fn head(&self) -> Option<(Tag, SequenceId)> {
        self.waiting.first_key_value().map(|(&(_, id), charge)| (self.begins + charge, id))
    }

    /// Charges for the first one: who comes after it begins where it ends.
    fn charge_first(&mut self) {
        if let Some(mut first) = self.waiting.first_entry() {
            self.begins += std::mem::take(first.get_mut());
        }
    }
}
