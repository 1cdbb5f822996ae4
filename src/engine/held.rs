//! Requests for a model that is not loaded. They are accepted at once, with permits and readers like any other request, and held
//! until their model is loaded. So limits, deadlines and cancellation apply meanwhile, and their times count from the call. A
//! held request is submitted to a model, or ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::answers::{AnswerLog, Close, Finished, ReaderId};
use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::request::{RequestId, SequenceId};

use super::Engine;
use super::asked::Asked;
use super::draft::Draft;
use super::ids::ModelKey;
use super::permit::Permit;
use super::refusal::refused_text;
use super::ticket::{Coming, Ticket};

/// All held requests, by their first reader.
#[derive(Default)]
pub(super) struct HeldRequests(Mutex<State>);

#[derive(Default)]
struct State {
    requests: HashMap<ReaderId, Held>,
    /// The first reader of the request of each reader.
    firsts: HashMap<ReaderId, ReaderId>,
}

/// One held request.
struct Held {
    draft: Draft,
    places: Vec<Place>,
}

/// One wanted answer of a held request.
struct Place {
    sequence: SequenceId,
    asked: Asked,
    log: Arc<AnswerLog>,
    permit: Permit,
    /// How its caller has left, if it has left.
    wanted: Option<Leaving>,
}

/// How a caller leaves a held request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The answer ends without tokens.
    Cancel,
    /// Nothing more is delivered.
    Release,
}

impl HeldRequests {
    fn add(&self, held: Held) {
        let Some(first) = held.places.first().map(|place| place.asked.reader) else { return };
        let mut state = lock(&self.0);
        state.firsts.extend(held.places.iter().map(|place| (place.asked.reader, first)));
        state.requests.insert(first, held);
    }

    fn take(&self, first: ReaderId) -> Option<Held> {
        lock(&self.0).take(first)
    }

    /// Notes that a reader leaves. Returns the request once all its readers have left.
    fn leave(&self, reader: ReaderId, how: Leaving) -> Option<Held> {
        let mut state = lock(&self.0);
        let first = *state.firsts.get(&reader)?;
        let places = &mut state.requests.get_mut(&first)?.places;
        for place in places.iter_mut().filter(|place| place.asked.reader == reader) {
            place.wanted = Some(how);
        }
        let have_all_left = places.iter().all(|place| place.wanted.is_some());
        if have_all_left { state.take(first) } else { None }
    }
}

impl State {
    fn take(&mut self, first: ReaderId) -> Option<Held> {
        let held = self.requests.remove(&first)?;
        for place in &held.places {
            self.firsts.remove(&place.asked.reader);
        }
        Some(held)
    }
}

impl Engine {
    /// Accepts a request for the model with an id, which is not loaded, and returns one reader for each of its answers, in order.
    /// The first one names the request in [`submit_held`](Self::submit_held) and [`fail_held`](Self::fail_held), one of which
    /// must follow.
    ///
    /// # Errors
    /// `EngineClosed`, and `Overloaded` with a retry hint.
    pub fn hold(&self, model_id: &str, draft: Draft) -> Result<Vec<ReaderId>> {
        self.check_open()?;
        let (label, at) = (self.shared.stats.label(model_id), self.shared.clock.now());
        let permits = self.take_permits(&draft, label, None)?;
        let names = self.names(&draft, permits.len());
        let place = |((sequence, id), permit)| {
            let log = Arc::new(AnswerLog::new(id));
            let asked = Asked { reader: self.shared.readers.add(Arc::clone(&log), at), label, at };
            Place { sequence, asked, log, permit, wanted: None }
        };
        let places: Vec<_> = names.into_iter().zip(permits).map(place).collect();
        let readers: Vec<_> = places.iter().map(|place| place.asked.reader).collect();
        self.want_progress(&draft, &readers);
        self.held.add(Held { draft, places });
        Ok(readers)
    }

    /// Submits a held request to a model. Without effect if the request has ended. An error of the model ends the request.
    pub fn submit_held(self: &Arc<Self>, first: ReaderId, model: ModelKey) {
        let Some(Held { mut draft, places }) = self.held.take(first) else { return };
        let rules = match self.check_open().and_then(|()| self.rules(model)) {
            Ok(rules) => rules,
            Err(error) => return self.end_all(places, &error),
        };
        draft.logprobs = draft.logprobs.map(|count| rules.num_logprobs(count));
        let ticket = |Place { sequence, asked, log, permit, .. }: Place| {
            // How many log-probabilities the answer has depends on the model. Nothing was read of the log so far.
            let log = Arc::new(AnswerLog::new(log.origin().clone()).with_logprobs(draft.logprobs));
            self.shared.readers.set_log(asked.reader, Arc::clone(&log));
            let coming = Coming::announce(&rules.coming);
            Ticket { model, sequence, asked, log, permit, coming }
        };
        let tickets: Vec<_> = places.into_iter().map(ticket).collect();
        let asked: Vec<_> = tickets.iter().map(|ticket| (ticket.asked, Arc::clone(&ticket.log))).collect();
        if let Err(refused) = self.prepare(rules, draft, tickets) {
            for (asked, log) in asked {
                self.shared.end(asked, &log, Err(refused_text(refused.clone())));
            }
        }
    }

    /// Ends a held request with an error. Without effect if the request has ended or was submitted.
    pub fn fail_held(&self, first: ReaderId, error: &Error) {
        if let Some(held) = self.held.take(first) {
            self.end_all(held.places, error);
        }
    }

    /// A reader leaves. If its request is held and has no other reader, the request ends at once, and its permits are returned.
    pub(super) fn leave_held(&self, reader: ReaderId, how: Leaving) {
        let Some(Held { draft, places }) = self.held.leave(reader, how) else { return };
        let error = Error::new(Code::Cancelled, "the reader left");
        for (choice, place) in (0_u64..).zip(places) {
            let seed = draft.seed.unwrap_or_default() + choice;
            let end = match place.wanted {
                Some(Leaving::Cancel) => Ok(Finished::cancelled(0, seed, self.shared.clock.now())),
                _ => Err(error.clone()),
            };
            self.end(place, end);
        }
    }

    fn end_all(&self, places: Vec<Place>, error: &Error) {
        for place in places {
            self.end(place, Err(error.clone()));
        }
    }

    fn end(&self, Place { asked, log, permit, .. }: Place, end: Close) {
        // The place is free before the caller learns of the end.
        drop(permit);
        self.shared.end(asked, &log, end);
    }

    /// The sequences and names of the answers to a request.
    pub(super) fn names(&self, draft: &Draft, count: usize) -> Vec<(SequenceId, RequestId)> {
        let first = self.next_sequences(count);
        let name = draft.id.clone().unwrap_or_else(|| format!("{}-{first}", self.name));
        let named = |choice: u64| {
            let id = if choice == 0 { name.clone() } else { format!("{name}#{choice}") };
            (SequenceId(first + choice), RequestId(id.into()))
        };
        (0..).take(count).map(named).collect()
    }
}
