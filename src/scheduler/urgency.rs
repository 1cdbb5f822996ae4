//! Priority and deadline of a sequence. Several requests may read one sequence. The sequence has the highest priority and the
//! latest deadline of these requests.

use std::time::Instant;

use crate::request::{Priority, Request};

/// Priority and deadline of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency {
    /// The latest deadline of the requests; `None` if a request has no deadline.
    pub deadline: Option<Instant>,
    /// The highest priority of the requests.
    pub priority: Priority,
}

impl Urgency {
    /// The urgency of one request.
    pub fn of(request: &Request) -> Self {
        Self { deadline: request.deadline, priority: request.priority }
    }

    /// The urgency of a sequence that the requests of both urgencies read.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let deadline = self.deadline.zip(other.deadline).map(|(one, other)| one.max(other));
        Self { deadline, priority: self.priority.min(other.priority) }
    }
}
