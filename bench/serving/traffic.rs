//! The simulated traffic: users, requests and their times. Everything is drawn from a seed before the run, so every policy
//! serves the same requests. In the open loop users send without waiting for answers. In the closed loop each user sends its
//! next request when it has its answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::random::Random;

/// Users of the open loop.
const NUM_USERS: usize = 50;
/// Requests of a burst, on average, and the time between them.
pub(crate) const BURST: f64 = 8.0;
const BURST_GAP: Duration = Duration::from_micros(100);
/// In the closed loop, users start one after another within this time.
const USERS_COME_WITHIN: Duration = Duration::from_secs(1);
/// The time of a text thread for a prompt, one prompt at a time. Measured: 22 µs for eight words.
const TEXT_BASE: Duration = Duration::from_micros(14);
const TEXT_PER_TOKEN: Duration = Duration::from_micros(1);

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// Independent users: this many requests a second.
    Poisson(f64),
    /// The same number of requests a second in bursts of eight on average.
    Bursty(f64),
    /// A ramp from zero to twice this many requests a second.
    Ramp(f64),
    /// A closed loop of this many users, each with one request at a time.
    Users(usize),
}

/// The lengths of prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Lengths {
    /// Log-normal with the means of `ShareGPT`, 161 and 338 tokens (Kwon et al., "Efficient memory management for large
    /// language model serving with `PagedAttention`", 2023, figure 11); the spread is an estimate from its histograms.
    Chat,
    /// Answers as in [`Chat`](Self::Chat). On average nine of ten prompts have 32 tokens, and one has 4,096.
    ShortAndLong,
    /// Fixed lengths.
    Fixed { prompt: usize, answer: usize },
    /// Answers from the first length up to below the second, in the same order as in `real_time.mjs`.
    InTurn { prompt: usize, answers: (usize, usize) },
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Job {
    pub(crate) user: usize,
    pub(crate) num_prompt: usize,
    pub(crate) num_answer: usize,
    /// When its user sends it, from the beginning of the run.
    pub(crate) due: Duration,
}

/// The users that send requests.
#[derive(Debug)]
struct User {
    number: usize,
    num_sent: usize,
    random: Random,
}

/// The requests of a run, in the order in which they become ready for the engine.
#[derive(Debug)]
pub(crate) struct Traffic {
    lengths: Lengths,
    /// In the closed loop: until when a user sends its next request after an answer.
    again_until: Option<Duration>,
    users: Vec<User>,
    agenda: BTreeMap<(Duration, u64), Job>,
    num_planned: u64,
    /// Requests that were sent and are being tokenized, each with the time when that ends.
    coming: VecDeque<(Duration, Job)>,
    text_is_free_at: Duration,
}

impl Traffic {
    /// The requests within a span of time.
    pub(crate) fn new(arrivals: Arrivals, lengths: Lengths, span: Duration, seed: u64) -> Self {
        let (num_users, again_until) = match arrivals {
            Arrivals::Users(num_users) => (num_users, Some(span)),
            _ => (NUM_USERS, None),
        };
        // Each user has its own random stream, so that its next request does not depend on the order of answers.
        let new_user = |number: usize| {
            let random = Random::new(seed ^ (number as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
            User { number, num_sent: 0, random }
        };
        let mut traffic = Self {
            lengths,
            again_until,
            users: (0..num_users).map(new_user).collect(),
            agenda: BTreeMap::new(),
            num_planned: 0,
            coming: VecDeque::new(),
            text_is_free_at: Duration::ZERO,
        };
        let mut random = Random::new(seed);
        for (number, due) in moments(arrivals, span, &mut random).into_iter().enumerate() {
            let user = if again_until.is_some() { number } else { random.below(num_users) };
            traffic.plan(user, due);
        }
        traffic
    }

    /// The next request that is ready for the engine at this time.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Job> {
        self.pass_on(now);
        self.coming.pop_front_if(|(ready, _)| *ready <= now).map(|(_, job)| job)
    }

    /// When the next request will be ready for the engine.
    pub(crate) fn next_ready(&self) -> Option<Duration> {
        let planned = || self.agenda.values().next().map(|job| job.due.max(self.text_is_free_at) + text_time(job));
        self.coming.front().map(|&(ready, _)| ready).or_else(planned)
    }

    /// Requests that were sent and are not ready yet.
    pub(crate) fn num_coming(&self) -> usize {
        self.coming.len()
    }

    /// A user has its whole answer.
    pub(crate) fn answered(&mut self, user: usize, now: Duration) {
        if self.again_until.is_some_and(|end| now < end) {
            self.plan(user, now);
        }
    }

    fn plan(&mut self, user: usize, due: Duration) {
        let (num_prompt, num_answer) = self.lengths.draw(&mut self.users[user]);
        self.agenda.insert((due, self.num_planned), Job { user, num_prompt, num_answer, due });
        self.num_planned += 1;
    }

    fn pass_on(&mut self, now: Duration) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let job = entry.remove();
            let ready = job.due.max(self.text_is_free_at) + text_time(&job);
            self.text_is_free_at = ready;
            self.coming.push_back((ready, job));
        }
    }
}

impl Lengths {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to counts")]
    fn draw(self, user: &mut User) -> (usize, usize) {
        let User { number, num_sent, random } = user;
        let turn = std::mem::replace(num_sent, *num_sent + 1);
        let prompt = random.log_normal(161.0, 1.2).clamp(4.0, 2_048.0) as usize;
        let answer = random.log_normal(338.0, 0.9).clamp(4.0, 1_024.0) as usize;
        match self {
            Self::Chat => (prompt, answer),
            Self::ShortAndLong => (if random.below(10) == 0 { 4_096 } else { 32 }, answer),
            Self::Fixed { prompt, answer } => (prompt, answer),
            Self::InTurn { prompt, answers: (from, below) } => {
                (prompt, from + (17 * *number + 29 * turn) % (below - from))
            }
        }
    }
}

/// The times at which requests are sent. In the closed loop, the time of each user's first request.
pub(crate) fn moments(arrivals: Arrivals, span: Duration, random: &mut Random) -> Vec<Duration> {
    let seconds = span.as_secs_f64();
    let mut moments = Vec::new();
    match arrivals {
        Arrivals::Poisson(rate) => {
            moments.extend(poisson(rate * seconds, random).map(|event| Duration::from_secs_f64(event / rate)));
        }
        Arrivals::Ramp(rate) => {
            // The inverse of the expected number of requests until t, which is rate · t² / span.
            let at = |event: f64| Duration::from_secs_f64((event * seconds / rate).sqrt());
            moments.extend(poisson(rate * seconds, random).map(at));
        }
        Arrivals::Bursty(rate) => {
            let starts: Vec<_> = poisson(rate * seconds / BURST, random).collect();
            for start in starts {
                // A geometric number of requests: at least one.
                let others = (0..).take_while(|_| random.unit() > 1.0 / BURST);
                let at = Duration::from_secs_f64(start * BURST / rate);
                moments
                    .extend([0].into_iter().chain(others.map(|other| other + 1)).map(|place| at + BURST_GAP * place));
            }
        }
        Arrivals::Users(num_users) => {
            let step = USERS_COME_WITHIN / u32::try_from(num_users).unwrap_or(u32::MAX);
            moments.extend((0..).map(|user| step * user).take(num_users));
        }
    }
    moments
}

/// The events of a Poisson process of rate 1, up to the end.
fn poisson(end: f64, random: &mut Random) -> impl Iterator<Item = f64> {
    let mut at = 0.0;
    std::iter::from_fn(move || {
        at += random.exponential();
        (at < end).then_some(at)
    })
}

fn text_time(job: &Job) -> Duration {
    TEXT_BASE + TEXT_PER_TOKEN * u32::try_from(job.num_prompt).unwrap_or(u32::MAX)
}
