//! What models on one device must know of each other: how much each of them wants of it, and how fast its streams are.

use std::time::Duration;

use crate::request::Priority;

use super::{Scheduler, Sequence};

/// What a priority weighs by that of the next lower one.
const WEIGHT_OF_PRIORITY: u32 = 4;

impl Scheduler {
    /// The share of the device's time that the model has a claim to, by that of others: so many tenants have rows of its most
    /// urgent priority, and that priority counts four times the next lower one.
    pub fn weight(&self) -> u32 {
        let next = self.queue.next().map(|next| next.rank);
        let Some(most_urgent) = self.active().map(Sequence::rank).chain(next).min() else { return 1 };
        let rows = || self.active().filter(|sequence| sequence.rank() == most_urgent);
        let is_first = |(index, row): &(usize, &Sequence)| !rows().take(*index).any(|other| other.tenant == row.tenant);
        let num_tenants = u32::try_from(rows().enumerate().filter(is_first).count()).unwrap_or(u32::MAX);
        let num_lower = Priority::Background as u32 - most_urgent as u32;
        num_tenants.max(1).saturating_mul(WEIGHT_OF_PRIORITY.pow(num_lower))
    }

    /// What a step of its streams takes, while it has any; zero before the first was measured.
    pub fn stream_step(&self) -> Option<Duration> {
        let num_rows = self.active().filter(|sequence| sequence.decodes_next()).count();
        (num_rows > 0).then(|| self.batch_limit.step_time(num_rows).unwrap_or_default())
    }

    /// Says what a step of other models' streams takes, while there are any: prompts are read in chunks that suit them.
    pub fn set_streams_beside(&mut self, step: Option<Duration>) {
        self.streams_beside = step;
    }
}
