//! Handles a request after its prompt was prepared, on a text thread: answers it from the cache, sends it to the engine thread,
//! or ends it.

use std::sync::Arc;

use crate::answers::{Finished, PromptReady, ReaderId, Stamps, Wanted};
use crate::error::{Code, Error, Result};
use crate::request::FinishReason;

use super::Engine;
use super::answer_parser::AnswerParser;
use super::command::Command;
use super::model_rules::Prepared;
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
                    self.shared.end(ticket.reader, &ticket.log, Err(error.clone()));
                }
            }
        }
    }

    /// Answers a prepared request from the cache, sends it to the engine thread, or ends it if the caller left.
    fn pass_on(&self, ticket: Ticket, mut prepared: Prepared) {
        let (reader, log) = (ticket.reader, Arc::clone(&ticket.log));
        let (num_input_tokens, seed) = (prepared.request.prompt.len(), prepared.request.sampling.seed);
        let (output_parser, token_text) = (prepared.output_parser.take(), prepared.token_text.take());
        let parser = AnswerParser::new(output_parser, token_text, &log.origin().0);
        match self.shared.readers.begin_submit(reader, parser) {
            PromptReady::Submit => {
                if self.serve_or_submit(ticket, prepared) {
                    self.follow_up(reader);
                }
            }
            PromptReady::Cancelled => {
                let stamps = Stamps { ended: Some(self.shared.clock.now()), ..Stamps::default() };
                let finish_reason = FinishReason::Cancelled;
                let finished = Finished { finish_reason, num_input_tokens, num_cached_tokens: 0, seed, stamps };
                self.shared.end(reader, &log, Ok(finished));
            }
            PromptReady::Left => self.shared.end(reader, &log, Err(Error::new(Code::Cancelled, "the reader left"))),
        }
    }

    /// Sends the command that the caller gave while the request was being sent. It follows the request, so that the engine thread
    /// finds the row.
    fn follow_up(&self, reader: ReaderId) {
        match self.shared.readers.end_submit(reader) {
            Some(Wanted::Cancel) => self.send(Command::Cancel(reader)),
            Some(Wanted::Abandon) => self.send(Command::Abandon(reader)),
            None => {}
        }
    }

    /// Answers a request from the cache, or submits it to the engine thread. Returns whether the engine thread gets it.
    fn serve_or_submit(&self, ticket: Ticket, prepared: Prepared) -> bool {
        let is_late = || prepared.request.deadline.is_some_and(|at| at <= self.shared.clock.now());
        if prepared.claim.is_some_and(|claim| !is_late() && self.shared.serve(ticket.reader, &claim)) {
            return false;
        }
        let extended = self.extend(&ticket.permit, &prepared.request);
        let is_submitted = extended.is_ok();
        match extended {
            Ok(()) => self.send(Command::Submit(Box::new(ticket.with(prepared)))),
            Err(error) => self.shared.end(ticket.reader, &ticket.log, Err(error)),
        }
        is_submitted
    }
}
