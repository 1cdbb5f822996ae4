//! Drives an executor with hand-made plans, as the engine does, and reads the sampled tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mlx_serving::constraint::Constraint;
use mlx_serving::error::Result;
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::MlxExecutor;
use mlx_serving::request::{SamplingParams, SequenceId, TokenId, TokenLogprob};
use mlx_serving::scheduler::plan::{Admission, Feed, Plan, Prefix, RetainedPrefix, Row};

/// A running sequence.
struct Running {
    prompt: Arc<[TokenId]>,
    /// Positions planned so far.
    computed: usize,
    /// Tokens planned so far, collected or not.
    planned: usize,
    tokens: Vec<TokenId>,
    /// Log-probabilities of each token, if requested.
    logprobs: Vec<Vec<TokenLogprob>>,
}

/// An executor with its running sequences.
pub(crate) struct Driver<'a> {
    executor: &'a mut MlxExecutor,
    running: BTreeMap<u64, Running>,
    admissions: Vec<Admission>,
    retained: Vec<RetainedPrefix>,
    releases: Vec<SequenceId>,
    step: u64,
    chunk: usize,
    /// Sequences with NaN or infinite logits in some step.
    pub(crate) not_finite: BTreeSet<u64>,
}

impl<'a> Driver<'a> {
    /// Drops all sequences of the executor.
    pub(crate) fn new(executor: &'a mut MlxExecutor) -> Self {
        executor.reset().expect("a reset");
        let (running, admissions) = (BTreeMap::new(), Vec::new());
        let (retained, releases) = (Vec::new(), Vec::new());
        Self {
            executor,
            running,
            admissions,
            retained,
            releases,
            step: 0,
            chunk: usize::MAX,
            not_finite: BTreeSet::new(),
        }
    }

    /// Prompts are fed in chunks of at most this many tokens.
    pub(crate) fn with_chunk(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    pub(crate) fn add(&mut self, id: u64, prompt: &[TokenId], sampling: SamplingParams) {
        self.add_biased(id, prompt, sampling, &[]);
    }

    pub(crate) fn add_biased(
        &mut self,
        id: u64,
        prompt: &[TokenId],
        sampling: SamplingParams,
        bias: &[(TokenId, f32)],
    ) {
        let (sequence, prompt): (_, Arc<[TokenId]>) = (SequenceId(id), prompt.into());
        let max_positions = self.executor.limits().context_length;
        let logit_bias = bias.into();
        self.admissions.push(Admission { sampling, logit_bias, max_positions, ..Admission::of(sequence, &prompt) });
        self.running.insert(id, Running { prompt, computed: 0, planned: 0, tokens: Vec::new(), logprobs: Vec::new() });
    }

    /// Requests log-probabilities for the sequence that was added last.
    pub(crate) fn ask_logprobs(&mut self, num_top: u8) {
        self.admissions.last_mut().expect("one that was just added").logprobs = Some(num_top);
    }

    /// The log-probabilities of a sequence so far.
    pub(crate) fn logprobs(&self, id: u64) -> &[Vec<TokenLogprob>] {
        &self.running[&id].logprobs
    }

    /// A sequence with a constraint. As with any sequence, ignore its tokens after the end.
    pub(crate) fn add_constrained(
        &mut self,
        id: u64,
        prompt: &[TokenId],
        sampling: SamplingParams,
        constraint: &Constraint,
    ) {
        self.add(id, prompt, sampling);
        self.constraint(constraint);
    }

    /// Gives a constraint to the sequence that was added last.
    pub(crate) fn constraint(&mut self, constraint: &Constraint) {
        self.admissions.last_mut().expect("one was added").constraint = Some(constraint.clone());
    }

    /// Another continuation of a sequence's prompt. It copies the KV of all but the last token.
    pub(crate) fn add_choice(&mut self, id: u64, of: u64, sampling: SamplingParams) {
        let prompt = Arc::clone(&self.running[&of].prompt);
        let num_positions = prompt.len() - 1;
        self.add(id, &prompt, sampling);
        self.admissions.last_mut().expect("just added").prefix =
            Some(Prefix { of: SequenceId(of), num_positions, takes_over: false });
        self.running.get_mut(&id).expect("just added").computed = num_positions;
    }

    /// A sequence that begins with KV of another one.
    pub(crate) fn add_after(&mut self, id: u64, prompt: &[TokenId], prefix: Prefix) {
        self.add(id, prompt, SamplingParams::GREEDY);
        self.admissions.last_mut().expect("just added").prefix = Some(prefix);
        self.running.get_mut(&id).expect("just added").computed = prefix.num_positions;
    }

    /// Retains a sequence with the next step. Returns the tokens whose KV it has.
    pub(crate) fn retain(&mut self, id: u64) -> Arc<[TokenId]> {
        let Running { prompt, computed, tokens, .. } = self.running.remove(&id).expect("a running sequence");
        let tokens: Arc<[TokenId]> = prompt.iter().chain(&tokens).take(computed).copied().collect();
        self.retained.push(RetainedPrefix { sequence: SequenceId(id), tokens: Arc::clone(&tokens) });
        tokens
    }

    /// Drops a retained sequence with the next step.
    pub(crate) fn release(&mut self, id: u64) {
        self.releases.push(SequenceId(id));
    }

    /// Drops a sequence with the next step and returns its tokens.
    pub(crate) fn remove(&mut self, id: u64) -> Vec<TokenId> {
        self.releases.push(SequenceId(id));
        self.running.remove(&id).expect("a running sequence").tokens
    }

    /// Runs steps until every sequence has `count` tokens. Sequences that have them wait.
    pub(crate) fn run(&mut self, count: usize) {
        while self.running.values().any(|sequence| sequence.planned < count) {
            self.submit(count);
            self.collect();
        }
    }

    /// Like `run`, but launches each step before the tokens of the previous step are collected.
    pub(crate) fn run_ahead(&mut self, count: usize) {
        self.submit(count);
        while self.running.values().any(|sequence| sequence.planned < count) {
            self.submit(count);
            self.collect();
        }
        self.collect();
    }

    /// The logits of every sequence's next token. Nothing advances.
    pub(crate) fn logits(&mut self) -> BTreeMap<u64, Vec<f32>> {
        let before: Vec<_> = self.running.values().map(|running| (running.computed, running.planned)).collect();
        let plan = self.plan(usize::MAX);
        for (running, before) in self.running.values_mut().zip(before) {
            (running.computed, running.planned) = before;
        }
        let sampled = plan.rows.iter().filter(|row| row.sample).map(|row| row.sequence.0);
        let rows = self.executor.inspect(&plan).expect("logits");
        sampled.zip(rows).collect()
    }

    /// Operations of the step that samples the next token of every sequence. Nothing advances.
    pub(crate) fn count_operations(&mut self) -> usize {
        let before: Vec<_> = self.running.values().map(|running| (running.computed, running.planned)).collect();
        let plan = self.plan(usize::MAX);
        for (running, before) in self.running.values_mut().zip(before) {
            (running.computed, running.planned) = before;
        }
        self.executor.count_operations(&plan).expect("a step")
    }

    /// Launches a step for all sequences that have fewer than `count` tokens.
    pub(crate) fn submit(&mut self, count: usize) {
        let plan = self.plan(count);
        self.executor.submit(&plan).expect("a step");
    }

    fn plan(&mut self, count: usize) -> Plan {
        let mut plan = Plan { step: self.step, ..Plan::default() };
        self.step += 1;
        plan.retain = std::mem::take(&mut self.retained);
        plan.release = std::mem::take(&mut self.releases);
        plan.admit = std::mem::take(&mut self.admissions);
        for (id, running) in self.running.iter_mut().filter(|(_, running)| running.planned < count) {
            let (start, left) = (running.computed, running.prompt.len().saturating_sub(running.computed));
            let len = left.min(self.chunk);
            let feed = if left > 0 { Feed::Prompt { len } } else { Feed::Sampled };
            plan.rows.push(Row { sequence: SequenceId(*id), start, feed, sample: len == left });
            running.computed += len.max(1);
            running.planned += usize::from(len == left);
        }
        plan
    }

    pub(crate) fn collect(&mut self) {
        let mut output = self.executor.collect().expect("tokens");
        self.not_finite.extend(output.not_finite.iter().map(|sequence| sequence.0));
        for (sequence, token) in output.tokens {
            // A row that was removed while its last step ran has sampled one extra token.
            if let Some(running) = self.running.get_mut(&sequence.0) {
                running.tokens.push(token);
                running.logprobs.extend(output.logprobs.remove(&sequence));
            }
        }
    }
}

/// `count` tokens of one prompt alone.
pub(crate) fn generate(executor: &mut MlxExecutor, prompt: &[TokenId], sampling: SamplingParams) -> Vec<TokenId> {
    let mut driver = Driver::new(executor);
    driver.add(0, prompt, sampling);
    driver.run(ANSWER);
    driver.remove(0)
}

/// Tokens of a whole answer, as many as in the fixtures.
pub(crate) const ANSWER: usize = 64;

/// A plan that admits one prompt and feeds it whole.
pub(crate) fn first_step(id: u64, prompt: &[TokenId]) -> Plan {
    let sequence = SequenceId(id);
    let row = Row { sequence, start: 0, feed: Feed::Prompt { len: prompt.len() }, sample: true };
    let admission = Admission { max_positions: prompt.len() + 8, ..Admission::of(sequence, prompt) };
    Plan { admit: vec![admission], rows: vec![row], ..Plan::default() }
}

/// Submits and collects.
pub(crate) fn run_plan(executor: &mut MlxExecutor, plan: &Plan) -> Result<Vec<TokenId>> {
    executor.submit(plan)?;
    Ok(executor.collect()?.tokens.into_iter().map(|(_, token)| token).collect())
}
