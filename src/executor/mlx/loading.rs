//! Loads a model in two parts. A load thread reads and converts weights on its own CPU stream, so that steps do not wait for it;
//! any thread may use computed arrays. The engine thread then makes everything that belongs to its streams.

use std::collections::VecDeque;
use std::sync::Arc;

use mlx_rs::{DeviceType, Dtype, with_stream};

use super::attention::{Attention, Composed, Fused, FusedLayers, Grouping};
use super::decoder::Decoder;
use super::failure::{device_error, unreadable_weights};
use super::precision::{self, Compute};
use super::sampler::Sampler;
use super::sequences::Sequences;
use super::spec::ModelSpec;
use super::streams::{LoadStream, Streams, device};
use super::weights::Weights;
use super::{AttentionKind, MlxBackend, MlxExecutor, blas, chained, described, name_of};
use crate::error::{Code, Error, Result};
use crate::executor::{Executor, Limits, LoadControl, Prepared};
use crate::hub::ModelFolder;
use crate::scheduler::plan::Overlap;

/// A model whose weights are computed.
pub(super) struct PreparedModel(Option<Loaded>);

#[derive(Clone)]
struct Loaded {
    model: ModelSpec,
    decoder: Arc<Decoder>,
    attention: Planned,
    dtype: Dtype,
    compute: Compute,
    weight_bytes: u64,
    on_cpu: bool,
    is_deterministic: bool,
    /// Whether the sampler may use operations that exist on the CPU only.
    samples_on_cpu: bool,
}

/// The attention of the model.
#[derive(Clone, Copy)]
enum Planned {
    Fused,
    Composed(Grouping),
}

impl MlxBackend {
    /// The part of a load that needs no engine thread.
    pub(super) fn prepare_model(&self, folder: &ModelFolder, control: &LoadControl) -> Result<PreparedModel> {
        let model = described(folder)?;
        let on_cpu = matches!(device()?, DeviceType::Cpu);
        blas::use_one_thread();
        let stream = LoadStream::open();
        let loaded = with_stream(stream.get(), || self.load(model, folder, on_cpu, control));
        // Reports an abort first, then a file that changed while it was read: both may be the cause of another error.
        control.check()?;
        folder.check_unchanged()?;
        let loaded = loaded.map_err(|error| unreadable_weights(folder, error))?;
        stream.keep_memory();
        Ok(PreparedModel(Some(loaded)))
    }

    fn load(&self, model: ModelSpec, folder: &ModelFolder, on_cpu: bool, control: &LoadControl) -> Result<Loaded> {
        let compute = self.compute(&model, folder, on_cpu);
        let weights = Weights::open(&model, folder, compute, control)?;
        let dtype = weights.dtype();
        let mut weights = weights.batch_invariant(self.is_deterministic).for_cpu(on_cpu);
        let specs = model.attention();
        let (decoder, attention) = if self.is_fused(&model, on_cpu && dtype == Dtype::Float32) {
            let layers = FusedLayers::new(&specs, model.context_length)
                .map_err(|error| device_error("preparing attention", error))?;
            let decoder = if compute.is_dense(&model) && chained::can_chain(&model) {
                Decoder::load_chained(&model, &mut weights, layers)?
            } else {
                Decoder::load(&model, &mut weights)?
            };
            (decoder, Planned::Fused)
        } else {
            let grouping = if self.is_deterministic { Grouping::Single } else { Grouping::Shared };
            (Decoder::load(&model, &mut weights)?, Planned::Composed(grouping))
        };
        drop(weights);
        let weight_bytes = self.resident_bytes(&model, folder, on_cpu);
        let samples_on_cpu = on_cpu && self.attention == AttentionKind::Auto;
        let is_deterministic = self.is_deterministic;
        let decoder = Arc::new(decoder);
        Ok(Loaded { model, decoder, attention, dtype, compute, weight_bytes, on_cpu, is_deterministic, samples_on_cpu })
    }
}

impl PreparedModel {
    /// The executor as its own type, for tests.
    pub(super) fn into_executor(mut self) -> Result<MlxExecutor> {
        self.take()?.into_executor()
    }

    fn take(&mut self) -> Result<Loaded> {
        self.0.take().ok_or_else(|| Error::new(Code::BackendError, "the model was loaded already"))
    }
}

impl Prepared for PreparedModel {
    /// This part takes about as long as a step: KV and the sampler start empty.
    fn advance(&mut self) -> Result<Option<Box<dyn Executor>>> {
        Ok(Some(Box::new(self.take()?.into_executor()?)))
    }

    fn replica(&self) -> Result<Box<dyn Prepared>> {
        let loaded = self.0.clone().ok_or_else(|| Error::new(Code::BackendError, "the model was loaded already"))?;
        Ok(Box::new(Self(Some(loaded))))
    }
}

impl Loaded {
    fn into_executor(self) -> Result<MlxExecutor> {
        let streams = Streams::open()?;
        with_stream(&streams.steps.clone(), || self.on(streams))
    }

    fn on(self, streams: Streams) -> Result<MlxExecutor> {
        let Self { model, decoder, attention, dtype, compute, weight_bytes, on_cpu, is_deterministic, .. } = self;
        let specs = model.attention();
        let attention = match attention {
            Planned::Fused => Fused::new(&specs, model.context_length).map(|it| Box::new(it) as Box<dyn Attention>),
            Planned::Composed(grouping) => Composed::new(&specs, dtype, grouping).map(|it| Box::new(it) as _),
        };
        let attention = attention.map_err(|error| device_error("preparing attention", error))?;
        #[allow(clippy::cast_sign_loss)] // range-checked when the description was read
        let limits = Limits {
            context_length: model.context_length as usize,
            vocab_size: model.vocab as usize,
            overlap: if decoder.is_chained() { Overlap::Whole } else { Overlap::Bounded },
            weight_bytes,
            device: name_of(on_cpu, is_deterministic, compute),
            compute_type: precision::name_of(dtype),
            kv: attention.unit(),
        };
        Ok(MlxExecutor {
            decoder,
            attention,
            sampler: Sampler::new(model.vocab).on_cpu(self.samples_on_cpu),
            sequences: Sequences::default(),
            launched: VecDeque::new(),
            limits,
            streams,
            steps: 0,
        })
    }
}
