//! From the `backend` option to the function that opens the backend on the engine thread.

use std::sync::Arc;

use crate::clock::RealClock;
use crate::config::Settings;
use crate::engine::OpenBackend;
use crate::error::{Code, Error, Result};
use crate::executor::Backend;
use crate::executor::sim::{Script, SimBackend};
use crate::hub::ModelFolder;
use crate::text::ModelText;

use super::options::BackendChoice;

/// The answers of a simulated model are made of these sentences.
const SENTENCES: [&str; 8] = [
    "A simulated device answers. ",
    "Its words mean nothing, but they come at the speed of a real one. ",
    "The same question gets the same answer. ",
    "Steps are shared by everybody who waits. ",
    "Nothing was computed for this sentence. ",
    "Measure the service around it instead. ",
    "Short prompts start sooner than long ones. ",
    "In the end there is an end. ",
];

/// Texts that close a JSON value: a simulated model prefers them where a grammar allows them.
const CLOSING: [&str; 3] = ["\"", "}", "]"];

/// The function that opens the backend on the engine thread. A simulated device is always reproducible.
pub(super) fn open(choice: BackendChoice, settings: &Settings, memory_bytes: Option<u64>) -> OpenBackend {
    match choice {
        BackendChoice::Mlx => open_mlx(settings, memory_bytes),
        BackendChoice::Simulated { profile, faults, .. } => Box::new(move || {
            let backend = SimBackend::new(profile, Arc::new(RealClock), Box::new(vocabulary)).with_faults(faults);
            Ok(Box::new(backend) as Box<dyn Backend>)
        }),
    }
}

/// What the device of a backend can use at a time without a loss of speed.
pub(super) fn device_bytes(choice: &BackendChoice) -> Option<u64> {
    match choice {
        #[cfg(feature = "mlx")]
        BackendChoice::Mlx => crate::executor::mlx::MlxBackend::working_set(),
        _ => None,
    }
}

#[cfg(feature = "mlx")]
fn open_mlx(settings: &Settings, memory_bytes: Option<u64>) -> OpenBackend {
    let (is_deterministic, precision) = (settings.scheduler.deterministic, settings.precision);
    Box::new(move || {
        let backend = crate::executor::mlx::MlxBackend::new()?.bound_buffer_cache(memory_bytes)?;
        let backend = backend.deterministic(is_deterministic).precision(precision, None);
        Ok(Box::new(backend) as Box<dyn Backend>)
    })
}

#[cfg(not(feature = "mlx"))]
fn open_mlx(_settings: &Settings, _memory_bytes: Option<u64>) -> OpenBackend {
    Box::new(|| Err(Error::new(Code::ConfigError, "this build has no MLX").with_param("backend")))
}

/// The sentences as tokens of the model's tokenizer.
fn vocabulary(folder: &ModelFolder) -> Result<(Script, usize)> {
    let text = ModelText::open(folder)?;
    let sentences = SENTENCES.iter().map(|sentence| text.encode_rendered(sentence)).collect::<Result<Vec<_>>>()?;
    let cannot_speak =
        || Error::new(Code::TokenizerError, "the tokenizer has no end token or no words for a simulation");
    let end = text.end_tokens().first().copied().ok_or_else(cannot_speak)?;
    let script = Script::new(sentences, end).ok_or_else(cannot_speak)?;
    let closing = CLOSING.iter().map(|mark| text.encode_rendered(mark)).collect::<Result<Vec<_>>>()?;
    // Some tokenizers encode the text as several tokens; those cannot be used as one closing token.
    let closing = closing.into_iter().filter_map(|tokens| <[_; 1]>::try_from(tokens).ok().map(|[token]| token));
    Ok((script.with_closing(closing.collect()), text.vocab_size()))
}
