//! Loading and unloading of models, and a loaded model, for JavaScript.

use std::sync::Arc;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Object, Unknown};
use napi_derive::napi;

use crate::engine::{ModelInfo, ModelKey, Reply, UnloadedAnswers};
use crate::error::{Code, Error, Result};
use crate::executor::{LoadControl, LoadProgress};
use crate::lock::lock;
use crate::text::TextCapabilities;

use super::refusal::Refusal;
use super::{NativeEngine, options, promise};

#[napi]
impl NativeEngine {
    /// Loads a model folder. `load` is a number that no other load of this engine has.
    #[napi(catch_unwind)]
    pub fn load_model<'env>(&self, env: &'env Env, options: Unknown<'env>, load: u32) -> napi::Result<Object<'env>> {
        let source = options::read_load(options);
        let engine = self.engine();
        promise(env, move |reply: Reply<NativeModelInfo>| {
            match (engine, source) {
                (Ok(engine), Ok(source)) => {
                    let (control, loads) = (LoadControl::default(), Arc::clone(&self.loads));
                    lock(&loads).insert(load, control.clone());
                    let reply = Reply::new(move |info: Result<ModelInfo>| {
                        lock(&loads).remove(&load);
                        reply.send(info.map(NativeModelInfo::from));
                    });
                    engine.load(source, control, reply);
                }
                (Err(error), _) | (_, Err(Refusal::Invalid(error))) => reply.send(Err(error)),
                (_, Err(Refusal::Thrown(thrown))) => return Err(thrown),
            }
            Ok(())
        })
    }

    /// How much of a load is done. `None` once it has ended.
    #[napi(catch_unwind)]
    pub fn load_progress(&self, load: u32) -> Option<NativeLoadProgress> {
        lock(&self.loads).get(&load).map(|control| control.progress().into())
    }

    /// Ends a load: what it holds is given back soon. Without effect on one that has ended.
    #[napi(catch_unwind)]
    pub fn abort_load(&self, load: u32) {
        if let Some(control) = lock(&self.loads).get(&load) {
            control.abort(Error::new(Code::Cancelled, "the load was aborted"));
        }
    }

    /// Drops a model once its running requests have ended. Those that run after `drain_ms` fail. Cached answers stay if the model
    /// may be loaded again.
    #[napi(catch_unwind)]
    pub fn unload_model<'env>(
        &self,
        env: &'env Env,
        model: u32,
        drain_ms: f64,
        keeps_answers: bool,
    ) -> napi::Result<Object<'env>> {
        let engine = self.engine();
        promise(env, move |reply: Reply<()>| {
            let drain = Duration::try_from_secs_f64(drain_ms / 1e3).unwrap_or(Duration::MAX);
            let answers = if keeps_answers { UnloadedAnswers::Keep } else { UnloadedAnswers::Remove };
            match engine {
                Ok(engine) => engine.unload(ModelKey(model), drain, answers, reply),
                Err(error) => reply.send(Err(error)),
            }
            Ok(())
        })
    }
}

/// A loaded model.
#[napi(object)]
pub struct NativeModelInfo {
    /// The key of the model.
    pub key: u32,
    /// Its folder.
    pub path: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// Positions of a sequence.
    pub context_length: f64,
    /// Number of token ids.
    pub vocab_size: f64,
    /// Bytes of its weights in memory.
    pub bytes: f64,
    /// Bytes of its weights in the files.
    pub file_bytes: f64,
    /// Element type of its activations.
    pub compute_type: String,
    /// The quantization of the weights, if they are quantized.
    pub quantization: Option<NativeQuantization>,
    /// What requests may have.
    pub capabilities: NativeCapabilities,
    /// Values in its files that were ignored.
    pub warnings: Vec<String>,
}

/// Bits and group size of quantized weights.
#[napi(object)]
pub struct NativeQuantization {
    /// Bits of a weight.
    pub bits: u32,
    /// Weights that share a scale.
    pub group_size: u32,
}

/// What requests of a model may have.
#[expect(clippy::struct_excessive_bools, reason = "they are independent: each combination occurs")]
#[napi(object)]
pub struct NativeCapabilities {
    /// `messages`.
    pub chat: bool,
    /// System messages.
    pub system_role: bool,
    /// `tools`.
    pub tools: bool,
    /// The format in which tool calls are parsed.
    pub tool_call_format: Option<String>,
    /// `toolChoice: 'required'` and `{ name }`.
    pub tool_choice: bool,
    /// The tool prompt that is used.
    pub tool_prompt: Option<String>,
    /// Answers have reasoning in a field of its own.
    pub reasoning: bool,
    /// `structured`.
    pub structured: bool,
}

/// Bytes of weights.
#[napi(object)]
pub struct NativeLoadProgress {
    /// Those that are loaded.
    pub loaded_bytes: f64,
    /// All; 0 until it is known.
    pub total_bytes: f64,
}

impl From<ModelInfo> for NativeModelInfo {
    fn from(info: ModelInfo) -> Self {
        Self {
            key: info.key.0,
            path: info.path.to_string_lossy().into_owned(),
            family: info.family,
            context_length: info.limits.context_length as f64,
            vocab_size: info.limits.vocab_size as f64,
            bytes: info.limits.weight_bytes as f64,
            file_bytes: info.file_bytes as f64,
            compute_type: info.limits.compute_type.into(),
            quantization: info.quantization.map(|(bits, group_size)| NativeQuantization { bits, group_size }),
            capabilities: info.capabilities.into(),
            warnings: info.warnings,
        }
    }
}

impl From<TextCapabilities> for NativeCapabilities {
    fn from(capabilities: TextCapabilities) -> Self {
        let TextCapabilities { chat, system_role, tools, tool_choice, reasoning, structured, .. } = capabilities;
        Self {
            chat,
            system_role,
            tools,
            tool_call_format: capabilities.tool_call_format.map(str::to_owned),
            tool_choice,
            tool_prompt: capabilities.tool_prompt.map(|prompt| prompt.name().to_owned()),
            reasoning,
            structured,
        }
    }
}

impl From<LoadProgress> for NativeLoadProgress {
    fn from(LoadProgress { loaded_bytes, total_bytes }: LoadProgress) -> Self {
        Self { loaded_bytes: loaded_bytes as f64, total_bytes: total_bytes as f64 }
    }
}
