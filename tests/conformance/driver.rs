//! Drives an executor with hand-made plans, the way an engine would, and reads what it draws.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlx_serving::error::Result;
use mlx_serving::executor::Executor;
use mlx_serving::request::{SamplingParams, SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Row};

/// A sequence under way.
struct Running {
    prompt: Arc<[TokenId]>,
    computed: usize,
    tokens: Vec<TokenId>,
}

/// An executor, and what was asked of it so far.
pub(crate) struct Driver<'a> {
    executor: &'a mut dyn Executor,
    running: BTreeMap<SequenceId, Running>,
    admissions: Vec<Admission>,
    releases: Vec<SequenceId>,
    step: u64,
    /// Most prompt tokens of a row in a step.
    chunk: usize,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(executor: &'a mut dyn Executor) -> Self {
        Self {
            executor,
            running: BTreeMap::new(),
            admissions: Vec::new(),
            releases: Vec::new(),
            step: 0,
            chunk: usize::MAX,
        }
    }

    /// Prompts are fed in pieces of at most this many tokens.
    pub(crate) fn with_chunk(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    pub(crate) fn add(&mut self, id: u64, prompt: &[TokenId], sampling: SamplingParams) {
        let (sequence, prompt): (_, Arc<[TokenId]>) = (SequenceId(id), prompt.into());
        let max_positions = self.executor.limits().context_length;
        self.admissions.push(Admission { sequence, prompt: Arc::clone(&prompt), sampling, max_positions });
        self.running.insert(sequence, Running { prompt, computed: 0, tokens: Vec::new() });
    }

    /// Drops a sequence with the next step; its tokens.
    pub(crate) fn remove(&mut self, id: u64) -> Vec<TokenId> {
        self.releases.push(SequenceId(id));
        self.running.remove(&SequenceId(id)).expect("a running sequence").tokens
    }

    pub(crate) fn tokens(&self, id: u64) -> &[TokenId] {
        &self.running[&SequenceId(id)].tokens
    }

    /// One step for every running sequence.
    pub(crate) fn step(&mut self) {
        let plan = self.plan();
        self.executor.submit(&plan).expect("a step");
        self.collect();
    }

    /// Steps until every sequence has `count` tokens; those that are there first wait.
    pub(crate) fn run(&mut self, count: usize) {
        while self.running.values().any(|sequence| sequence.tokens.len() < count) {
            let mut plan = self.plan();
            plan.rows.retain(|row| self.running[&row.sequence].tokens.len() < count);
            self.retract_all_but(&plan.rows);
            self.executor.submit(&plan).expect("a step");
            self.collect();
        }
    }

    /// Like `run`, with one step launched before the tokens of the last are read.
    pub(crate) fn run_ahead(&mut self, count: usize) {
        let mut launched = 0;
        for _ in 0..count {
            let plan = self.plan();
            self.executor.submit(&plan).expect("a step");
            launched += 1;
            if launched == 2 {
                self.collect();
                launched -= 1;
            }
        }
        for _ in 0..launched {
            self.collect();
        }
    }

    fn plan(&mut self) -> Plan {
        let mut plan = Plan { step: self.step, ..Plan::default() };
        self.step += 1;
        plan.release = std::mem::take(&mut self.releases);
        plan.admit = std::mem::take(&mut self.admissions);
        for (sequence, running) in &mut self.running {
            let (start, left) = (running.computed, running.prompt.len().saturating_sub(running.computed));
            let len = left.min(self.chunk);
            let feed = if left > 0 { Feed::Prompt { len } } else { Feed::Sampled };
            plan.rows.push(Row { sequence: *sequence, start, feed, sample: len == left });
            running.computed += len.max(1);
        }
        plan
    }

    fn retract_all_but(&mut self, rows: &[Row]) {
        for (sequence, running) in &mut self.running {
            if !rows.iter().any(|row| row.sequence == *sequence) {
                running.computed -= 1;
            }
        }
    }

    fn collect(&mut self) {
        for (sequence, token) in self.executor.collect().expect("tokens").tokens {
            // A row that was removed with its last step under way has drawn one token too many.
            if let Some(running) = self.running.get_mut(&sequence) {
                running.tokens.push(token);
            }
        }
    }
}

/// `count` tokens after a prompt, alone.
pub(crate) fn generate(executor: &mut dyn Executor, prompt: &[TokenId], count: usize) -> Vec<TokenId> {
    generate_with(executor, prompt, SamplingParams::GREEDY, count)
}

/// The same with sampling.
pub(crate) fn generate_with(
    executor: &mut dyn Executor,
    prompt: &[TokenId],
    sampling: SamplingParams,
    count: usize,
) -> Vec<TokenId> {
    executor.reset().expect("a reset");
    let mut driver = Driver::new(executor);
    driver.add(0, prompt, sampling);
    driver.run(count);
    driver.remove(0)
}

/// A plan that admits one prompt and feeds `chunk` of it.
pub(crate) fn first_step(id: u64, prompt: &[TokenId], sampling: SamplingParams, max_positions: usize) -> Plan {
    let sequence = SequenceId(id);
    let row = Row { sequence, start: 0, feed: Feed::Prompt { len: prompt.len() }, sample: true };
    let admission = Admission { sequence, prompt: prompt.into(), sampling, max_positions };
    Plan { step: 0, release: Vec::new(), admit: vec![admission], rows: vec![row] }
}

/// Submits and collects.
pub(crate) fn run_plan(executor: &mut dyn Executor, plan: &Plan) -> Result<Vec<TokenId>> {
    executor.submit(plan)?;
    Ok(executor.collect()?.tokens.into_iter().map(|(_, token)| token).collect())
}
