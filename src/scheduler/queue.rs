//! Decides which request is next. A higher priority goes before a lower one. Within a priority, requests that ran before go
//! first, in the order of arrival; then tenants take turns by [`Shares`]. A priority whose oldest request has waited for
//! `ageing` is owed a part of the tokens that go to higher priorities, so that no request starves (deficit round robin:
//! Shreedhar and Varghese, 1995). `docs/scheduler.md` has a formula of the longest wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::request::{Priority, SequenceId};

use super::sequence::{Charge, Promotion, Sequence};
use super::shares::{Place, Shares, Tag, Used};
use super::urgency::Urgency;

/// An aged priority is owed one token for this many tokens that go to higher priorities.
const OWED_PART: i64 = 4;
/// The priorities of the classes, in order.
const PRIORITIES: [Priority; 3] = [Priority::Urgent, Priority::Default, Priority::Background];

#[derive(Debug)]
pub(super) struct Queue {
    ageing: Duration,
    /// Requests that wait and hold no KV.
    waiting: HashMap<SequenceId, Sequence>,
    classes: [Class; 3],
    deadlines: BTreeSet<(Instant, SequenceId)>,
    /// Since when at least one request waits without KV.
    since: Option<Instant>,
}

/// The requests of one priority.
#[derive(Debug, Default)]
struct Class {
    /// Requests that ran before and lost their row or their KV.
    begun: BTreeSet<Place>,
    /// New requests.
    fresh: Shares,
    /// All requests of the class, with the number of tokens that they are still expected to need.
    all: BTreeMap<Place, Tag>,
    /// Whether the oldest request has waited for `ageing`.
    is_aged: bool,
    /// Tokens that went to higher priorities, less those for which the class got its part. Negative if it got more.
    passed: i64,
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) id: SequenceId,
    /// Its rank: a request that runs on tokens that its priority is owed ranks as urgent.
    pub(super) rank: Priority,
    is_promoted: bool,
    class: usize,
    place: Place,
    has_begun: bool,
}

/// A request that was removed from the queue to run.
#[derive(Debug)]
pub(super) enum Turn {
    /// A request without KV.
    Begin(Box<Sequence>),
    /// A request that was set aside with its KV.
    GoOn(SequenceId, Option<Promotion>),
}

impl Queue {
    pub(super) fn new(ageing: Duration) -> Self {
        Self { ageing, waiting: HashMap::new(), classes: Default::default(), deadlines: BTreeSet::new(), since: None }
    }

    /// Number of requests that wait and hold no KV.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when at least one request waits without KV.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether a request of urgent priority waits.
    pub(super) fn has_urgent(&self) -> bool {
        !self.classes[Priority::Urgent as usize].all.is_empty()
    }

    /// Whether a request waits that ran before.
    pub(super) fn has_begun(&self) -> bool {
        self.classes.iter().any(|class| !class.begun.is_empty())
    }

    /// Mean tokens of the answers of the sequence's tenant at its priority, once one has ended.
    pub(super) fn mean_answer(&self, sequence: &Sequence) -> Option<f64> {
        self.classes[sequence.priority as usize].fresh.mean_answer(&sequence.tenant)
    }

    /// Adds a request that holds no KV. A request that was charged before continues before new requests.
    pub(super) fn push(&mut self, mut sequence: Sequence, now: Instant) {
        self.since.get_or_insert(now);
        self.repay(&mut sequence);
        self.enter(&sequence);
        self.deadlines.extend(sequence.deadline.map(|at| (at, sequence.id)));
        self.waiting.insert(sequence.id, sequence);
    }

    /// Adds a request that keeps its KV and stays among the running sequences.
    pub(super) fn set_aside(&mut self, sequence: &mut Sequence) {
        sequence.is_aside = true;
        self.repay(sequence);
        self.enter(sequence);
    }

    /// Removes a request that was set aside, because it is parked, has another urgency, or ended.
    pub(super) fn forget_aside(&mut self, sequence: &mut Sequence) {
        if std::mem::take(&mut sequence.is_aside) {
            self.leave(sequence);
        }
    }

    /// Changes the urgency of a request. It keeps its place among the requests of its tenant.
    pub(super) fn revise(&mut self, id: SequenceId, urgency: Urgency, now: Instant) {
        if let Some(mut sequence) = self.extract(id) {
            sequence.revise(urgency);
            self.push(sequence, now);
        }
    }

    /// Updates which priorities have aged. A priority that has not aged is owed nothing.
    pub(super) fn age(&mut self, now: Instant) {
        for class in &mut self.classes[1..] {
            let oldest = class.all.first_key_value().map(|(&(arrived, _), _)| arrived);
            class.is_aged = oldest.is_some_and(|arrived| now.saturating_duration_since(arrived) >= self.ageing);
            if !class.is_aged {
                class.passed = class.passed.min(0);
            }
        }
    }

    /// The next request.
    pub(super) fn next(&self) -> Option<Next> {
        let mut classes = self.classes.iter().zip(PRIORITIES).filter(|(class, _)| !class.all.is_empty());
        let first = classes.next()?;
        let owed = classes.find(|(class, _)| class.has_turn(&self.waiting));
        let rank = owed.map_or(first.1, |_| Priority::Urgent);
        let (class, priority) = owed.unwrap_or(first);
        let (place, has_begun) = class.next(&self.waiting)?;
        Some(Next { id: place.1, rank, is_promoted: owed.is_some(), class: priority as usize, place, has_begun })
    }

    /// The next request, if it holds no KV.
    pub(super) fn peek(&self) -> Option<&Sequence> {
        self.waiting.get(&self.next()?.id)
    }

    /// Removes and returns the next request, and charges its tenant and its priority.
    pub(super) fn pop(&mut self) -> Option<Turn> {
        let Next { id, is_promoted, class, place, has_begun, .. } = self.next()?;
        let cost = self.classes[class].all.get(&place).copied().unwrap_or_default();
        for lower in self.classes[class + 1..].iter_mut().filter(|lower| lower.is_aged) {
            lower.passed += tokens(cost);
        }
        if is_promoted {
            self.classes[class].passed -= tokens(cost) * OWED_PART;
        }
        let promotion = is_promoted.then_some(Promotion { class, cost, num_used_before: 0 });
        let Some(sequence) = self.waiting.get_mut(&id) else {
            self.classes[class].leave(place);
            return Some(Turn::GoOn(id, promotion));
        };
        sequence.promote(promotion);
        if !has_begun {
            self.classes[class].fresh.charge(&sequence.tenant, place, cost);
            sequence.charge = Some(Charge { class, tokens: cost });
        }
        self.remove(id).map(|sequence| Turn::Begin(Box::new(sequence)))
    }

    /// Settles a request that ended: its tenant is charged the tokens that it used, and so is its priority if it was promoted.
    pub(super) fn settle(&mut self, sequence: &mut Sequence) {
        self.forget_aside(sequence);
        self.repay(sequence);
        if let Some(Charge { class, tokens }) = sequence.charge.take() {
            let used = Used { tokens: sequence.num_used(), num_answer: sequence.num_read() };
            self.classes[class].fresh.settle(&sequence.tenant, tokens, used);
        }
    }

    /// Removes a request that holds no KV.
    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let sequence = self.extract(id);
        if self.waiting.is_empty() {
            self.since = None;
        }
        sequence
    }

    /// A request that holds no KV.
    pub(super) fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.waiting.get(&id)
    }

    /// The requests that hold no KV, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.values()
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.waiting.values_mut()
    }

    /// The earliest deadline of the requests that hold no KV.
    pub(super) fn first_deadline(&self) -> Option<(Instant, SequenceId)> {
        self.deadlines.first().copied()
    }

    #[cfg(test)]
    pub(super) fn num_accounts(&self) -> usize {
        self.classes.iter().map(|class| class.fresh.num_accounts()).sum()
    }

    /// Removes a request, but does not reset `since`: the request may be added again.
    fn extract(&mut self, id: SequenceId) -> Option<Sequence> {
        let sequence = self.waiting.remove(&id)?;
        self.leave(&sequence);
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(sequence)
    }

    fn enter(&mut self, sequence: &Sequence) {
        let (class, place) = (&mut self.classes[sequence.priority as usize], sequence.place());
        class.all.insert(place, sequence.expected());
        if sequence.charge.is_some() {
            class.begun.insert(place);
        } else {
            class.fresh.insert(&sequence.tenant, place);
        }
    }

    fn leave(&mut self, sequence: &Sequence) {
        let (class, place) = (&mut self.classes[sequence.priority as usize], sequence.place());
        if !class.leave(place) {
            class.fresh.remove(&sequence.tenant, place);
        }
    }

    /// Replaces the estimated cost of a promoted request with the tokens that it used, and ends the promotion.
    fn repay(&mut self, sequence: &mut Sequence) {
        if let Some(Promotion { class, cost, num_used_before }) = sequence.promotion.take() {
            let used = sequence.num_used().saturating_sub(num_used_before);
            self.classes[class].passed += (tokens(cost) - tokens(used)) * OWED_PART;
        }
    }
}

impl Class {
    /// The first request, and whether it ran before.
    fn next(&self, waiting: &HashMap<SequenceId, Sequence>) -> Option<(Place, bool)> {
        let fresh = || Some((waiting.get(&self.fresh.next()?)?.place(), false));
        self.begun.first().map(|&place| (place, true)).or_else(fresh)
    }

    /// Whether the class is owed at least the tokens that its first request is expected to need.
    fn has_turn(&self, waiting: &HashMap<SequenceId, Sequence>) -> bool {
        let cost = || self.all.get(&self.next(waiting)?.0).copied();
        self.is_aged && self.passed > 0 && cost().is_some_and(|cost| self.passed >= tokens(cost) * OWED_PART)
    }

    /// Removes a request. Returns whether it ran before.
    fn leave(&mut self, place: Place) -> bool {
        self.all.remove(&place);
        self.begun.remove(&place)
    }
}

/// Tokens of one request, limited so that sums do not overflow.
fn tokens(tag: Tag) -> i64 {
    i64::from(u32::try_from(tag).unwrap_or(u32::MAX))
}
