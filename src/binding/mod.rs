//! The only room that names napi. It turns option objects into validated values, answers into packed arrays, and errors
//! into plain objects with a code. `lib/native.ts` is the other half of this contract. There is no engine logic here.
//!
//! Every method catches unwinds: a panic in a synchronous napi function would abort the process.

#![expect(unreachable_pub, reason = "napi exports are public to JavaScript, not to Rust")]
#![cfg_attr(test, allow(dead_code, reason = "napi registers nothing in unit tests"))]

mod backend;
mod cache_figures;
mod comparison;
mod counts;
mod crossing;
mod exit;
mod fields;
mod figures;
mod file;
mod held;
mod json;
mod keys;
mod latency;
mod log;
mod logprobs;
mod memory_figures;
mod model;
mod names;
mod observe;
mod options;
mod params;
mod paths;
mod pins;
mod prefix_figures;
mod prompt;
mod refusal;
mod scripted;
mod settings;
mod slot;
mod structured;
mod subscriber;
mod text;
mod validators;
mod variables;
mod worker_figures;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Either, Function, JsObjectValue, Object, Uint32ArraySlice, Unknown};
use napi_derive::napi;
use tracing::Span;

use crate::answers::ReaderId;
use crate::config::{Effective, OPTIONS, Settings, Source};
use crate::engine::{Config, Draft, Engine, ModelKey, PromptLimits, Reply};
use crate::error::{Code, Error, Result};
use crate::executor::{LoadControl, sim};
use crate::lock::lock;

use crossing::{NativeError, NativeUsage, Packed};
use fields::whole;
use file::{NativeFile, NativeFileKey};
use log::NativeLogLevel;
use options::Options;
use refusal::{Read, Refusal};
use scripted::Scripted;
use settings::{NativeOption, NativeSetting};
use slot::{Slot, Waker};
use subscriber::Registered;

/// The result of a promise or call: a value, or an error as data.
type Outcome<T> = Either<T, NativeError>;

/// Version of the addon. It must equal the version of the package.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Names of the simulated device profiles.
#[napi(catch_unwind)]
pub fn profiles() -> Vec<&'static str> {
    sim::PROFILES.iter().map(|profile| profile.name).collect()
}

/// The table of options, in its order. The reference in docs/ is made from it.
#[napi(catch_unwind)]
pub fn options() -> Vec<NativeOption> {
    OPTIONS.iter().map(NativeOption::from).collect()
}

/// All keys of a runtime file, those of an option together.
#[napi(catch_unwind)]
pub fn file_keys() -> Vec<NativeFileKey> {
    file::all_keys()
}

/// A sentence about each of these environment variables that this package does not know.
#[napi(catch_unwind)]
pub fn unknown_variables(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter_map(|name| variables::warning(&name)).collect()
}

/// One engine, as JavaScript holds it.
#[napi]
pub struct NativeEngine {
    waker: Arc<Waker>,
    engine: Arc<Slot>,
    /// Loads that have not ended, by the numbers that JavaScript gave them.
    loads: Arc<Mutex<HashMap<u32, LoadControl>>>,
    /// The scripted answers of a simulated device, once the options were read.
    scripted: Mutex<Option<Scripted>>,
    /// The messages for the logger, if there is one, until the engine is closed.
    log: Mutex<Option<Registered>>,
}

#[napi]
impl NativeEngine {
    /// Keeps the wake function. Starts nothing.
    #[napi(constructor, catch_unwind)]
    pub fn new(wake: Function<'_, (), ()>) -> napi::Result<Self> {
        let waker = Arc::new(Waker::new(&wake)?);
        let (engine, loads) = (Arc::default(), Arc::default());
        Ok(Self { waker, engine, loads, scripted: Mutex::default(), log: Mutex::default() })
    }

    /// Starts the engine thread. The promise resolves with the effective settings once the backend is ready.
    /// `memory_bytes` is the memory that this process may use, `file` the runtime file, and `log` the levels of the logger.
    #[napi(catch_unwind)]
    pub fn start<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
        environment: Unknown<'env>,
        memory_bytes: f64,
        file: Option<NativeFile>,
        log: Option<Vec<NativeLogLevel>>,
    ) -> napi::Result<Object<'env>> {
        exit::stop_at_exit(*env, &self.engine)?;
        let waker = Arc::clone(&self.waker);
        let slot = Arc::clone(&self.engine);
        promise(env, move |reply: Reply<Vec<NativeSetting>>| {
            let options = match options::read(options, environment, file) {
                Ok(options) => options,
                Err(Refusal::Invalid(error)) => {
                    reply.send(Err(error));
                    return Ok(());
                }
                Err(Refusal::Thrown(thrown)) => return Err(thrown),
            };
            let Options { settings, mut effective, cache_path, prefix_path, backend } = options;
            *lock(&self.scripted) = backend.scripted().cloned();
            let span = log.map_or_else(Span::none, |levels| self.register_log(levels));
            let wake = Box::new(move || waker.wake());
            spawn("mlx-serving-start", reply, move || {
                let mut config = Config::from(&settings);
                config.memory_bytes = [config.memory_bytes, whole(memory_bytes)].into_iter().flatten().min();
                config.device_bytes = backend::device_bytes(&backend);
                settings::show_memory_limit(&mut effective, config.memory_bytes);
                let open = backend::open(backend, &settings, config.memory_bytes);
                let _entered = span.enter();
                let engine = Engine::start(config, open, wake)?;
                exit::before_libraries();
                cache_path.map_or(Ok(()), |path| engine.keep_answers_in(path))?;
                prefix_path.map_or(Ok(()), |path| engine.keep_prefixes_in(path))?;
                slot.set(engine)?;
                Ok(effective)
            });
            Ok(())
        })
    }

    /// Accepts a request. Returns the id of one reader for each of its answers. `scripted` is what `lib/scripted.ts`
    /// found for it in the script of a simulated device.
    #[napi(catch_unwind)]
    pub fn submit(
        &self,
        model: u32,
        params: Unknown<'_>,
        options: Unknown<'_>,
        scripted: Unknown<'_>,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        let model = ModelKey(model);
        let limits = self.engine.get().map_or(PromptLimits::NONE, |engine| engine.prompt_limits(model));
        self.accept(params, options, limits, scripted, |engine, draft| engine.submit(model, draft))
    }

    /// Includes the reader's text in drains, from the beginning of its answer.
    #[napi(catch_unwind)]
    pub fn stream(&self, reader: u32) {
        self.with_engine(|engine| engine.stream(ReaderId(reader)));
    }

    /// Adds credit: the consumer took this many tokens.
    #[napi(catch_unwind)]
    pub fn credit(&self, reader: u32, tokens: u32) {
        self.with_engine(|engine| engine.credit(ReaderId(reader), tokens as usize));
    }

    /// What the reader's request has used so far; nothing before its generation has started.
    #[napi(catch_unwind)]
    pub fn usage(&self, reader: u32) -> Option<NativeUsage> {
        self.engine.get().and_then(|engine| engine.usage(ReaderId(reader))).map(NativeUsage::from)
    }

    /// Ends the answer with the tokens that it has.
    #[napi(catch_unwind)]
    pub fn cancel(&self, reader: u32) {
        self.with_engine(|engine| engine.cancel(ReaderId(reader)));
    }

    /// Removes the reader; nothing more is delivered to it.
    #[napi(catch_unwind)]
    pub fn release(&self, reader: u32) {
        self.with_engine(|engine| engine.release(ReaderId(reader)));
    }

    /// Everything new since the last drain, packed.
    #[napi(catch_unwind)]
    pub fn drain<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        let deliveries = self.engine.get().map_or_else(Vec::new, |engine| engine.drain(&mut tokens, &mut text));
        let Packed { spans, deltas, ended } = crossing::pack(env, &deliveries, &text)?;
        let mut drained = Object::new(env)?;
        drained.set_named_property("spans", Uint32ArraySlice::copy_from(env, spans)?)?;
        drained.set_named_property("tokens", Uint32ArraySlice::copy_from(env, tokens)?)?;
        drained.set_named_property("text", text)?;
        drained.set_named_property("deltas", deltas)?;
        drained.set_named_property("ended", ended)?;
        if let Some(progress) = crossing::pack_progress(&deliveries) {
            drained.set_named_property("progress", Uint32ArraySlice::copy_from(env, progress)?)?;
        }
        if let Some(logprobs) = crossing::pack_spans_logprobs(env, &deliveries)? {
            drained.set_named_property("logprobs", logprobs)?;
        }
        Ok(drained)
    }

    /// Bytes of KV that all models may use together now.
    #[napi(catch_unwind)]
    pub fn kv_limit(&self) -> Option<f64> {
        self.engine.get().and_then(|engine| engine.kv_limit()).map(|bytes| bytes as f64)
    }

    /// Changes which answers are shared. Returns the changed options.
    #[napi(catch_unwind)]
    pub fn configure_cache(&self, options: Unknown<'_>) -> napi::Result<Outcome<Vec<NativeSetting>>> {
        let values = match options::read_cache(options) {
            Ok(values) => values,
            Err(Refusal::Invalid(error)) => return Ok(Either::B(NativeError::from(&error))),
            Err(Refusal::Thrown(thrown)) => return Err(thrown),
        };
        Ok(outcome(self.engine().and_then(|engine| {
            let before = Settings { cache: engine.sharing(), ..Settings::default() };
            engine.configure_sharing(before.with(&values)?.cache);
            let changed = |(option, value)| Effective::new(option, Some(value), Source::Option);
            Ok(values.into_iter().map(changed).map(NativeSetting::from).collect())
        })))
    }

    /// Problems that no call reports, such as a cache file that cannot be written. Each is returned once.
    #[napi(catch_unwind)]
    pub fn take_warnings(&self) -> Vec<String> {
        self.engine.get().map(|engine| engine.take_warnings()).unwrap_or_default()
    }

    /// Empties the answer cache, and drops retained KV.
    #[napi(catch_unwind)]
    pub fn clear_cache(&self) {
        self.with_engine(|engine| engine.forget_answers());
    }

    /// Refuses new requests. Running ones may end within `drain_ms`.
    #[napi(catch_unwind)]
    pub fn shutdown<'env>(&self, env: &'env Env, drain_ms: f64) -> napi::Result<Object<'env>> {
        let engine = self.engine.get();
        promise(env, move |reply: Reply<()>| {
            let drain = Duration::try_from_secs_f64(drain_ms / 1e3).unwrap_or(Duration::ZERO);
            match engine {
                Some(engine) => engine.shutdown(drain, reply),
                None => reply.send(Ok(())),
            }
            Ok(())
        })
    }

    /// Stops and joins the engine thread within a step.
    #[napi(catch_unwind)]
    pub fn stop(&self) {
        self.with_engine(|engine| engine.stop());
    }

    /// Releases everything that an engine holds, after it was shut down or failed to start. JavaScript is not woken any more.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.waker.release();
        drop(lock(&self.log).take());
        if let Some(engine) = self.engine.close() {
            // A thread of its own: dropping the engine waits for its text threads, which may be busy.
            let end = move || {
                engine.stop();
                drop(engine);
                Ok(())
            };
            spawn("mlx-serving-end", Reply::new(|_| ()), end);
        }
    }

    /// Reads a request, and gives it to the engine. Returns the ids of its readers.
    fn accept(
        &self,
        params: Unknown<'_>,
        options: Unknown<'_>,
        limits: PromptLimits,
        scripted: Unknown<'_>,
        give: impl FnOnce(&Arc<Engine>, Draft) -> Result<Vec<ReaderId>>,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        // Cloned, because reading an answer may run code of the caller, which may submit another request.
        let script = lock(&self.scripted).clone();
        let candidates = script.map(|script| script.candidates(scripted)).transpose();
        let draft = candidates.and_then(|candidates| params::read(params, options, limits, candidates));
        self.give(draft, give)
    }

    /// Gives a request that was read to the engine. Returns the ids of its readers.
    fn give(
        &self,
        draft: Read<Draft>,
        give: impl FnOnce(&Arc<Engine>, Draft) -> Result<Vec<ReaderId>>,
    ) -> napi::Result<Outcome<Vec<u32>>> {
        let draft = match draft {
            Ok(draft) => draft,
            Err(Refusal::Invalid(error)) => return Ok(Either::B(NativeError::from(&error))),
            Err(Refusal::Thrown(thrown)) => return Err(thrown),
        };
        let readers = self.engine().and_then(|engine| give(&engine, draft));
        Ok(outcome(readers.map(|readers| readers.into_iter().map(|reader| reader.0).collect())))
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.get().ok_or_else(|| Error::new(Code::EngineClosed, "the engine is not running"))
    }

    fn with_engine(&self, act: impl FnOnce(&Arc<Engine>)) {
        if let Some(engine) = self.engine.get() {
            act(&engine);
        }
    }
}

/// A promise that resolves with a value, or with an error as data. Any thread may send the reply.
fn promise<T: napi::bindgen_prelude::ToNapiValue + Send + 'static>(
    env: &Env,
    begin: impl FnOnce(Reply<T>) -> napi::Result<()>,
) -> napi::Result<Object<'_>> {
    type Resolve<T> = Box<dyn FnOnce(Env) -> napi::Result<Outcome<T>> + Send>;
    let (deferred, promise) = env.create_deferred::<Outcome<T>, Resolve<T>>()?;
    begin(Reply::new(move |result: Result<T>| deferred.resolve(Box::new(move |_| Ok(outcome(result))))))?;
    Ok(promise)
}

fn outcome<T>(result: Result<T>) -> Outcome<T> {
    match result {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(NativeError::from(&error)),
    }
}

/// Runs long work on a thread of its own. The reply is sent even if the thread cannot be started.
fn spawn<T: Send + 'static>(name: &str, reply: Reply<T>, work: impl FnOnce() -> Result<T> + Send + 'static) {
    drop(std::thread::Builder::new().name(name.into()).spawn(move || reply.send(work())));
}
