//! Priority and deadline of a sequence. Several requests may read one sequence. It has the priority of the most urgent of them
//! and the deadline of the latest.

use std::time::Instant;

use crate::request::{Priority, Request};

/// Priority and deadline of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency {
    /// Absent when it has no deadline.
    pub deadline: Option<Instant>,
    /// The most urgent priority of its requests.
    pub priority: Priority,
}

impl Urgency {
    /// The urgency of one request.
    pub fn of(request: &Request) -> Self {
        Self { deadline: request.deadline, priority: request.priority }
    }

    /// The urgency of a sequence that both read.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let deadline = self.deadline.zip(other.deadline).map(|(one, other)| one.max(other));
        Self { deadline, priority: self.priority.min(other.priority) }
    }
}
