//! How long work should take on the device, by the measured times of steps like it.

use std::time::Duration;

use super::Scheduler;

impl Scheduler {
    /// The time that the oldest step in flight should take, by the measured times of steps like it; `None` if they are unknown.
    pub fn expected_step(&self) -> Option<Duration> {
        let step = self.in_flight.front()?;
        let decoding = (step.num_decoding > 0).then(|| self.batch_limit.step_time(step.num_decoding));
        let prefill = (step.num_prompt_tokens > 0).then(|| self.prefill.cost(step.num_prompt_tokens));
        Some(decoding.unwrap_or(Some(Duration::ZERO))? + prefill.unwrap_or(Some(Duration::ZERO))?)
    }

    /// The time that an answer takes on the device while `num_rows` rows are in use: each of its steps decodes all rows, and
    /// meanwhile each row reads a prompt as long as its own. `None` before such steps were measured.
    pub fn time_in_crowd(&self, num_prompt_tokens: usize, num_tokens: usize, num_rows: usize) -> Option<Duration> {
        let times = |time: Duration, count: usize| time.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let prompts = times(self.prefill.cost(num_prompt_tokens)?, num_rows);
        Some(prompts + times(self.batch_limit.step_time(num_rows)?, num_tokens))
    }

    /// The time of a decode step; `None` while no row decodes, zero before a measurement.
    pub fn stream_step(&self) -> Option<Duration> {
        let num_rows = self.running.num_decoding();
        let is_active = num_rows > 0;
        is_active.then(|| self.batch_limit.step_time(num_rows).unwrap_or_default())
    }

    /// The time that a step should take to read this many prompt tokens; `None` before a prompt was measured.
    pub fn prefill_time(&self, num_tokens: usize) -> Option<Duration> {
        self.prefill.cost(num_tokens)
    }
}
