//! `npm run bench:serving`, the simulated part: serves an hour of traffic in every cell with each policy, on a clock that
//! is moved by hand. Prints one line of JSON for each cell, in any order; `serving.mjs` makes the report of them.
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

/// Of the requests, the same for all policies of a cell; repeated runs count on from it.
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
    /// What one question of the documents' benchmark takes on the device alone.
    bare_first_token_ms: f64,
    bare_total_ms: f64,
    /// Real time the simulation took.
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
