//! Carries out plans on a loaded model: submit builds and launches a step, collect reads its tokens. Decides nothing,
//! and trusts no number of a plan before `sequences` has checked it.

use std::collections::VecDeque;
use std::rc::Rc;

use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Stream, memory, with_stream};

use super::adjust::{Adjustment, adjust};
use super::attention::{Attention, Span};
use super::decoder::Decoder;
use super::failure::{Mlx, bad_plan, device_error};
use super::feed;
use super::sampler::{Draw, Sampler, indices, replace_rows};
use super::sequences::{Bounds, Drawn, Sequences, spans};
use crate::error::Result;
use crate::executor::{Executor, Limits};
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::{Plan, StepOutput};

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
    pub(super) stream: Stream,
    /// Host and device work at the same time: steps are launched, not awaited.
    pub(super) overlaps: bool,
    pub(super) steps: u64,
}

/// Rows of a step whose logits are changed before a token is drawn.
#[derive(Default)]
struct Adjusted {
    /// Where they are among the rows that draw.
    places: Vec<usize>,
    rows: Vec<Adjustment>,
    last: Vec<Drawn>,
}

impl Adjusted {
    /// [s, vocab] with these rows changed.
    fn apply_to(&self, logits: Array) -> Mlx<Array> {
        if self.places.is_empty() {
            return Ok(logits);
        }
        let last = feed::last_tokens(&self.last)?.map(|last| last.reshape(&[-1, 1])).transpose()?;
        replace_rows(&logits, &self.places, |rows| adjust(rows, &self.rows, last.as_ref()))
    }
}

/// A step whose tokens nobody has read.
pub(super) struct Launched {
    step: u64,
    /// Who drew, in the order of `tokens`.
    sequences: Vec<SequenceId>,
    /// [s] u32; nothing if no row drew.
    tokens: Option<Rc<Array>>,
}

impl Executor for MlxExecutor {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&mut self, plan: &Plan) -> Result<()> {
        let bounds = Bounds { context_length: self.limits.context_length, vocab_size: self.limits.vocab_size };
        self.sequences.check(plan, bounds)?;
        self.change_sequences(plan).map_err(|error| device_error("admitting sequences", error))?;
        let launched = if plan.rows.is_empty() {
            Launched { step: plan.step, sequences: Vec::new(), tokens: None }
        } else {
            let stream = self.stream.clone();
            with_stream(&stream, || self.launch(plan))?
        };
        self.launched.push_back(launched);
        self.steps += 1;
        if self.overlaps && self.steps.is_multiple_of(STEPS_BETWEEN_CLEARING) {
            memory::clear_cache().map_err(|error| device_error("returning unused memory", error))?;
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<StepOutput> {
        let launched = self.launched.pop_front().ok_or_else(|| bad_plan("no launched step is left to collect"))?;
        let tokens = match &launched.tokens {
            Some(tokens) => with_stream(&self.stream, || read_tokens(tokens))?,
            None => Vec::new(),
        };
        for (id, token) in launched.sequences.iter().zip(&tokens) {
            // A sequence that is gone has no use for it.
            if let Some(sequence) = self.sequences.get_mut(*id) {
                sequence.read(launched.step, *token);
            }
        }
        Ok(StepOutput { step: launched.step, tokens: launched.sequences.into_iter().zip(tokens).collect() })
    }

    fn reset(&mut self) -> Result<()> {
        self.launched.clear();
        self.sequences.clear();
        self.attention.reset().map_err(|error| device_error("dropping all sequences", error))
    }

    fn kv_bytes(&self) -> u64 {
        self.attention.bytes()
    }
}

impl MlxExecutor {
    fn change_sequences(&mut self, plan: &Plan) -> Mlx<()> {
        for id in &plan.release {
            self.sequences.remove(*id);
            self.attention.release(*id)?;
        }
        for admission in &plan.admit {
            self.sequences.admit(admission);
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
        let draws = self.draws(plan)?;
        let adjustments = self.adjustments(plan)?;
        let tokens =
            self.run(&fed, &spans, &draws, &adjustments).map_err(|error| device_error("running a step", error))?;
        Ok(self.account(plan, tokens.map(Rc::new)))
    }

    fn draws(&self, plan: &Plan) -> Result<Vec<Draw>> {
        let drawing = plan.rows.iter().filter(|row| row.sample);
        drawing
            .map(|row| {
                let params = self.sequences.get(row.sequence)?.sampling;
                Ok(Draw { params, position: (row.start + row.len()) as u64 })
            })
            .collect()
    }

    /// The rows that draw from changed logits, by their place among those that draw.
    fn adjustments(&self, plan: &Plan) -> Result<Adjusted> {
        let mut adjusted = Adjusted::default();
        for (place, row) in plan.rows.iter().filter(|row| row.sample).enumerate() {
            let sequence = self.sequences.get(row.sequence)?;
            if let Some(adjustment) = sequence.adjustment(row.start + row.len()) {
                adjusted.places.push(place);
                adjusted.last.push(sequence.last());
                adjusted.rows.push(adjustment);
            }
        }
        Ok(adjusted)
    }

    fn run(&mut self, fed: &Array, spans: &[Span], draws: &[Draw], adjusted: &Adjusted) -> Mlx<Option<Array>> {
        let logits = self.forward(fed, spans)?;
        let logits = logits.map(|logits| adjusted.apply_to(logits)).transpose()?;
        let tokens = logits.map(|logits| self.sampler.sample(&logits, draws)).transpose()?;
        let pending = self.attention.finish();
        let outputs = tokens.iter().chain(&pending);
        if self.overlaps {
            async_eval(outputs)?;
        } else {
            eval(outputs)?;
        }
        Ok(tokens)
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

    fn account(&mut self, plan: &Plan, tokens: Option<Rc<Array>>) -> Launched {
        let mut drawn = Vec::new();
        for row in &plan.rows {
            let Some(sequence) = self.sequences.get_mut(row.sequence) else { continue };
            sequence.computed = row.start + row.len();
            sequence.drawn = Drawn::Nothing;
            if let Some(tokens) = tokens.as_ref().filter(|_| row.sample) {
                sequence.drawn = Drawn::Device { step: plan.step, tokens: Rc::clone(tokens), row: drawn.len() };
                drawn.push(row.sequence);
            }
        }
        Launched { step: plan.step, sequences: drawn, tokens }
    }

    /// Runs the rows of a plan up to their logits and reads them, instead of drawing: for tests that compare numbers.
    /// The KV is written as by [`Executor::submit`], but the sequences do not advance.
    #[doc(hidden)]
    pub fn inspect(&mut self, plan: &Plan) -> Result<Vec<Vec<f32>>> {
        let bounds = Bounds { context_length: self.limits.context_length, vocab_size: self.limits.vocab_size };
        self.sequences.check(plan, bounds)?;
        self.change_sequences(plan).map_err(|error| device_error("admitting sequences", error))?;
        let stream = self.stream.clone();
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

fn read_tokens(tokens: &Array) -> Result<Vec<TokenId>> {
    // Awaits the launched step first, so that its failure is told apart from a failure to read.
    tokens.eval().map_err(|error| device_error("running a step", error))?;
    tokens.to_vec_exact::<u32>().map_err(|error| bad_plan(format!("drawn tokens cannot be read: {error}")))
}
