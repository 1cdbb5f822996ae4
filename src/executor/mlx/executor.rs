//! Carries out plans on a loaded model: submit builds and launches a step, collect reads its tokens. Decides nothing,
//! and trusts no number of a plan before `sequences` has checked it.

use std::collections::VecDeque;
use std::rc::Rc;

use mlx_ops::NO_TOKEN;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, memory, with_stream};

use super::attention::{Attention, Span};
use super::decoder::Decoder;
use super::failure::{Mlx, bad_plan, device_error};
use super::feed;
use super::logits_processors::{LogitsProcessor, process_logits};
use super::logprobs::{Asking, Unread};
use super::mask::Masks;
use super::rows::{indices, replace_rows};
use super::sampler::{Draw, Sampler};
use super::sequences::{Bounds, LastToken, Sequence, Sequences, spans};
use super::streams::Streams;
use crate::error::Result;
use crate::executor::{ConstraintState, Executor, Limits};
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::{Plan, Row, StepLogprobs, StepOutput};

/// Steps between two returns of unused buffers to the system. Each return costs the next steps fresh allocations, and
/// none at all lets lengths that never come back pile up.
const STEPS_BETWEEN_CLEARING: u64 = 256;

/// A model on a device. Built by [`super::MlxBackend`].
pub struct MlxExecutor {
    pub(super) decoder: Decoder,
    pub(super) attention: Box<dyn Attention>,
    pub(super) sampler: Sampler,
    pub(super) sequences: Sequences,
    pub(super) launched: VecDeque<Launched>,
    pub(super) limits: Limits,
    pub(super) streams: Streams,
    pub(super) steps: u64,
}

/// Rows of a step whose logits are changed before a token is drawn.
#[derive(Default)]
struct ProcessedRows {
    /// Where they are among the rows that draw.
    places: Vec<usize>,
    rows: Vec<LogitsProcessor>,
    last: Vec<LastToken>,
}

impl ProcessedRows {
    /// [s, vocab] with these rows changed.
    fn apply_to(&self, logits: Array) -> Mlx<Array> {
        if self.places.is_empty() {
            return Ok(logits);
        }
        let last = feed::last_tokens(&self.last)?.map(|last| last.reshape(&[-1, 1])).transpose()?;
        replace_rows(&logits, &self.places, |rows| process_logits(rows, &self.rows, last.as_ref()))
    }
}

/// A step whose tokens nobody has read.
pub(super) struct Launched {
    step: u64,
    /// Who drew, in the order of `tokens`.
    sequences: Vec<SequenceId>,
    /// Nothing if no row drew, or none yet.
    outcome: Option<Outcome>,
    waiting: Option<Waiting>,
    /// Launched beside these; nobody reads it.
    rest: Vec<Array>,
}

impl Launched {
    /// Waits until everything that was launched for it is there.
    fn wait(&self) -> Result<()> {
        let drawn = self.outcome.iter().flat_map(Outcome::arrays);
        let logits = self.waiting.iter().map(|waiting| &waiting.logits);
        let waited = drawn.chain(logits).chain(&self.rest).try_for_each(Array::eval);
        waited.map_err(|error| device_error("running a step", error))
    }
}

/// What the rows of a step drew.
struct Outcome {
    /// [s] u32. What the next step is fed, whatever the logits were: each is in the vocabulary.
    tokens: Rc<Array>,
    /// As many. What the host reads: these tokens, or [`NO_TOKEN`].
    checked: Array,
    logprobs: Option<Unread>,
}

impl Outcome {
    /// What has to be computed.
    fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.checked, &*self.tokens].into_iter().chain(self.logprobs.iter().flat_map(Unread::arrays))
    }

    /// Reads what came of the step.
    fn read(self) -> Result<(Vec<TokenId>, StepLogprobs)> {
        let tokens = read_tokens(&self.checked)?;
        let logprobs = self.logprobs.map(Unread::read).transpose()?;
        Ok((tokens, logprobs.unwrap_or_default()))
    }
}

/// Rows that draw once the step before theirs was read: what a constraint allows follows from its tokens. Meanwhile the
/// device computes what they draw from, and the host what they may draw.
struct Waiting {
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
            Launched { step: plan.step, sequences: Vec::new(), outcome: None, waiting: None, rest: Vec::new() }
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
        let drawn = launched.sequences.into_iter().zip(tokens);
        let (tokens, not_finite): (Vec<_>, Vec<_>) = drawn.partition(|(_, token)| *token != NO_TOKEN);
        let mut closed = Vec::new();
        for (id, token) in &tokens {
            // A sequence that is gone has no use for it.
            if let Some(sequence) = self.sequences.get_mut(*id) {
                sequence.read(launched.step, *token);
                let constraint_end = sequence.constraint.as_ref().and_then(ConstraintState::end);
                closed.extend(constraint_end.map(|end| (*id, end)));
            }
        }
        self.draw_waiting()?;
        let not_finite = not_finite.into_iter().map(|(id, _)| id).collect();
        Ok(StepOutput { step: launched.step, tokens, not_finite, closed, logprobs })
    }

    fn reset(&mut self) -> Result<()> {
        for launched in self.launched.drain(..) {
            // How it ends is nobody's business any more; left alone, it would be that of the next step.
            drop(with_stream(&self.streams.steps, || launched.wait()));
        }
        self.sequences.clear();
        self.attention.reset().map_err(|error| device_error("dropping all sequences", error))
    }

    fn kv_bytes(&self) -> u64 {
        self.attention.bytes()
    }
}

impl MlxExecutor {
    /// Checks a plan as a whole, then drops and admits the sequences that it names.
    fn take_in(&mut self, plan: &Plan) -> Result<()> {
        let bounds = Bounds { context_length: self.limits.context_length, vocab_size: self.limits.vocab_size };
        self.sequences.check(plan, bounds)?;
        self.change_sequences(plan).map_err(|error| device_error("admitting sequences", error))
    }

    fn change_sequences(&mut self, plan: &Plan) -> Mlx<()> {
        for id in &plan.release {
            self.sequences.remove(*id);
            self.attention.release(*id)?;
        }
        for admission in &plan.admit {
            self.sequences.admit(admission, plan.step);
            // Checked: at most the context length, which is an i32.
            let max_positions = i32::try_from(admission.max_positions).unwrap_or(i32::MAX);
            self.attention.admit(admission.sequence, max_positions)?;
            if let Some(prefix) = admission.prefix {
                let num_positions = i32::try_from(prefix.num_positions).unwrap_or(i32::MAX);
                self.attention.copy(prefix.of, num_positions, admission.sequence)?;
            }
        }
        Ok(())
    }

    fn launch(&mut self, plan: &Plan) -> Result<Launched> {
        let spans = spans(plan);
        let fed = feed::tokens(plan, &self.sequences)?;
        let rows: Vec<Row> = plan.rows.iter().filter(|row| row.sample).copied().collect();
        let waits = |row: &Row| self.sequences.get(row.sequence).map(Sequence::waits_for_token);
        let waits = rows.iter().map(waits).collect::<Result<Vec<_>>>()?.contains(&true);
        let logits = self.forward(&fed, &spans).map_err(|error| device_error("running a step", error))?;
        let (outcome, waiting) = match logits {
            Some(logits) if waits => (None, Some(Waiting { logits, rows })),
            Some(logits) => (Some(self.draw(&logits, &rows)?), None),
            None => (None, None),
        };
        let rest = self.attention.finish();
        let outputs = outcome.iter().flat_map(Outcome::arrays).chain(waiting.as_ref().map(|waiting| &waiting.logits));
        start(outputs.chain(&rest))?;
        let sequences = self.account(plan, outcome.as_ref());
        Ok(Launched { step: plan.step, sequences, outcome, waiting, rest })
    }

    /// The step before was read: draws for the rows that waited for that.
    fn draw_waiting(&mut self) -> Result<()> {
        let Some(next) = self.launched.front_mut() else { return Ok(()) };
        let (step, Some(Waiting { logits, rows })) = (next.step, next.waiting.take()) else { return Ok(()) };
        let stream = self.streams.steps.clone();
        let outcome = with_stream(&stream, || {
            let outcome = self.draw(&logits, &rows)?;
            start(outcome.arrays()).map(|()| outcome)
        })?;
        for (place, row) in rows.iter().enumerate() {
            if let Some(sequence) = self.sequences.get_mut(row.sequence) {
                sequence.drawn = LastToken::Device { step, tokens: Rc::clone(&outcome.tokens), row: place };
            }
        }
        if let Some(next) = self.launched.front_mut() {
            next.outcome = Some(outcome);
        }
        Ok(())
    }

    /// A token for each of the rows, from [s, vocab].
    fn draw(&self, logits: &Array, rows: &[Row]) -> Result<Outcome> {
        let (draws, processed, masks) = (self.draws(rows)?, self.processors(rows)?, self.masks(rows)?);
        let asking = self.asking(rows)?;
        let outcome = || {
            let changed = masks.apply_to(processed.apply_to(logits.clone())?)?;
            let tokens = self.sampler.sample(&changed, &draws)?;
            let checked = self.sampler.checked(logits, &tokens)?;
            let logprobs = asking.answer(logits, &tokens)?;
            Ok(Outcome { tokens: Rc::new(tokens), checked, logprobs })
        };
        outcome().map_err(|error| device_error("drawing tokens", error))
    }

    fn draws(&self, rows: &[Row]) -> Result<Vec<Draw>> {
        let draw = |row: &Row| {
            let params = self.sequences.get(row.sequence)?.sampling;
            Ok(Draw { params, position: (row.start + row.len()) as u64 })
        };
        rows.iter().map(draw).collect()
    }

    /// The rows that draw from changed logits, by their place among those that draw.
    fn processors(&self, rows: &[Row]) -> Result<ProcessedRows> {
        let mut processed = ProcessedRows::default();
        for (place, row) in rows.iter().enumerate() {
            let sequence = self.sequences.get(row.sequence)?;
            if let Some(processor) = sequence.processor(row.start + row.len()) {
                processed.places.push(place);
                processed.last.push(sequence.last());
                processed.rows.push(processor);
            }
        }
        Ok(processed)
    }

    /// The rows that have a constraint. One that has come to its end draws what nobody will read.
    fn masks(&self, rows: &[Row]) -> Result<Masks<'_>> {
        let mut masks = Masks::default();
        for (place, row) in rows.iter().enumerate() {
            let constraint = self.sequences.get(row.sequence)?.constraint.as_ref();
            if let Some(constraint) = constraint.filter(|constraint| constraint.end().is_none()) {
                masks.push(place, constraint.bitmask());
            }
        }
        Ok(masks)
    }

    /// The rows that asked for log-probabilities, by their place among the rows that draw.
    fn asking(&self, rows: &[Row]) -> Result<Asking> {
        let mut asking = Asking::default();
        for (place, row) in rows.iter().enumerate() {
            if let Some(num_top) = self.sequences.get(row.sequence)?.logprobs {
                asking.push(place, row.sequence, num_top.into());
            }
        }
        Ok(asking)
    }

    /// Builds a step up to the logits of the rows that draw, [s, vocab]; `None` if no row does.
    fn forward(&mut self, fed: &Array, spans: &[Span]) -> Mlx<Option<Array>> {
        self.attention.begin(spans)?;
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

    /// Notes what a launched step does for its sequences; those that draw, in the plan's order.
    fn account(&mut self, plan: &Plan, outcome: Option<&Outcome>) -> Vec<SequenceId> {
        let mut drawn = Vec::new();
        for row in &plan.rows {
            let Some(sequence) = self.sequences.get_mut(row.sequence) else { continue };
            sequence.computed = row.start + row.len();
            sequence.drawn = match outcome {
                _ if !row.sample => LastToken::Nothing,
                Some(Outcome { tokens, .. }) => {
                    LastToken::Device { step: plan.step, tokens: Rc::clone(tokens), row: drawn.len() }
                }
                None => LastToken::Later,
            };
            drawn.extend(row.sample.then_some(row.sequence));
        }
        drawn
    }

    /// Like [`inspect`](Self::inspect), but counts the operations of MLX's graph: what a step costs where all cost the
    /// same.
    #[doc(hidden)]
    pub fn count_operations(&mut self, plan: &Plan) -> Result<usize> {
        self.take_in(plan)?;
        let stream = self.streams.steps.clone();
        with_stream(&stream, || {
            let fed = feed::tokens(plan, &self.sequences)?;
            let mut count = || {
                let Some(logits) = self.forward(&fed, &spans(plan))? else { return Ok(0) };
                self.attention.finish();
                let count = mlx_ops::count_operations(&logits)?;
                logits.eval().map(|()| count)
            };
            count().map_err(|error| device_error("running a step", error))
        })
    }

    /// Runs the rows of a plan up to their logits and reads them, instead of drawing: for tests that compare numbers.
    /// The KV is written as by [`Executor::submit`], but the sequences do not advance.
    #[doc(hidden)]
    pub fn inspect(&mut self, plan: &Plan) -> Result<Vec<Vec<f32>>> {
        self.take_in(plan)?;
        let stream = self.streams.steps.clone();
        with_stream(&stream, || {
            let fed = feed::tokens(plan, &self.sequences)?;
            let logits = self.forward(&fed, &spans(plan)).map_err(|error| device_error("running a step", error))?;
            let Some(logits) = logits else { return Ok(Vec::new()) };
            self.attention.finish();
            let values = logits.to_vec_exact::<f32>().map_err(|error| bad_plan(error.to_string()))?;
            Ok(values.chunks(self.limits.vocab_size).map(<[f32]>::to_vec).collect())
        })
    }
}

/// Lets the device compute these.
fn start<'a>(outputs: impl Iterator<Item = &'a Array>) -> Result<()> {
    async_eval(outputs).map_err(|error| device_error("running a step", error))
}

fn read_tokens(tokens: &Array) -> Result<Vec<TokenId>> {
    tokens.to_vec_exact::<u32>().map_err(|error| bad_plan(format!("drawn tokens cannot be read: {error}")))
}
