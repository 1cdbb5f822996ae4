//! The comparison of two prompts, for JavaScript.

use napi::Env;
use napi::bindgen_prelude::{JsObjectValue, Object, Unknown};
use napi_derive::napi;

use crate::engine::{Divergence, ModelKey, PromptComparison, PromptLimits, Reply};
use crate::error::Code;

use super::fields::Fields;
use super::refusal::{Read, Refusal};
use super::{NativeEngine, params, promise};

/// Tokens of an excerpt, unless the caller wants another number.
const AROUND: u64 = 16;
const MAX_AROUND: u64 = 256;

#[napi]
impl NativeEngine {
    /// Compares the prompts of two requests: the properties `a` and `b` of `sides`, which are read after the options, one after
    /// the other.
    #[napi(catch_unwind)]
    pub fn compare_prompts<'env>(
        &self,
        env: &'env Env,
        model: u32,
        sides: Object<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<Object<'env>> {
        let engine = self.engine();
        let limits = engine.as_ref().map_or(PromptLimits::NONE, |engine| engine.prompt_limits(ModelKey(model)));
        let side = |name: &str| {
            let params: Unknown<'env> = sides.get_named_property_unchecked(name)?;
            params::read_params(params, limits).map_err(|refusal| match refusal {
                Refusal::Invalid(error) => Refusal::Invalid(error.in_argument(name)),
                thrown @ Refusal::Thrown(_) => thrown,
            })
        };
        let read = || -> Read<_> { Ok((read_around(options)?, [side("a")?, side("b")?])) };
        let read = read();
        promise(env, move |reply: Reply<NativePromptComparison>| {
            match (engine, read) {
                (Ok(engine), Ok((around, drafts))) => {
                    engine.compare_prompts(ModelKey(model), drafts, around, reply.map(NativePromptComparison::from));
                }
                (Err(error), _) | (_, Err(Refusal::Invalid(error))) => reply.send(Err(error)),
                (_, Err(Refusal::Thrown(thrown))) => return Err(thrown),
            }
            Ok(())
        })
    }
}

fn read_around(options: Unknown<'_>) -> Read<usize> {
    let mut fields = Fields::of("options", Code::InvalidParams, options)?;
    let around = fields.integer("aroundTokens", 0..=MAX_AROUND)?.unwrap_or(AROUND);
    fields.finish()?;
    Ok(usize::try_from(around).unwrap_or_default())
}

/// What two prompts have in common.
#[napi(object)]
#[allow(clippy::struct_field_names, reason = "JavaScript has the same names")]
pub struct NativePromptComparison {
    /// Tokens of each prompt.
    pub tokens: Vec<f64>,
    /// Equal tokens with which both begin.
    pub common_tokens: f64,
    /// Tokens of the second prompt that are not computed.
    pub reusable_tokens: f64,
    /// The fewest tokens that are reused.
    pub min_tokens: f64,
    /// Why none is reusable.
    pub reason: Option<String>,
    /// Where they diverge.
    pub diverges_at: Option<NativeDivergence>,
}

/// The first place at which two prompts differ.
#[napi(object)]
pub struct NativeDivergence {
    /// Position of the first token that differs.
    pub token: f64,
    /// The common text before it.
    pub before: String,
    /// The text of each prompt from there on.
    pub text: Vec<String>,
    /// The param that differs there.
    pub param: Option<String>,
}

impl From<PromptComparison> for NativePromptComparison {
    fn from(comparison: PromptComparison) -> Self {
        let PromptComparison { num_tokens, num_common, num_reusable, min_tokens, reason, divergence } = comparison;
        Self {
            tokens: num_tokens.map(|count| count as f64).to_vec(),
            common_tokens: num_common as f64,
            reusable_tokens: num_reusable as f64,
            min_tokens: min_tokens as f64,
            reason: reason.map(|reason| reason.as_str().to_owned()),
            diverges_at: divergence.map(|Divergence { token, before, texts, param }| NativeDivergence {
                token: token as f64,
                before,
                text: texts.into(),
                param,
            }),
        }
    }
}
