//! Runs plans on a loaded model: `submit` builds and launches a step, `collect` reads its tokens. `sequences` checks every
//! number of a plan before it is used, `sampling` samples. The scheduler decides what runs.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use mlx_ops::NO_TOKEN;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, memory, with_stream};

use super::attention::{Attention, Span};
use super::decoder::Decoder;
use super::failure::{Mlx, bad_plan, device_error};
use super::feed;
use super::rows::indices;
use super::sampler::Sampler;
use super::sampling::{Outcome, sample};
use super::sequences::{Bounds, LastToken, Sequence, Sequences, spans};
use super::streams::Streams;
use crate::error::Result;
use crate::executor::{ConstraintState, Executor, Limits};
use crate::host_kv::{KvBlock, KvLayout};
use crate::request::SequenceId;
use crate::scheduler::plan::{ImportedPrefix, Plan, RetainedPrefix, Row, StepOutput};

/// Steps between two returns of unused buffers to the system. After a return, the next steps must allocate again; without
/// returns, buffers of sizes that are no longer used accumulate.
const STEPS_BETWEEN_CLEARING: u64 = 256;

/// A model on a device. [`super::MlxBackend`] opens it.
pub struct MlxExecutor {
    pub(super) decoder: Arc<Decoder>,
    pub(super) attention: Box<dyn Attention>,
    pub(super) sampler: Sampler,
    pub(super) sequences: Sequences,
    pub(super) launched: VecDeque<Launched>,
    pub(super) limits: Limits,
    pub(super) streams: Streams,
    pub(super) steps: u64,
}

/// The rows of a step, in the order in which attention computes them.
struct Packed {
    spans: Vec<Span>,
    rows: Vec<Row>,
    /// [n] u32
    fed: Array,
}

/// A step that is not collected yet.
pub(super) struct Launched {
    step: u64,
    /// The sequences that sample, in the order of `tokens`.
    sequences: Vec<SequenceId>,
    /// Absent if no row samples, or if sampling is deferred.
    outcome: Option<Outcome>,
    deferred: Option<Deferred>,
    /// Arrays that are computed for the KV and never read.
    rest: Vec<Array>,
}

impl Launched {
    /// Waits until everything that was launched is computed.
    fn wait(&self) -> Result<()> {
        let sampled = self.outcome.iter().flat_map(Outcome::arrays);
        let logits = self.deferred.iter().map(|deferred| &deferred.logits);
        let waited = sampled.chain(logits).chain(&self.rest).try_for_each(Array::eval);
        waited.map_err(|error| device_error("running a step", error))
    }
}

/// Rows that sample after the previous step was read, because a constraint depends on its tokens. Meanwhile the device
/// computes the logits, and the host the allowed tokens.
struct Deferred {
    /// [s, vocab].
    logits: Array,
    rows: Vec<Row>,
}

impl Executor for MlxExecutor {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&mut self, plan: &Plan) -> Result<()> {
        self.take_in(plan)?;
        let launched = if plan.rows.is_empty() {
            Launched { step: plan.step, sequences: Vec::new(), outcome: None, deferred: None, rest: Vec::new() }
        } else {
            let stream = self.streams.steps.clone();
            with_stream(&stream, || self.launch(plan))?
        };
        self.launched.push_back(launched);
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_BETWEEN_CLEARING) {
            memory::clear_cache().map_err(|error| device_error("returning unused memory", error))?;
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<StepOutput> {
        let mut launched = self.launched.pop_front().ok_or_else(|| bad_plan("no launched step is left to collect"))?;
        let read = with_stream(&self.streams.steps, || {
            launched.wait()?;
            launched.outcome.take().map(Outcome::read).transpose()
        });
        let (tokens, logprobs) = read?.unwrap_or_default();
        let sampled = launched.sequences.into_iter().zip(tokens);
        let (tokens, not_finite): (Vec<_>, Vec<_>) = sampled.partition(|(_, token)| *token != NO_TOKEN);
        let mut closed = Vec::new();
        for (id, token) in &tokens {
            // The sequence may have been released after the step was launched.
            if let Some(sequence) = self.sequences.get_mut(*id) {
                sequence.read(launched.step, *token);
                let constraint_end = sequence.constraint.as_ref().and_then(ConstraintState::end);
                closed.extend(constraint_end.map(|end| (*id, end)));
            }
        }
        self.sample_deferred()?;
        let not_finite = not_finite.into_iter().map(|(id, _)| id).collect();
        Ok(StepOutput { step: launched.step, tokens, not_finite, closed, logprobs, ..StepOutput::default() })
    }

    fn reset(&mut self) -> Result<()> {
        for launched in self.launched.drain(..) {
            // The result is not needed, but an error that is not taken here would be reported by the next step.
            drop(with_stream(&self.streams.steps, || launched.wait()));
        }
        self.sequences.clear();
        self.attention.reset().map_err(|error| device_error("dropping all sequences", error))
    }

    fn set_kv_bytes(&mut self, bytes: u64) {
        self.attention.set_kv_bytes(bytes);
    }

    fn kv_bytes(&self) -> u64 {
        self.attention.bytes()
    }

    fn kv_layout(&self) -> Option<KvLayout> {
        Some(self.attention.layout())
    }

    fn export_kv(&mut self, sequence: SequenceId, block: usize) -> Result<KvBlock> {
        self.sequences.get(sequence)?;
        let exported = with_stream(&self.streams.steps, || self.attention.export(sequence, block));
        exported.map(KvBlock).map_err(|error| device_error("copying KV to the host", error))
    }
}

impl MlxExecutor {
    /// Checks a whole plan, then releases, imports and admits its sequences.
    fn take_in(&mut self, plan: &Plan) -> Result<()> {
        let bounds = Bounds { context_length: self.limits.context_length, vocab_size: self.limits.vocab_size };
        self.sequences.check(plan, bounds)?;
        self.change_sequences(plan).map_err(|error| device_error("admitting sequences", error))
    }

    fn change_sequences(&mut self, plan: &Plan) -> Mlx<()> {
        for RetainedPrefix { sequence, tokens } in &plan.retain {
            self.sequences.retain(*sequence, tokens);
            self.attention.retain(*sequence)?;
        }
        for id in &plan.release {
            self.sequences.remove(*id);
            self.attention.release(*id)?;
        }
        for ImportedPrefix { sequence, tokens, kv } in &plan.import {
            self.sequences.import(*sequence, tokens);
            self.attention.import(*sequence, kv)?;
        }
        for admission in &plan.admit {
            self.sequences.admit(admission, plan.step);
            // Checked before: at most the context length, which is an i32.
            let max_positions = i32::try_from(admission.max_positions).unwrap_or(i32::MAX);
            self.attention.admit(admission.sequence, max_positions)?;
            if let Some(prefix) = admission.prefix {
                let num_positions = i32::try_from(prefix.num_positions).unwrap_or(i32::MAX);
                if prefix.takes_over {
                    self.sequences.remove(prefix.of);
                    self.attention.take_over(prefix.of, num_positions, admission.sequence)?;
                } else {
                    self.attention.copy(prefix.of, num_positions, admission.sequence)?;
                }
            }
        }
        Ok(())
    }

    /// Brings the rows of a plan into the order in which they are computed.
    fn pack(&mut self, plan: &Plan) -> Result<Packed> {
        let spans = self.attention.begin(spans(plan)).map_err(|error| device_error("preparing a step", error))?;
        let rows: Vec<Row> = spans.iter().map(|span| plan.rows[span.row]).collect();
        let fed = feed::tokens(&rows, &self.sequences)?;
        Ok(Packed { spans, rows, fed })
    }

    fn launch(&mut self, plan: &Plan) -> Result<Launched> {
        let packed = self.pack(plan)?;
        let rows: Vec<Row> = packed.rows.iter().filter(|row| row.sample).copied().collect();
        let waits = |row: &Row| self.sequences.get(row.sequence).map(Sequence::waits_for_token);
        let waits = rows.iter().map(waits).collect::<Result<Vec<_>>>()?.contains(&true);
        let logits = self.forward(&packed).map_err(|error| device_error("running a step", error))?;
        let (outcome, deferred) = match logits {
            Some(logits) if waits => (None, Some(Deferred { logits, rows })),
            Some(logits) => (Some(sample(&self.sampler, &self.sequences, &rows, &logits)?), None),
            None => (None, None),
        };
        let rest = self.attention.finish();
        let outputs =
            outcome.iter().flat_map(Outcome::arrays).chain(deferred.as_ref().map(|deferred| &deferred.logits));
        start(outputs.chain(&rest))?;
        let sequences = self.account(plan.step, &packed.rows, outcome.as_ref());
        Ok(Launched { step: plan.step, sequences, outcome, deferred, rest })
    }

    /// Samples for the deferred rows of the next step, after the step before it was read.
    fn sample_deferred(&mut self) -> Result<()> {
        let Some(next) = self.launched.front_mut() else { return Ok(()) };
        let (step, Some(Deferred { logits, rows })) = (next.step, next.deferred.take()) else { return Ok(()) };
        let stream = self.streams.steps.clone();
        let outcome = with_stream(&stream, || {
            let outcome = sample(&self.sampler, &self.sequences, &rows, &logits)?;
            start(outcome.arrays()).map(|()| outcome)
        })?;
        for (place, row) in rows.iter().enumerate() {
            if let Some(sequence) = self.sequences.get_mut(row.sequence) {
                sequence.sampled = LastToken::Device { step, tokens: Rc::clone(&outcome.tokens), row: place };
            }
        }
        if let Some(next) = self.launched.front_mut() {
            next.outcome = Some(outcome);
        }
        Ok(())
    }

    /// Builds a step up to the logits of the rows that sample, [s, vocab]; `None` if no row samples.
    fn forward(&mut self, Packed { spans, fed, .. }: &Packed) -> Mlx<Option<Array>> {
        let hidden = self.decoder.hidden(fed, self.attention.as_mut())?;
        #[allow(clippy::cast_sign_loss)] // offsets and lengths of spans are positive
        let last = |span: &Span| (span.offset + span.len - 1) as usize;
        let picked: Vec<usize> = spans.iter().filter(|span| span.sampled).map(last).collect();
        if picked.is_empty() {
            return Ok(None);
        }
        let all = picked.len() == fed.size();
        let picked = (!all).then(|| indices(&picked));
        self.decoder.logits(&hidden, picked.as_ref()).map(Some)
    }

    /// Updates the sequences of a launched step. Returns those that sample, in the order of its rows.
    fn account(&mut self, step: u64, rows: &[Row], outcome: Option<&Outcome>) -> Vec<SequenceId> {
        let mut sampled = Vec::new();
        for row in rows {
            let Some(sequence) = self.sequences.get_mut(row.sequence) else { continue };
            sequence.computed = row.start + row.len();
            sequence.sampled = match outcome {
                _ if !row.sample => LastToken::Nothing,
                Some(Outcome { tokens, .. }) => {
                    LastToken::Device { step, tokens: Rc::clone(tokens), row: sampled.len() }
                }
                None => LastToken::Later,
            };
            sampled.extend(row.sample.then_some(row.sequence));
        }
        sampled
    }

    /// Counts the operations of a step in MLX's graph, which is its cost where all operations cost about the same. Otherwise
    /// like [`inspect`](Self::inspect).
    #[doc(hidden)]
    pub fn count_operations(&mut self, plan: &Plan) -> Result<usize> {
        self.take_in(plan)?;
        let stream = self.streams.steps.clone();
        with_stream(&stream, || {
            let packed = self.pack(plan)?;
            let mut count = || {
                let Some(logits) = self.forward(&packed)? else { return Ok(0) };
                self.attention.finish();
                let count = mlx_ops::count_operations(&logits)?;
                logits.eval().map(|()| count)
            };
            count().map_err(|error| device_error("running a step", error))
        })
    }

    /// Runs the rows of a plan up to their logits and reads them instead of sampling, for tests that compare values. KV is
    /// written as by [`Executor::submit`], but the sequences do not advance.
    #[doc(hidden)]
    pub fn inspect(&mut self, plan: &Plan) -> Result<Vec<Vec<f32>>> {
        self.take_in(plan)?;
        let stream = self.streams.steps.clone();
        with_stream(&stream, || {
            let packed = self.pack(plan)?;
            let logits = self.forward(&packed).map_err(|error| device_error("running a step", error))?;
            let Some(logits) = logits else { return Ok(Vec::new()) };
            self.attention.finish();
            let values = logits.to_vec_exact::<f32>().map_err(|error| bad_plan(error.to_string()))?;
            let sampled = packed.spans.iter().filter(|span| span.sampled).map(|span| span.row);
            let by_row: BTreeMap<_, _> = sampled.zip(values.chunks(self.limits.vocab_size)).collect();
            Ok(by_row.into_values().map(<[f32]>::to_vec).collect())
        })
    }
}

/// Launches the computation of arrays.
fn start<'a>(outputs: impl Iterator<Item = &'a Array>) -> Result<()> {
    async_eval(outputs).map_err(|error| device_error("running a step", error))
}
