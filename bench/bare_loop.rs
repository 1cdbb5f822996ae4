//! Side (a) of `npm run bench:overhead`: the least code that makes the executor generate. It feeds all prompts in one step,
//! then the last token of each row, until all answers are long enough. No engine, no text, no delivery.
//!
//! Argument: a model folder. Jobs come on stdin, results go to stdout; `job.mjs` has the protocol. The run path of this
//! program names the reference BLAS; `LD_LIBRARY_PATH` must name the addon's folder, so that the fast BLAS is used.
#![allow(clippy::print_stdout)] // a program, not a library

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use mlx_serving::error::Result;
use mlx_serving::executor::mlx::MlxBackend;
use mlx_serving::executor::{Backend, Executor};
use mlx_serving::hub;
use mlx_serving::request::{SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Overlap, Plan, Row};

#[derive(Deserialize)]
struct Job {
    prompts: Vec<Prompt>,
    #[serde(rename = "numTokens")]
    num_tokens: usize,
}

#[derive(Deserialize)]
struct Prompt {
    tokens: Vec<TokenId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    first_ms: Vec<f64>,
    total_ms: f64,
    answers: Vec<Vec<TokenId>>,
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Cargo adds `--bench` when it runs the target itself.
    let path = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let Some(path) = path else { return Ok(()) };
    let device = MlxBackend::new()?.open(&hub::open_folder(Path::new(&path))?, None)?;
    let mut bare = BareLoop { device, next_sequence: 0, next_step: 0 };
    say("{}")?;
    for line in stdin().lock().lines() {
        let measured = bare.run(&serde_json::from_str(&line?)?)?;
        say(&serde_json::to_string(&measured)?)?;
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    println!("{line}");
    stdout().flush()
}

struct BareLoop {
    device: Box<dyn Executor>,
    next_sequence: u64,
    next_step: u64,
}

impl BareLoop {
    fn run(&mut self, job: &Job) -> Result<Measured> {
        let begin = Instant::now();
        let admissions = self.admissions(job);
        let ids: Vec<_> = admissions.iter().map(|admission| admission.sequence).collect();
        let mut answers = vec![Vec::with_capacity(job.num_tokens); ids.len()];
        let mut first_ms = 0.0;
        let mut num_submitted = 0;
        for num_collected in 0..job.num_tokens {
            // Submits one step ahead like the engine: behind the step that reads the prompts only if `submit` does not block.
            let ahead = match self.device.limits().overlap {
                Overlap::None => 0,
                Overlap::Bounded => usize::from(num_collected > 0),
                Overlap::Whole => 1,
            };
            while num_submitted < job.num_tokens.min(num_collected + 1 + ahead) {
                let plan = self.plan(&admissions, num_submitted);
                self.device.submit(&plan)?;
                num_submitted += 1;
            }
            let output = self.device.collect()?;
            answers.iter_mut().zip(output.tokens).for_each(|(answer, (_, token))| answer.push(token));
            if num_collected == 0 {
                first_ms = ms(begin);
            }
        }
        let total_ms = ms(begin);
        self.release(ids)?;
        Ok(Measured { first_ms: vec![first_ms; answers.len()], total_ms, answers })
    }

    fn admissions(&mut self, job: &Job) -> Vec<Admission> {
        let admissions = job.prompts.iter().zip(self.next_sequence..).map(|(prompt, id)| Admission {
            max_positions: prompt.tokens.len() + job.num_tokens,
            ..Admission::of(SequenceId(id), &prompt.tokens)
        });
        let admissions: Vec<_> = admissions.collect();
        self.next_sequence += admissions.len() as u64;
        admissions
    }

    /// The step that samples token number `index` of every row.
    fn plan(&mut self, admissions: &[Admission], index: usize) -> Plan {
        let is_first = index == 0;
        let row = |admission: &Admission| {
            let len = admission.prompt.len();
            let (start, feed) = if is_first { (0, Feed::Prompt { len }) } else { (len + index - 1, Feed::Sampled) };
            Row { sequence: admission.sequence, start, feed, sample: true }
        };
        let rows = admissions.iter().map(row).collect();
        let admit = if is_first { admissions.to_vec() } else { Vec::new() };
        Plan { step: self.step(), admit, rows, ..Plan::default() }
    }

    fn release(&mut self, ids: Vec<SequenceId>) -> Result<()> {
        let plan = Plan { step: self.step(), release: ids, ..Plan::default() };
        self.device.submit(&plan)?;
        self.device.collect().map(drop)
    }

    fn step(&mut self) -> u64 {
        self.next_step += 1;
        self.next_step - 1
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
