//! When those who wait for a sequence want it. Several may wait for one: then it is wanted as soon as the most urgent of
//! them wants it, and for as long as the most patient one does.

use std::time::Instant;

use crate::request::{Priority, Request};

/// How urgent a sequence is, and until when anybody wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency {
    /// The moment after which nobody has a use for it; absent where that never comes.
    pub deadline: Option<Instant>,
    /// Who goes first.
    pub priority: Priority,
}

impl Urgency {
    /// What a request says.
    pub fn of(request: &Request) -> Self {
        Self { deadline: request.deadline, priority: request.priority }
    }

    /// What two want together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let deadline = self.deadline.zip(other.deadline).map(|(one, other)| one.max(other));
        Self { deadline, priority: self.priority.min(other.priority) }
    }
}
