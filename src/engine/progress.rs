//! How far prompts have been read, for the readers that asked. A step's progress is reported after the step, at most every 50
//! ms for each row. A complete prompt is always reported, with the first token. Rows without such readers are not watched;
//! `runner` passes the reports on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::answers::ReaderId;
use crate::request::SequenceId;
use crate::scheduler::SampledToken;
use crate::scheduler::plan::{Feed, Plan};

/// The shortest time between two reports of a row: at most 20 a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// The rows whose prompts are being read and whose progress is reported.
#[derive(Debug, Default)]
pub(super) struct PromptProgress {
    watched: Vec<Watch>,
}

/// Progress of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) sequence: SequenceId,
    /// The prompt was read up to this position; `None` if it is complete.
    pub(super) position: Option<usize>,
    pub(super) readers: Vec<ReaderId>,
}

/// A row whose prompt is being read.
#[derive(Debug)]
struct Watch {
    sequence: SequenceId,
    readers: Vec<ReaderId>,
    /// The steps in flight, oldest first, and the position up to which each reads.
    in_flight: VecDeque<(u64, usize)>,
    /// The furthest position that was reported. A row that is recomputed reads earlier positions again.
    reported: usize,
    reported_at: Option<Instant>,
}

impl PromptProgress {
    /// Adds a reader of a row whose prompt is not complete.
    pub(super) fn watch(&mut self, sequence: SequenceId, reader: ReaderId) {
        match self.watched.iter_mut().find(|watch| watch.sequence == sequence) {
            Some(watch) => watch.readers.push(reader),
            None => self.watched.push(Watch::new(sequence, reader)),
        }
    }

    /// Forgets a row that ended.
    pub(super) fn forget(&mut self, sequence: SequenceId) {
        self.watched.retain(|watch| watch.sequence != sequence);
    }

    /// Records what a submitted step reads.
    pub(super) fn submitted(&mut self, plan: &Plan) {
        self.watched.iter_mut().for_each(|watch| watch.submitted(plan));
    }

    /// The reports that are due after step `step`. The prompts of the rows that sampled a token are complete.
    pub(super) fn collected(&mut self, step: u64, sampled: &[SampledToken], now: Instant) -> Vec<Report> {
        let mut reports = Vec::new();
        self.watched.retain_mut(|watch| {
            let sequence = watch.sequence;
            let is_complete = sampled.iter().any(|token| token.sequence == sequence);
            if is_complete {
                let readers = std::mem::take(&mut watch.readers);
                reports.push(Report { sequence, position: None, readers });
            } else if let position @ Some(_) = watch.collected(step, now) {
                reports.push(Report { sequence, position, readers: watch.readers.clone() });
            }
            !is_complete
        });
        reports
    }
}

impl Watch {
    fn new(sequence: SequenceId, reader: ReaderId) -> Self {
        Self { sequence, readers: vec![reader], in_flight: VecDeque::new(), reported: 0, reported_at: None }
    }

    fn submitted(&mut self, plan: &Plan) {
        let row = plan.rows.iter().find(|row| row.sequence == self.sequence);
        let end = row.filter(|row| matches!(row.feed, Feed::Prompt { .. })).map(|row| row.start + row.len());
        self.in_flight.extend(end.map(|end| (plan.step, end)));
    }

    /// The position up to which the steps until `step` read, if a report is due. The entries of lost steps have no effect,
    /// because later steps read the same positions again.
    fn collected(&mut self, step: u64, now: Instant) -> Option<usize> {
        let mut read = None;
        while let Some((_, end)) = self.in_flight.pop_front_if(|(submitted, _)| *submitted <= step) {
            read = Some(end);
        }
        let is_due = self.reported_at.is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        let read = read.filter(|read| is_due && *read > self.reported)?;
        (self.reported, self.reported_at) = (read, Some(now));
        Some(read)
    }
}
