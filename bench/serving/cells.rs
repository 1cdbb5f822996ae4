//! The runs: every policy on the same requests, for each device, workload and load.
#![expect(
    clippy::large_types_passed_by_value,
    reason = "a setup is copied for each cell, not in a loop that is measured"
)]

use std::time::Duration;

use mlx_serving::executor::sim::{Profile, Work};
use mlx_serving::scheduler::plan::Overlap;

use super::policy::Policy;
use super::simulation::{Host, Setup};
use super::traffic::{Arrivals, Lengths};

/// How much traffic is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// An hour of traffic in each cell of the open loop, and more at low loads.
    Full,
    /// A twelfth of it.
    Quick,
}

/// One run of one policy.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) workload: &'static str,
    /// In the workload's own unit: requests a second, or users.
    pub(crate) load: f64,
    /// Another property that the cell varies.
    pub(crate) variant: Option<String>,
    pub(crate) setup: Setup,
    /// The number of the run, among several with different requests. Run 0 is in the report.
    pub(crate) run: u64,
}

impl Cell {
    fn new(workload: &'static str, load: f64, setup: Setup) -> Self {
        Self { workload, load, variant: None, setup, run: 0 }
    }

    fn varied(self, variant: String) -> Self {
        Self { variant: Some(variant), ..self }
    }
}

/// The devices, each with loads in requests a second up to its capacity.
const DEVICES: [(&str, [f64; 6]); 2] = [
    ("m3-max/llama-3.2-3b-4bit", [0.1, 0.5, 1.0, 1.5, 2.0, 2.5]),
    ("m3-max/llama-3.1-8b-4bit", [0.05, 0.2, 0.4, 0.6, 0.8, 1.0]),
];
/// Below this load, more hours are simulated.
const LEAST_REQUESTS_AN_HOUR: f64 = 7_200.0;
/// Runs of each cell with bursts. Only bursts show an effect of the window, and this effect depends on the first measurements.
const RUNS: u64 = 9;
const USERS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 100];
/// The question of v1.4.2's benchmark.
const QUESTION: Lengths = Lengths::Fixed { prompt: 32, answer: 50 };

/// The sample in real time: `real_time.mjs` does the same.
const SAMPLE: Lengths = Lengths::InTurn { prompt: 32, answers: (25, 75) };
const REAL_TIME: Duration = Duration::from_secs(10);

/// Every cell, in the order of the report.
pub(crate) fn cells(scale: Scale) -> Vec<Cell> {
    let span = Duration::from_secs(if scale == Scale::Full { 3_600 } else { 300 });
    DEVICES
        .iter()
        .flat_map(|&(name, loads)| of_device(Profile::named(name).expect("it is listed"), &loads, span))
        .collect()
}

fn of_device(profile: Profile, loads: &[f64], span: Duration) -> Vec<Cell> {
    let base = Setup {
        profile,
        policy: Policy::Default,
        arrivals: Arrivals::Users(1),
        lengths: Lengths::Chat,
        span,
        host: Host::ENGINE,
        kv_bytes: None,
    };
    let mut cells = compared("questions", 1.0, fifty_questions(base));
    for (workload, arrivals) in [("poisson", Arrivals::Poisson as fn(f64) -> _), ("bursty", Arrivals::Bursty)] {
        cells.extend(loads.iter().flat_map(|&load| {
            let span = long_enough(load, base.span);
            compared(workload, load, Setup { arrivals: arrivals(load), span, ..base })
        }));
    }
    let is_windowed =
        |cell: &&Cell| cell.workload == "bursty" && matches!(cell.setup.policy, Policy::Default | Policy::NoWindow);
    let windowed: Vec<_> = cells.iter().filter(is_windowed).cloned().collect();
    cells.extend((1..RUNS).flat_map(|run| windowed.iter().map(move |cell| Cell { run, ..cell.clone() })));
    let middle = loads[loads.len() / 2];
    cells.extend(compared("ramp", middle, Setup { arrivals: Arrivals::Ramp(middle), ..base }));
    let long = Setup { lengths: Lengths::ShortAndLong, ..base };
    cells.extend(loads[..3].iter().flat_map(|&load| {
        compared("short and long prompts", load, Setup { arrivals: Arrivals::Poisson(load), ..long })
    }));
    cells.extend(USERS.iter().flat_map(|&users| {
        compared("users", users as f64, Setup { arrivals: Arrivals::Users(users), span: span / 4, ..base })
    }));
    cells.extend(presets(loads, base));
    cells.extend(little_memory(base));
    cells.extend(overlap(base));
    cells.extend([1, 4, 16].map(|users| {
        let arrivals = Arrivals::Users(users);
        let setup = Setup { arrivals, lengths: SAMPLE, span: REAL_TIME, ..base };
        Cell::new("real time", users as f64, setup)
    }));
    cells
}

/// At low loads, enough time for percentiles that can be compared.
fn long_enough(load: f64, span: Duration) -> Duration {
    let requests_an_hour = load * 3_600.0;
    span.mul_f64((LEAST_REQUESTS_AN_HOUR / requests_an_hour).max(1.0))
}

fn compared(workload: &'static str, load: f64, setup: Setup) -> Vec<Cell> {
    let cell = |policy| Cell::new(workload, load, Setup { policy, ..setup });
    Policy::COMPARED.map(cell).to_vec()
}

/// One user for the time of 49.5 questions, so that fifty questions start.
fn fifty_questions(base: Setup) -> Setup {
    Setup { lengths: QUESTION, span: bare_question(&base.profile).total * 99 / 2, ..base }
}

/// The time of a question on the device alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bare {
    pub(crate) first_token: Duration,
    pub(crate) total: Duration,
}

/// A question without an engine: one step that reads it, and one step for each further token.
pub(crate) fn bare_question(profile: &Profile) -> Bare {
    let Lengths::Fixed { prompt, answer } = QUESTION else { unreachable!("questions have one length") };
    let first_token = profile.step_time(Work::prefill(0, prompt));
    let others = (1..answer).map(|place| profile.step_time(Work::decode(prompt + place)));
    Bare { first_token, total: first_token + others.sum::<Duration>() }
}

fn presets(loads: &[f64], base: Setup) -> Vec<Cell> {
    let policies = [Policy::Latency, Policy::Default, Policy::Throughput];
    let at = |&load: &f64| {
        policies.map(|policy| {
            let setup = Setup { policy, arrivals: Arrivals::Poisson(load), ..base };
            Cell::new("presets", load, setup)
        })
    };
    loads.iter().flat_map(at).collect()
}

/// More users than the memory can hold KV for.
fn little_memory(base: Setup) -> Vec<Cell> {
    let at = |mebibytes: u64| {
        let kv_bytes = Some(mebibytes << 20);
        let setup = Setup { arrivals: Arrivals::Users(32), span: base.span / 4, kv_bytes, ..base };
        Cell::new("little memory", 32.0, setup).varied(format!("{mebibytes} MiB of KV"))
    };
    [1_024, 512, 256].map(at).to_vec()
}

/// Sixteen users on an engine that takes longer after each step, with and without submitting ahead.
fn overlap(base: Setup) -> Vec<Cell> {
    let at = |(host_ms, overlap): (u64, Overlap)| {
        let host = Host { fixed: Duration::from_millis(host_ms), per_row: Duration::ZERO };
        let profile = Profile { overlap, ..base.profile };
        let setup = Setup { profile, arrivals: Arrivals::Users(16), span: base.span / 12, host, ..base };
        let ahead = if overlap == Overlap::None { "no decode-ahead" } else { "decode-ahead" };
        Cell::new("overlap", 16.0, setup).varied(format!("{host_ms} ms of host, {ahead}"))
    };
    [0, 1, 2, 4].into_iter().flat_map(|ms| [(ms, Overlap::Bounded), (ms, Overlap::None)]).map(at).collect()
}
