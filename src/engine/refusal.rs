//! The errors of requests that are refused because too much is pending, with their retry hints. `slots` and `permit` decide
//! which requests are refused.

use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::request::Request;

use super::Engine;
use super::breaker::Circuit;
use super::draft::Draft;
use super::labels::ModelLabel;
use super::pending::Caller;
use super::permit::Permit;
use super::slots::{Refused, whole_millis};
use super::snapshot::Refusal;

/// The retry hint of a caller that the text pool refused. Its queue has a free place after each text, long before an answer
/// ends.
const NEXT_TEXT: Duration = Duration::from_millis(10);

/// Adds the retry hint to an error of the text pool, if its queue was full.
pub(super) fn refused_text(error: Error) -> Error {
    let has_hint = error.code() != Code::Overloaded || error.retry_after().is_some();
    if has_hint { error } else { error.with_retry_after(NEXT_TEXT) }
}

fn circuit_open(left: Duration) -> Error {
    let message = format!(
        "the device of this model failed too often (`circuitBreaker.failures`); it is tried again in {:.1} s",
        left.as_secs_f64()
    );
    // A caller that waits for whole milliseconds must not be early.
    Error::new(Code::CircuitOpen, message).with_retry_after(whole_millis(left))
}

impl Engine {
    /// Takes permits for all answers of a request, or none. `circuit` is absent if the model is not loaded yet.
    pub(super) fn take_permits(
        &self,
        draft: &Draft,
        label: ModelLabel,
        circuit: Option<&Circuit>,
    ) -> Result<Vec<Permit>> {
        let (count, limit) = (draft.num_choices, self.permits.limit());
        if count > limit {
            let message = format!("is {count}, but this engine accepts {limit} answers at a time");
            return Err(Error::invalid("n", message).with_limit(limit as f64, count as f64));
        }
        self.shared.stats.submitted(label, count);
        if let Some(left) = circuit.and_then(|circuit| circuit.refuses_for(self.shared.clock.now())) {
            self.shared.stats.refused(label, Refusal::Circuit, count);
            return Err(circuit_open(left));
        }
        let caller = Caller { priority: draft.priority, tenant: draft.tenant.clone(), deadline: draft.deadline };
        self.permits.try_take(count, caller, self.shared.clock.now()).map_err(|refused| {
            self.shared.stats.refused(label, refused.why, count);
            self.refusal(refused, count)
        })
    }

    fn refusal(&self, refused: Refused, count: usize) -> Error {
        let Refused { why, retry_after, wait, max_wait } = refused;
        let error = if let Some(most) = max_wait.filter(|_| why == Refusal::Wait) {
            let [wait, most] = [wait, most].map(|time| time.as_secs_f64() * 1e3);
            let message = format!("this request would wait for about {wait:.0} ms, and may wait for {most:.0} ms");
            Error::new(Code::Overloaded, message).with_limit(most, wait)
        } else {
            let limit = self.permits.limit();
            let message = format!("{limit} requests are pending or have a place kept, as many as this engine accepts");
            Error::new(Code::Overloaded, message).with_limit(limit as f64, (self.permits.num_taken() + count) as f64)
        };
        error.with_retry_after(retry_after)
    }

    /// Counts the tokens of a request's prompt as pending.
    pub(super) fn extend(&self, permit: &Permit, request: &Request) -> Result<()> {
        let Err(pending) = permit.extend(request.prompt.len()) else { return Ok(()) };
        let limit = self.permits.token_limit();
        let message = format!("{pending} prompt tokens would be pending, this engine accepts {limit}");
        Err(Error::new(Code::Overloaded, message)
            .with_limit(limit as f64, pending as f64)
            .with_retry_after(self.shared.slots.promise(self.shared.clock.now(), 1)))
    }
}
