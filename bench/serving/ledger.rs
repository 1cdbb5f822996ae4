//! The outcome of each request, and the figures over all requests. Times count from the moment at which a user sends, not from
//! the moment at which the engine sees the request: a stall of the engine is part of the wait.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::statistics::{Percentiles, jain};
use super::traffic::Job;

/// A request counts for goodput if its first token comes within the first bound, and its other tokens within the second on
/// average: the bounds of the `MLPerf` Inference server scenario for a model of 8B.
const GOOD_TTFT_MS: f64 = 2_000.0;
const GOOD_TIME_PER_TOKEN_MS: f64 = 100.0;

/// Every request of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    gaps_ms: Vec<f64>,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    num_tokens: usize,
    first: Duration,
    last: Duration,
}

/// The figures from the users' point of view.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Served {
    pub(crate) requests: usize,
    pub(crate) tokens: usize,
    /// From the first request to the last token.
    pub(crate) seconds: f64,
    pub(crate) tokens_per_second: f64,
    /// Goodput in requests a second.
    pub(crate) goodput: f64,
    pub(crate) ttft_ms: Option<Percentiles>,
    pub(crate) inter_token_ms: Option<Percentiles>,
    pub(crate) mean_request_ms: f64,
    pub(crate) mean_ttft_ms: f64,
    /// Jain's index over the tokens a second that each user got while it waited for answers.
    pub(crate) jain: f64,
    /// By length of the prompt, if there are two kinds.
    pub(crate) short_ttft_ms: Option<Percentiles>,
    pub(crate) long_ttft_ms: Option<Percentiles>,
}

impl Ledger {
    /// Adds a request. Its index identifies it from now on.
    pub(crate) fn add(&mut self, job: Job) -> usize {
        self.entries.push(Entry { job, num_tokens: 0, first: Duration::ZERO, last: Duration::ZERO });
        self.entries.len() - 1
    }

    pub(crate) fn job(&self, place: usize) -> &Job {
        &self.entries[place].job
    }

    /// Tokens that a request has received.
    pub(crate) fn num_tokens(&self, place: usize) -> usize {
        self.entries[place].num_tokens
    }

    /// A user received a token.
    pub(crate) fn token(&mut self, place: usize, now: Duration) {
        let entry = &mut self.entries[place];
        if entry.num_tokens == 0 {
            entry.first = now;
        } else {
            self.gaps_ms.push(ms(now.saturating_sub(entry.last)));
        }
        entry.last = now;
        entry.num_tokens += 1;
    }

    /// Computes the figures. A prompt of at least `long` tokens counts as long.
    pub(crate) fn sum_up(mut self, long: Option<usize>) -> Served {
        let entries = &self.entries;
        let tokens = entries.iter().map(|entry| entry.num_tokens).sum();
        let begin = entries.iter().map(|entry| entry.job.due).min().unwrap_or_default();
        let end = entries.iter().map(|entry| entry.last).max().unwrap_or_default();
        let seconds = end.saturating_sub(begin).as_secs_f64();
        let mean = |of: fn(&Entry) -> f64| entries.iter().map(of).sum::<f64>() / entries.len() as f64;
        let ttft = |is_meant: &dyn Fn(&Entry) -> bool| {
            Percentiles::of(&mut entries.iter().filter(|entry| is_meant(entry)).map(Entry::ttft_ms).collect::<Vec<_>>())
        };
        Served {
            requests: entries.len(),
            tokens,
            seconds,
            tokens_per_second: tokens as f64 / seconds,
            goodput: entries.iter().filter(|entry| entry.is_good()).count() as f64 / seconds,
            ttft_ms: ttft(&|_| true),
            inter_token_ms: Percentiles::of(&mut self.gaps_ms),
            mean_request_ms: mean(|entry| ms(entry.last.saturating_sub(entry.job.due))),
            mean_ttft_ms: mean(Entry::ttft_ms),
            jain: jain(rates_of_users(entries)),
            short_ttft_ms: long.and_then(|long| ttft(&|entry| entry.job.num_prompt < long)),
            long_ttft_ms: long.and_then(|long| ttft(&|entry| entry.job.num_prompt >= long)),
        }
    }
}

impl Entry {
    fn ttft_ms(&self) -> f64 {
        ms(self.first.saturating_sub(self.job.due))
    }

    fn is_good(&self) -> bool {
        let gaps = self.num_tokens.saturating_sub(1).max(1) as f64;
        self.ttft_ms() <= GOOD_TTFT_MS && ms(self.last.saturating_sub(self.first)) / gaps <= GOOD_TIME_PER_TOKEN_MS
    }
}

/// Tokens of each user divided by the time for which it waited.
fn rates_of_users(entries: &[Entry]) -> impl Iterator<Item = f64> {
    let mut users: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for entry in entries {
        let (tokens, seconds) = users.entry(entry.job.user).or_default();
        *tokens += entry.num_tokens as f64;
        *seconds += entry.last.saturating_sub(entry.job.due).as_secs_f64();
    }
    users.into_values().map(|(tokens, seconds)| tokens / seconds.max(1e-9))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
