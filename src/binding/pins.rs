//! Pinned prompts, for JavaScript, which assigns their numbers. A request that pins its prompt has one reader.

use napi::bindgen_prelude::Unknown;
use napi_derive::napi;

use crate::engine::{ModelKey, PromptLimits};
use crate::request::PinId;

use super::fields::whole;
use super::{NativeEngine, Outcome, params};

#[napi]
impl NativeEngine {
    /// Accepts a request that reads a prompt and pins it. Returns the id of its reader.
    #[napi(catch_unwind)]
    pub fn pin(
        &self,
        model: u32,
        params: Unknown<'_>,
        options: Unknown<'_>,
        pin: u32,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        let model = ModelKey(model);
        let limits = self.engine.get().map_or(PromptLimits::NONE, |engine| engine.prompt_limits(model));
        let draft = params::read_pinned(params, options, limits, PinId(pin));
        self.give(draft, |engine, draft| engine.submit(model, draft))
    }

    /// The same for a model that is not loaded; see `hold`.
    #[allow(clippy::needless_pass_by_value, reason = "napi passes strings by value")]
    #[napi(catch_unwind)]
    pub fn hold_pin(
        &self,
        model_id: String,
        params: Unknown<'_>,
        options: Unknown<'_>,
        pin: u32,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        let draft = params::read_pinned(params, options, PromptLimits::NONE, PinId(pin));
        self.give(draft, |engine, draft| engine.hold(&model_id, draft))
    }

    /// Releases a pinned prompt. Without effect if there is none of this number.
    #[napi(catch_unwind)]
    pub fn unpin(&self, pin: u32) {
        self.with_engine(|engine| engine.unpin(PinId(pin)));
    }

    /// Bytes that the KV of a pinned prompt takes.
    #[napi(catch_unwind)]
    pub fn pinned_bytes(&self, model: u32, num_tokens: f64) -> f64 {
        let num_tokens = whole(num_tokens).and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
        self.engine.get().map_or(0.0, |engine| engine.pinned_bytes(ModelKey(model), num_tokens) as f64)
    }
}
