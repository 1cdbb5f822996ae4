//! The simulated part of `npm run bench:serving`: serves an hour of traffic in every cell with each policy, on a clock that is
//! moved by hand. Prints one line of JSON for each cell, in any order; `serving.mjs` prints the report.
//!
//! Argument: `--quick` for a twelfth of the traffic.
#![allow(clippy::print_stdout)] // a program, not a library

pub(crate) mod cells;
pub(crate) mod ledger;
pub(crate) mod original;
pub(crate) mod policy;
pub(crate) mod random;
pub(crate) mod simulation;
pub(crate) mod statistics;
pub(crate) mod traffic;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;

use mlx_serving::error::Result;

use cells::{Cell, Scale, bare_question, cells};
use simulation::{Report, simulate};

/// The seed of the requests, the same for all policies of a cell. Repeated runs use the following seeds.
const SEED: u64 = 20_261_121;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    index: usize,
    num_cells: usize,
    profile: &'a str,
    workload: &'a str,
    load: f64,
    variant: &'a Option<String>,
    policy: &'a str,
    run: u64,
    /// The time of one question of v1.4.2's benchmark on the device alone.
    bare_first_token_ms: f64,
    bare_total_ms: f64,
    /// Real time of the simulation.
    took_seconds: f64,
    report: Report,
}

fn main() -> Result<()> {
    let scale = if std::env::args().any(|argument| argument == "--quick") { Scale::Quick } else { Scale::Full };
    let cells = cells(scale);
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = cells.get(index) else { return Ok(()) };
            println!("{}", line(index, cells.len(), cell)?);
        }
    };
    let num_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..num_threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a simulation does not panic"))
    })
}

fn line(index: usize, num_cells: usize, cell: &Cell) -> Result<String> {
    let Cell { workload, load, variant, setup, run } = cell;
    let begin = Instant::now();
    let report = simulate(setup, SEED + run)?;
    let bare = bare_question(&setup.profile);
    let line = Line {
        index,
        num_cells,
        profile: setup.profile.name,
        workload,
        load: *load,
        variant,
        policy: setup.policy.name(),
        run: *run,
        bare_first_token_ms: bare.first_token.as_secs_f64() * 1e3,
        bare_total_ms: bare.total.as_secs_f64() * 1e3,
        took_seconds: begin.elapsed().as_secs_f64(),
        report,
    };
    Ok(serde_json::to_string(&line).expect("plain data"))
}
