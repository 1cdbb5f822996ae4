//! Text of models for JavaScript: token ids, and what a chat template makes of a conversation.

use napi::Env;
use napi::bindgen_prelude::{Object, ToNapiValue, Uint32Array, Unknown};
use napi_derive::napi;

use crate::engine::ModelKey;
use crate::error::Result;
use crate::text::{Load, ModelText};

use super::refusal::Refusal;
use super::{NativeEngine, promise, prompt};

#[napi]
impl NativeEngine {
    /// Token ids of a text.
    #[napi(catch_unwind)]
    pub fn tokenize<'env>(&self, env: &'env Env, model: u32, text: String) -> napi::Result<Object<'env>> {
        let load = Load::text(None, text.len());
        self.text_job(env, model, load, move |model| model.encode(&text).map(Uint32Array::from))
    }

    /// Text of token ids.
    #[napi(catch_unwind)]
    pub fn detokenize<'env>(&self, env: &'env Env, model: u32, tokens: &[u32]) -> napi::Result<Object<'env>> {
        let tokens = tokens.to_vec();
        self.text_job(env, model, Load::default(), move |model| model.decode(&tokens))
    }

    /// The text that the model's chat template makes of a conversation.
    #[napi(catch_unwind)]
    pub fn apply_chat_template<'env>(
        &self,
        env: &'env Env,
        model: u32,
        params: Unknown<'env>,
    ) -> napi::Result<Object<'env>> {
        let chat = match prompt::read_chat(params) {
            Ok(chat) => chat,
            Err(Refusal::Invalid(error)) => {
                return self.text_job::<String>(env, model, Load::default(), move |_| Err(error));
            }
            Err(Refusal::Thrown(thrown)) => return Err(thrown),
        };
        self.text_job(env, model, Load::text(None, chat.num_bytes()), move |model| {
            model.render(&chat).map(|rendered| rendered.text)
        })
    }
}

impl NativeEngine {
    fn text_job<'env, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        model: u32,
        load: Load,
        job: impl FnOnce(&ModelText) -> Result<T> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let engine = self.engine();
        promise(env, move |reply| {
            match engine {
                Ok(engine) => engine.with_text(ModelKey(model), load, job, reply),
                Err(error) => reply.send(Err(error)),
            }
            Ok(())
        })
    }
}
