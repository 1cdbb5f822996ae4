//! A simulated device: generates deterministic text with the step times of a real device. Of a model it needs only the
//! vocabulary. TypeScript teams run their tests on it on any machine, and the scheduler is measured on it.

mod kv;
mod profile;
mod script;
mod scripted;
#[cfg(test)]
mod tests;
mod timeline;
mod work;

use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::constraint::ConstraintEnd;
use crate::error::{Code, Error, Result};
use crate::host_kv::{KvBlock, KvLayout};
use crate::hub::ModelFolder;
use crate::panics::EndOfThread;
use crate::request::{SequenceId, TokenId};
use crate::scheduler::plan::{Admission, KvGrowth, Plan, Prefix, Row, StepOutput};

use super::{Backend, ConstraintState, Executor, KV_BLOCK, KvUnit, Limits, LoadControl, Prepared};

pub use profile::{Attention, PROFILES, Profile};
pub use script::Script;
pub use work::Work;

use script::Speaker;
use scripted::{Scripted, ScriptedAnswer};
use timeline::Timeline;

/// A fault that is injected into a step, to test how the engine handles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The launch is refused with an error.
    Submit,
    /// The step is launched, but its tokens cannot be read.
    Collect,
    /// The code that drives the device panics.
    Panic,
    /// The device has not enough memory for the step.
    Memory,
    /// The logits of the first row that samples in the step are not numbers.
    Logits,
    /// The step takes this much longer.
    Stall(Duration),
    /// The thread that drives the device ends.
    Thread,
}

/// A fault at the n-th step that the devices of a model compute, counted from 0 since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which step.
    pub step: u64,
    /// What happens.
    pub kind: FaultKind,
}

/// Makes the script of a model, and returns it with the number of token ids.
pub type Vocabulary = Box<dyn Fn(&ModelFolder) -> Result<(Script, usize)> + Send + Sync>;

/// The load of a model on a simulated device: parts that run on the engine thread and take equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimLoad {
    /// Parts of the load.
    pub num_parts: u32,
    /// Time of each.
    pub part: Duration,
    /// The part that fails, counted from 0: a tensor in it is damaged.
    pub fails_at: Option<u32>,
}

/// Makes simulated devices.
pub struct SimBackend {
    profile: Profile,
    clock: Arc<dyn Clock>,
    vocabulary: Vocabulary,
    faults: Vec<Fault>,
    load: SimLoad,
}

impl SimBackend {
    /// Makes devices of one profile. Their steps take time on `clock`.
    pub fn new(profile: Profile, clock: Arc<dyn Clock>, vocabulary: Vocabulary) -> Self {
        Self { profile, clock, vocabulary, faults: Vec::new(), load: SimLoad::default() }
    }

    /// Injects these faults into every device.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// Models are loaded in parts that take time.
    #[must_use]
    pub fn with_load(self, load: SimLoad) -> Self {
        Self { load, ..self }
    }
}

impl Backend for SimBackend {
    /// 0, because a simulated device loads no weights. The profile has the bytes of the device that it simulates.
    fn weight_bytes(&self, _model: &ModelFolder, _free_bytes: Option<u64>) -> Result<u64> {
        Ok(0)
    }

    fn prepare(&self, model: &ModelFolder, _: Option<u64>, control: &LoadControl) -> Result<Box<dyn Prepared>> {
        control.check()?;
        let (script, vocab_size) = (self.vocabulary)(model)?;
        let (profile, clock, faults) = (self.profile, Arc::clone(&self.clock), self.faults.clone());
        let (load, num_submitted) = (self.load, Arc::default());
        Ok(Box::new(SimPrepared { profile, clock, script, vocab_size, faults, load, num_done: 0, num_submitted }))
    }
}

#[derive(Clone)]
struct SimPrepared {
    profile: Profile,
    clock: Arc<dyn Clock>,
    script: Script,
    vocab_size: usize,
    faults: Vec<Fault>,
    load: SimLoad,
    num_done: u32,
    num_submitted: Arc<AtomicU64>,
}

impl Prepared for SimPrepared {
    fn advance(&mut self) -> Result<Option<Box<dyn Executor>>> {
        if self.load.fails_at == Some(self.num_done) {
            return Err(Error::new(Code::ModelLoadError, "a tensor is damaged on the simulated device"));
        }
        if self.num_done < self.load.num_parts {
            self.num_done += 1;
            self.clock.sleep_until(self.clock.now() + self.load.part);
            return Ok(None);
        }
        Ok(Some(Box::new(SimExecutor {
            profile: self.profile,
            clock: Arc::clone(&self.clock),
            script: self.script.clone(),
            vocab_size: self.vocab_size,
            faults: self.faults.clone(),
            sequences: HashMap::new(),
            launched: VecDeque::new(),
            timeline: Timeline::default(),
            num_submitted: Arc::clone(&self.num_submitted),
        })))
    }

    fn replica(&self) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(self.clone()))
    }
}

/// One simulated device with a model.
struct SimExecutor {
    profile: Profile,
    clock: Arc<dyn Clock>,
    script: Script,
    vocab_size: usize,
    faults: Vec<Fault>,
    sequences: HashMap<SequenceId, SimSequence>,
    launched: VecDeque<Launched>,
    timeline: Timeline,
    /// Steps of all devices of the model.
    num_submitted: Arc<AtomicU64>,
}

struct SimSequence {
    speaker: Speaker,
    /// The prompt, and the tokens that were sampled after it.
    tokens: Vec<TokenId>,
    num_prompt: usize,
    num_fed: usize,
    /// The position from which on its answer may end.
    may_end_at: usize,
    logprobs: Option<u8>,
    constraint: Option<ConstraintState>,
    scripted: Option<ScriptedAnswer>,
}

impl SimSequence {
    /// The next token; `None` where the scripted answer fails.
    fn sample(&mut self, script: &Script) -> Option<TokenId> {
        let may_end = self.num_fed >= self.may_end_at;
        let wanted = match self.scripted.as_ref().map(|answer| answer.at(self.num_fed, may_end, script)) {
            Some(Scripted::Fault) => return None,
            Some(Scripted::Token(token)) => Some(token),
            None => None,
        };
        let Some(constraint) = &mut self.constraint else {
            return Some(match wanted {
                Some(token) => self.speaker.say(token),
                None => self.speaker.next(script, may_end),
            });
        };
        if wanted.is_some() {
            self.speaker.leave_sentence();
        }
        let token = match wanted.filter(|token| constraint.allows(*token)) {
            Some(token) => self.speaker.say(token),
            None => self.speaker.next_of(script, constraint),
        };
        constraint.accept(token);
        Some(token)
    }
}

struct Launched {
    output: StepOutput,
    fails: bool,
}

impl Executor for SimExecutor {
    fn limits(&self) -> Limits {
        Limits {
            context_length: self.profile.context_length,
            vocab_size: self.vocab_size,
            overlap: self.profile.overlap,
            weight_bytes: self.profile.weight_bytes,
            device: self.profile.name,
            compute_type: "simulated",
            kv: KvUnit {
                bytes_per_position: self.profile.kv_bytes_per_position,
                block: KV_BLOCK,
                growth: KvGrowth::default(),
            },
        }
    }

    fn submit(&mut self, plan: &Plan) -> Result<()> {
        // A plan that only drops KV does not count as a step: whether it occurs depends on the timing of requests.
        let fault = if plan.rows.is_empty() { None } else { self.next_fault() };
        match fault {
            Some(FaultKind::Submit) => return Err(device_failed()),
            Some(FaultKind::Thread) => resume_unwind(Box::new(EndOfThread)),
            Some(FaultKind::Panic) => panic!("the simulated device panics, as its script says"),
            Some(FaultKind::Memory) => return Err(out_of_memory()),
            Some(FaultKind::Collect | FaultKind::Logits | FaultKind::Stall(_)) | None => {}
        }
        for retained in &plan.retain {
            if let Some(sequence) = self.sequences.get_mut(&retained.sequence) {
                (sequence.constraint, sequence.scripted) = (None, None);
            }
        }
        for id in &plan.release {
            self.sequences.remove(id);
        }
        plan.import.iter().try_for_each(|imported| self.import(imported))?;
        plan.admit.iter().try_for_each(|admission| self.admit(admission))?;
        let mut output = StepOutput { step: plan.step, ..StepOutput::default() };
        plan.rows.iter().try_for_each(|row| self.feed(row, &mut output))?;
        output.closed = output.tokens.iter().filter_map(|(id, _)| self.constraint_end(*id)).collect();
        if fault == Some(FaultKind::Logits) && !output.tokens.is_empty() {
            let (id, _) = output.tokens.remove(0);
            output.closed.retain(|(closed, _)| *closed != id);
            output.not_finite.push(id);
        }
        self.launched.push_back(Launched { output, fails: fault == Some(FaultKind::Collect) });
        let stall = if let Some(FaultKind::Stall(time)) = fault { time } else { Duration::ZERO };
        let takes = self.profile.step_time(Work::of(plan)) + stall;
        let num_buffers = if plan.rows.is_empty() { 0 } else { self.profile.num_command_buffers(plan.rows.len()) };
        self.clock.sleep_until(self.timeline.launch(self.clock.now(), takes, num_buffers));
        Ok(())
    }

    fn collect(&mut self) -> Result<StepOutput> {
        let step = self.launched.pop_front().ok_or_else(|| bad_plan("no step was submitted"))?;
        self.timeline.collect().into_iter().for_each(|end| self.clock.sleep_until(end));
        if step.fails { Err(device_failed()) } else { Ok(step.output) }
    }

    fn reset(&mut self) -> Result<()> {
        self.sequences.clear();
        self.launched.clear();
        self.timeline.clear();
        Ok(())
    }

    fn kv_layout(&self) -> Option<KvLayout> {
        Some(kv::layout())
    }

    fn export_kv(&mut self, sequence: SequenceId, block: usize) -> Result<KvBlock> {
        let sequence = self.sequences.get(&sequence).ok_or_else(|| bad_plan("unknown sequence"))?;
        let exported = kv::export(&sequence.tokens[..sequence.num_fed.min(sequence.tokens.len())], block)?;
        let took = self.profile.step_time(Work { num_copied: KV_BLOCK, ..Work::default() });
        self.clock.sleep_until(self.clock.now() + took);
        Ok(exported)
    }

    fn kv_bytes(&self) -> u64 {
        let positions = self.sequences.values().map(|sequence| sequence.num_fed.next_multiple_of(KV_BLOCK) as u64);
        positions.sum::<u64>() * self.profile.kv_bytes_per_position
    }
}

impl SimExecutor {
    fn next_fault(&mut self) -> Option<FaultKind> {
        let step = self.num_submitted.fetch_add(1, Ordering::Relaxed);
        self.faults.iter().find(|fault| fault.step == step).map(|fault| fault.kind)
    }

    fn admit(&mut self, admission: &Admission) -> Result<()> {
        let has = |prefix: &Prefix| {
            let of = self.sequences.get(&prefix.of).filter(|of| of.num_fed >= prefix.num_positions);
            of.is_some_and(|of| of.begins_with(admission.prompt.get(..prefix.num_positions)))
        };
        if admission.prefix.is_some_and(|prefix| !has(&prefix)) {
            return Err(bad_plan("a prefix is copied that is not there"));
        }
        if !admission.sampling.is_valid() {
            return Err(bad_plan("sampling parameters are invalid"));
        }
        if let Some(prefix) = admission.prefix.filter(|prefix| prefix.takes_over) {
            self.sequences.remove(&prefix.of);
        }
        let num_fed = admission.prefix.map_or(0, |prefix| prefix.num_positions);
        let sequence = SimSequence { num_fed, ..self.resumed(admission) };
        self.sequences.insert(admission.sequence, sequence);
        Ok(())
    }

    /// A sequence at the end of its admission. Tokens that it generated before a preemption are generated again, so that it
    /// continues as it would have: where its sentence is cannot be seen in the tokens alone.
    fn resumed(&self, admission: &Admission) -> SimSequence {
        let (prompt, generated) = admission.prompt.split_at(admission.num_prompt.min(admission.prompt.len()));
        let salt = if admission.sampling.is_greedy() { 0 } else { admission.sampling.seed.wrapping_add(1) };
        let begun = Admission { prompt: prompt.into(), ..admission.clone() };
        let mut sequence = SimSequence {
            speaker: Speaker::new(&self.script, prompt, salt),
            tokens: admission.prompt.to_vec(),
            num_prompt: admission.prompt.len(),
            num_fed: prompt.len(),
            may_end_at: admission.num_prompt + admission.min_tokens,
            logprobs: admission.logprobs,
            constraint: ConstraintState::new(&begun),
            scripted: ScriptedAnswer::of(admission),
        };
        for token in generated {
            let again = sequence.sample(&self.script);
            debug_assert_eq!(again, Some(*token), "a sequence generates its tokens again");
            sequence.num_fed += 1;
        }
        sequence
    }

    /// Feeds a row. Rejects a plan that a real device could not run.
    fn feed(&mut self, row: &Row, output: &mut StepOutput) -> Result<()> {
        let sequence = self.sequences.get_mut(&row.sequence).ok_or_else(|| bad_plan("unknown sequence"))?;
        if row.start != sequence.num_fed {
            return Err(bad_plan("positions must be fed in order"));
        }
        sequence.num_fed += row.len();
        if row.sample && sequence.num_fed < sequence.num_prompt {
            return Err(bad_plan("a token was asked for before the end of the prompt"));
        }
        if row.sample {
            let Some(token) = sequence.sample(&self.script) else {
                output.faulted.push(row.sequence);
                return Ok(());
            };
            output.tokens.push((row.sequence, token));
            sequence.tokens.push(token);
            let logprobs = |count| (row.sequence, sequence.speaker.logprobs(token, self.vocab_size).top(count));
            output.logprobs.extend(sequence.logprobs.map(logprobs));
        }
        Ok(())
    }

    fn constraint_end(&self, id: SequenceId) -> Option<(SequenceId, ConstraintEnd)> {
        Some((id, self.sequences.get(&id)?.constraint.as_ref()?.end()?))
    }
}

fn device_failed() -> Error {
    Error::new(Code::BackendError, "the simulated device failed, as its script says")
}

fn out_of_memory() -> Error {
    Error::new(Code::InsufficientMemory, "the simulated device ran out of memory, as its script says")
}

fn bad_plan(what: &str) -> Error {
    Error::new(Code::BackendError, format!("the plan cannot be carried out: {what}"))
}
