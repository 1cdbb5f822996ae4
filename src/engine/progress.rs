//! How far prompts have been read, for the readers who want to know. What a step reads is told once the step is done, and
//! at most so often; that a prompt is read whole is told with the first token, always and before it. Rows without such a
//! reader are not looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::answers::ReaderId;
use crate::request::SequenceId;
use crate::scheduler::Drawn;
use crate::scheduler::plan::{Feed, Plan};

use super::runner::ModelRunner;

/// Between two reports of a row: at most twenty a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// A row whose prompt is being read, and somebody wants to know how far.
#[derive(Debug)]
pub(super) struct Watch {
    sequence: SequenceId,
    readers: Vec<ReaderId>,
    /// Steps in flight, oldest first, and up to which position each reads.
    in_flight: VecDeque<(u64, usize)>,
    /// The furthest position that was told. One that gave its memory back reads again what it had read.
    reported: usize,
    reported_at: Option<Instant>,
}

impl Watch {
    fn of(sequence: SequenceId) -> Self {
        Self { sequence, readers: Vec::new(), in_flight: VecDeque::new(), reported: 0, reported_at: None }
    }

    /// Notes what a step is going to read.
    pub(super) fn planned(&mut self, plan: &Plan) {
        let row = plan.rows.iter().find(|row| row.sequence == self.sequence);
        let end = row.filter(|row| matches!(row.feed, Feed::Prompt { .. })).map(|row| row.start + row.len());
        self.in_flight.extend(end.map(|end| (plan.step, end)));
    }

    /// How far the steps read that are done by now, where that is to be told. Of steps that were lost only their successors
    /// count.
    fn done(&mut self, step: u64, now: Instant) -> Option<usize> {
        let mut read = None;
        while let Some((_, end)) = self.in_flight.pop_front_if(|(planned, _)| *planned <= step) {
            read = Some(end);
        }
        let is_due = self.reported_at.is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        let read = read.filter(|read| is_due && *read > self.reported)?;
        (self.reported, self.reported_at) = (read, Some(now));
        Some(read)
    }
}

impl ModelRunner {
    /// A reader of a row is told how far its prompt has been read, if it wants to know.
    pub(super) fn watch(&mut self, id: SequenceId, reader: ReaderId) {
        let Some(row) = self.rows.get(id).filter(|_| self.shared.readers.wants_progress(reader)) else { return };
        if row.log.num_tokens() > 0 {
            return self.shared.readers.progress(reader, row.prompt_there());
        }
        let known = self.watched.iter().position(|watch| watch.sequence == id);
        let index = known.unwrap_or_else(|| {
            self.watched.push(Watch::of(id));
            self.watched.len() - 1
        });
        self.watched[index].readers.push(reader);
    }

    /// Tells of the prompts that a step has brought further; `drawn` are those that are read whole.
    pub(super) fn report_progress(&mut self, step: u64, drawn: &[Drawn], now: Instant) {
        let Self { watched, rows, shared, notified, .. } = self;
        watched.retain_mut(|watch| {
            let Some(row) = rows.get(watch.sequence) else { return false };
            let is_whole = drawn.iter().any(|drawn| drawn.sequence == watch.sequence);
            let read = watch.done(step, now).map(|read| row.prompt_read_to(read));
            if let Some(progress) = is_whole.then(|| row.prompt_read()).or(read) {
                watch.readers.iter().for_each(|&reader| shared.readers.progress(reader, progress));
                notified.extend(&watch.readers);
            }
            !is_whole
        });
    }
}
