//! A real device whose steps fail: MLX computes, and the calls of the engine return injected failures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mlx_serving::error::{Code, Error, Result};
use mlx_serving::executor::{Backend, Executor, Limits, LoadControl, Prepared};
use mlx_serving::hub::ModelFolder;
use mlx_serving::scheduler::plan::{Plan, StepOutput};

/// The moment of a step at which the device fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Before the step was launched.
    Submit,
    /// After the step was launched, so that KV of its rows may be written.
    Launched,
    /// When the tokens are read; later steps may have been launched.
    Collect,
}

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Error(Code),
    Panic,
    /// The call returns later.
    Stall(Duration),
}

/// A failure of the n-th step with rows, counted from 0 since the model was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: u64,
    pub(super) at: At,
    pub(super) how: How,
}

/// A backend that opens models on another backend and makes their devices fail.
pub(super) struct Failing<B> {
    pub(super) inner: B,
    pub(super) faults: Vec<Fault>,
}

impl<B: Backend> Backend for Failing<B> {
    fn weight_bytes(&self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<u64> {
        self.inner.weight_bytes(model, free_bytes)
    }

    fn prepare(&self, model: &ModelFolder, free: Option<u64>, control: &LoadControl) -> Result<Box<dyn Prepared>> {
        let inner = self.inner.prepare(model, free, control)?;
        Ok(Box::new(FailingModel { inner, faults: self.faults.clone(), num_submitted: Arc::default() }))
    }
}

struct FailingModel {
    inner: Box<dyn Prepared>,
    faults: Vec<Fault>,
    num_submitted: Arc<AtomicU64>,
}

impl Prepared for FailingModel {
    fn advance(&mut self) -> Result<Option<Box<dyn Executor>>> {
        let Some(inner) = self.inner.advance()? else { return Ok(None) };
        let (faults, num_submitted) = (self.faults.clone(), Arc::clone(&self.num_submitted));
        Ok(Some(Box::new(FailingExecutor { inner, faults, num_submitted, launched: VecDeque::new() })))
    }

    fn replica(&self) -> Result<Box<dyn Prepared>> {
        let inner = self.inner.replica()?;
        Ok(Box::new(Self { inner, faults: self.faults.clone(), num_submitted: Arc::clone(&self.num_submitted) }))
    }
}

struct FailingExecutor {
    inner: Box<dyn Executor>,
    faults: Vec<Fault>,
    num_submitted: Arc<AtomicU64>,
    /// The failure of each launched step when it is collected, oldest first.
    launched: VecDeque<Option<How>>,
}

impl FailingExecutor {
    fn fault(&self, step: u64, at: At) -> Option<How> {
        self.faults.iter().find(|fault| (fault.step, fault.at) == (step, at)).map(|fault| fault.how)
    }
}

fn fail(how: Option<How>) -> Result<()> {
    match how {
        None => Ok(()),
        Some(How::Stall(time)) => {
            std::thread::sleep(time);
            Ok(())
        }
        Some(How::Panic) => panic!("a requested panic"),
        Some(How::Error(code)) => Err(Error::new(code, "a requested failure of the device")),
    }
}

impl Executor for FailingExecutor {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn submit(&mut self, plan: &Plan) -> Result<()> {
        let step = self.num_submitted.fetch_add(u64::from(!plan.rows.is_empty()), Ordering::Relaxed);
        let fault = |at| self.fault(step, at).filter(|_| !plan.rows.is_empty());
        let [submit, launched, collect] = [At::Submit, At::Launched, At::Collect].map(fault);
        fail(submit)?;
        self.inner.submit(plan)?;
        fail(launched)?;
        self.launched.push_back(collect);
        Ok(())
    }

    fn collect(&mut self) -> Result<StepOutput> {
        let output = self.inner.collect()?;
        fail(self.launched.pop_front().flatten())?;
        Ok(output)
    }

    fn reset(&mut self) -> Result<()> {
        self.launched.clear();
        self.inner.reset()
    }

    fn kv_bytes(&self) -> u64 {
        self.inner.kv_bytes()
    }
}
