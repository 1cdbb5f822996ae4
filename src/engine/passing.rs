//! Handles a request after its prompt was prepared, on a text thread: answers it from the cache, sends it to the engine thread,
//! or ends it.

use crate::answers::{Close, Finished, PromptReady, ReaderId, Wanted};
use crate::error::{Code, Error, Result};

use super::Engine;
use super::answer_parser::AnswerParser;
use super::command::{Command, Submission, closed};
use super::model_rules::Prepared;
use super::permit::Permit;
use super::ticket::Ticket;

impl Engine {
    pub(super) fn pass_all_on(&self, tickets: Vec<Ticket>, prepared: Result<Vec<Prepared>>) {
        match prepared {
            Ok(prepared) => {
                for (ticket, prepared) in tickets.into_iter().zip(prepared) {
                    self.pass_on(ticket, prepared);
                }
            }
            Err(error) => {
                for ticket in tickets {
                    self.end_ticket(ticket, Err(error.clone()));
                }
            }
        }
    }

    /// Answers a prepared request from the cache, sends it to the engine thread, or ends it if the caller left.
    fn pass_on(&self, ticket: Ticket, mut prepared: Prepared) {
        let reader = ticket.asked.reader;
        let (num_input_tokens, seed) = (prepared.request.prompt.len(), prepared.request.sampling.seed);
        let (reading, token_text) = (prepared.reading.take(), prepared.token_text.take());
        let parser = AnswerParser::new(reading, token_text, &ticket.log.origin().0);
        match self.shared.readers.begin_submit(reader, parser) {
            PromptReady::Submit => {
                if self.serve_or_submit(ticket, prepared) {
                    self.follow_up(reader);
                }
            }
            PromptReady::Cancelled => {
                let finished = Finished::cancelled(num_input_tokens, seed, self.shared.clock.now());
                self.end_ticket(ticket, Ok(finished));
            }
            PromptReady::Left => self.end_ticket(ticket, Err(Error::new(Code::Cancelled, "the reader left"))),
        }
    }

    /// Sends the command that the caller gave while the request was being sent. It follows the request, so that the engine thread
    /// finds the row.
    fn follow_up(&self, reader: ReaderId) {
        match self.shared.readers.end_submit(reader) {
            Some(Wanted::Cancel) => self.send(|| Command::Cancel(reader)),
            Some(Wanted::Abandon) => self.send(|| Command::Abandon(reader)),
            None => {}
        }
    }

    /// Sends a request to a worker. If none takes it any more, it ends.
    fn route(&self, (submission, permit): (Submission, Permit)) {
        match self.shared.router.send(submission, permit, |worker, command| self.workers.send(worker, command)) {
            Err(Command::Submit(submission)) => self.shared.end(submission.asked, &submission.log, Err(closed())),
            _ => self.alarm.busy(),
        }
    }

    /// Answers a request from the cache, or submits it to the engine thread. Returns whether the engine thread gets it.
    fn serve_or_submit(&self, ticket: Ticket, prepared: Prepared) -> bool {
        let is_late = || prepared.request.deadline.is_some_and(|at| at <= self.shared.clock.now());
        if let Some(claim) = prepared.claim.filter(|_| !is_late())
            && let Some(answer) = self.shared.cached(&claim)
        {
            let (asked, _) = ticket.end();
            self.shared.serve(asked, &claim, answer);
            return false;
        }
        let extended = self.extend(&ticket.permit, &prepared.request);
        let is_submitted = extended.is_ok();
        match extended {
            Ok(()) => self.route(ticket.with(prepared)),
            Err(error) => self.end_ticket(ticket, Err(error)),
        }
        is_submitted
    }

    /// Ends a request that the engine thread does not get.
    fn end_ticket(&self, ticket: Ticket, end: Close) {
        let (asked, log) = ticket.end();
        self.shared.end(asked, &log, end);
    }
}
