//! Requests for models that are not loaded, for JavaScript, which loads the model and then submits them.

use napi::bindgen_prelude::Unknown;
use napi_derive::napi;

use crate::answers::ReaderId;
use crate::engine::{ModelKey, PromptLimits};
use crate::error::{Code, Error};

use super::{NativeEngine, Outcome};

#[napi]
impl NativeEngine {
    /// Accepts a request for a model that is not loaded. Returns the id of one reader for each of its answers; the first one
    /// names the request.
    #[allow(clippy::needless_pass_by_value, reason = "napi passes strings by value")]
    #[napi(catch_unwind)]
    pub fn hold(
        &self,
        model_id: String,
        params: Unknown<'_>,
        options: Unknown<'_>,
        scripted: Unknown<'_>,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        self.accept(params, options, PromptLimits::NONE, scripted, |engine, draft| engine.hold(&model_id, draft))
    }

    /// Submits a held request to its model.
    #[napi(catch_unwind)]
    pub fn submit_held(&self, first: u32, model: u32) {
        self.with_engine(|engine| engine.submit_held(ReaderId(first), ModelKey(model)));
    }

    /// Ends a held request with an error of this code. Without effect if it has ended or was submitted.
    #[allow(clippy::needless_pass_by_value, reason = "napi passes strings by value")]
    #[napi(catch_unwind)]
    pub fn fail_held(&self, first: u32, code: String, message: String) {
        let code = Code::ALL.into_iter().find(|known| known.as_str() == code).unwrap_or(Code::BackendError);
        self.with_engine(|engine| engine.fail_held(ReaderId(first), &Error::new(code, message)));
    }
}
