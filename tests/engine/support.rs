//! An engine on a simulated device, and callers that wait for their answers.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mlx_serving::answers::{End, ReaderId};
use mlx_serving::clock::{Clock, RealClock};
use mlx_serving::engine::{Config, Draft, Engine, ModelKey, OpenBackend, ParsedDelivery, Prompt, Reply, Snapshot};
use mlx_serving::error::Result;
use mlx_serving::executor::sim::{Fault, Profile, Script, SimBackend};
use mlx_serving::executor::{Backend, LoadControl};
use mlx_serving::request::{Sharing, TokenLogprob};
use mlx_serving::scheduler::{self, BatchLimitConfig};
use mlx_serving::text::{ModelText, ParsedOutput, ToolCallDelta};

/// A device that takes 95 ms for the first token and 6.4 ms for each further one. On an instant device an answer may be
/// complete before the test does anything with it.
pub(super) const SLOW: &str = "m3-max/llama-3.2-3b-4bit";

/// How long a test waits for an event. Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Everything that one reader received.
#[derive(Debug, Default, Clone)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
    pub(super) num_chunks: usize,
    pub(super) end: Option<End>,
    /// Text and tokens of the whole answer, as the end reports them.
    pub(super) whole: String,
    pub(super) whole_tokens: Vec<u32>,
    /// For each of these tokens: its own log-probability, then those of the most probable tokens, as many as the
    /// request wants.
    pub(super) logprobs: Vec<TokenLogprob>,
    /// The deltas besides text, and the parsed whole answer.
    pub(super) reasoning: String,
    pub(super) deltas: Vec<ToolCallDelta>,
    pub(super) parsed: Option<ParsedOutput>,
}

/// Real time. The test can stop a device that waits for this time.
#[derive(Default)]
pub(super) struct GatedClock {
    gates: Mutex<VecDeque<Receiver<()>>>,
}

/// Open once this is dropped.
pub(super) struct Gate(#[expect(dead_code, reason = "only its drop matters")] Sender<()>);

impl GatedClock {
    /// The next wait of the device lasts until the returned gate is dropped. Later waits are as usual; further calls close
    /// further ones.
    pub(super) fn close(&self) -> Gate {
        let (gate, waits) = channel();
        self.gates.lock().expect("not poisoned").push_back(waits);
        Gate(gate)
    }
}

impl Clock for GatedClock {
    fn now(&self) -> Instant {
        RealClock.now()
    }

    fn sleep_until(&self, until: Instant) {
        let gate = self.gates.lock().expect("not poisoned").pop_front();
        if let Some(gate) = gate {
            gate.recv().ok();
        }
        RealClock.sleep_until(until);
    }

    fn thread_time(&self) -> Duration {
        RealClock.thread_time()
    }
}

/// An engine with one model, and everything that its readers received so far.
pub(super) struct Caller {
    pub(super) engine: Arc<Engine>,
    pub(super) model: ModelKey,
    /// The id of the model, which labels its metrics.
    id: String,
    answers: Mutex<HashMap<ReaderId, Answer>>,
    woken: Arc<(Mutex<bool>, Condvar)>,
}

pub(super) fn model_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/conformance/fixtures/walk-byte-level")
}

/// A backend of simulated devices that know a real tokenizer's vocabulary.
pub(super) fn simulated(profile: Profile, faults: Vec<Fault>) -> OpenBackend {
    simulated_by(Arc::new(RealClock), profile, faults)
}

/// The same with another clock for the devices.
pub(super) fn simulated_by(clock: Arc<dyn Clock>, profile: Profile, faults: Vec<Fault>) -> OpenBackend {
    simulated_as(clock, profile, |backend| backend.with_faults(faults))
}

/// The same with further properties of the devices.
pub(super) fn simulated_as(
    clock: Arc<dyn Clock>,
    profile: Profile,
    change: impl FnOnce(SimBackend) -> SimBackend + Send + 'static,
) -> OpenBackend {
    Box::new(move || {
        let vocabulary = Box::new(|folder: &_| {
            let text = ModelText::open(folder)?;
            let sentences = ["One two three. ", "Four, five. ", "Six seven eight nine. "];
            // Long enough that a test sees the middle of every answer.
            let sentences = sentences.iter().map(|it| text.encode_rendered(&it.repeat(12))).collect::<Result<_>>()?;
            let script = Script::new(sentences, text.end_tokens()[0]).expect("there are words");
            Ok((script, text.vocab_size()))
        });
        Ok(Box::new(change(SimBackend::new(profile, clock, vocabulary))) as Box<dyn Backend>)
    })
}

impl Caller {
    pub(super) fn new() -> Self {
        Self::with(&Config::default(), "instant", Vec::new())
    }

    pub(super) fn with(config: &Config, profile: &'static str, faults: Vec<Fault>) -> Self {
        Self::on(config, Profile::named(profile).expect("a listed profile"), faults)
    }

    pub(super) fn on(config: &Config, profile: Profile, faults: Vec<Fault>) -> Self {
        Self::open(config, simulated(profile, faults), model_folder())
    }

    /// With a device like `SLOW` that the clock can stop.
    pub(super) fn gated(config: &Config, clock: &Arc<GatedClock>, faults: Vec<Fault>) -> Self {
        let profile = Profile::named(SLOW).expect("a listed profile");
        Self::open(config, simulated_by(Arc::clone(clock) as Arc<dyn Clock>, profile, faults), model_folder())
    }

    pub(super) fn open(config: &Config, backend: OpenBackend, folder: PathBuf) -> Self {
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let woken = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&woken);
        let wake = Box::new(move || {
            *signal.0.lock().expect("not poisoned") = true;
            signal.1.notify_all();
        });
        let engine = Engine::start(*config, backend, wake).expect("the engine starts");
        let model =
            wait(|reply| engine.load(folder.into(), LoadControl::default(), reply)).expect("the model loads").key;
        Self { engine, model, id, answers: Mutex::default(), woken }
    }

    /// Waits until the counters satisfy a condition. Delivers nothing meanwhile.
    pub(super) fn when(&self, condition: impl Fn(&Snapshot) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !condition(&self.engine.stats()) {
            assert!(Instant::now() < give_up, "the condition was not met in time: {:?}", self.engine.stats());
            std::thread::yield_now();
        }
    }

    /// Requests that were sent to a worker and have not ended.
    pub(super) fn num_pending(&self) -> usize {
        self.engine.sample().workers.iter().map(|worker| worker.load.num_pending).sum()
    }

    pub(super) fn submit(&self, draft: Draft) -> ReaderId {
        self.engine.submit(self.model, draft).expect("accepted")[0]
    }

    /// Submits a request, then lets its reader stream. The answer may grow or end in between.
    pub(super) fn stream(&self, draft: Draft) -> ReaderId {
        let reader = self.submit(draft);
        self.engine.stream(reader);
        reader
    }

    /// Submits a request whose reader streams before the engine thread has the request: only the rows of readers that
    /// stream are parked.
    pub(super) fn stream_from_start(&self, draft: Draft) -> ReaderId {
        let reader = self.engine.hold(&self.id, draft).expect("accepted")[0];
        self.engine.stream(reader);
        self.engine.submit_held(reader, self.model);
        reader
    }

    /// Waits for the end of a reader.
    pub(super) fn answer(&self, reader: ReaderId) -> Answer {
        self.until(|answers| answers.get(&reader).filter(|answer| answer.end.is_some()).cloned())
    }

    /// Waits until a reader has received this many tokens.
    pub(super) fn tokens(&self, reader: ReaderId, num_tokens: usize) {
        self.until(|answers| answers.get(&reader).filter(|answer| answer.tokens.len() >= num_tokens).map(drop));
    }

    pub(super) fn ask(&self, draft: Draft) -> Answer {
        self.answer(self.submit(draft))
    }

    /// Everything that a reader received so far.
    pub(super) fn so_far(&self, reader: ReaderId) -> Answer {
        self.answers.lock().expect("not poisoned").get(&reader).cloned().unwrap_or_default()
    }

    /// Drains until `done` returns a value.
    pub(super) fn until<T>(&self, done: impl Fn(&HashMap<ReaderId, Answer>) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            self.drain();
            if let Some(found) = done(&self.answers.lock().expect("not poisoned")) {
                return found;
            }
            let woken = self.woken.0.lock().expect("not poisoned");
            let (mut woken, waited) = self
                .woken
                .1
                .wait_timeout_while(woken, give_up.saturating_duration_since(Instant::now()), |woken| !*woken)
                .expect("not poisoned");
            *woken = false;
            assert!(!waited.timed_out(), "nothing was delivered in time");
        }
    }

    pub(super) fn drain(&self) {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        let (mut token_at, mut byte_at) = (0, 0);
        for ParsedDelivery { delivery, part, parsed, .. } in self.engine.drain(&mut tokens, &mut text) {
            let mut answers = self.answers.lock().expect("not poisoned");
            let answer = answers.entry(delivery.reader).or_default();
            assert!(answer.end.is_none(), "nothing is delivered after the end");
            answer.tokens.extend(&tokens[token_at..token_at + delivery.num_tokens]);
            answer.text.push_str(&text[byte_at..byte_at + delivery.num_bytes]);
            answer.num_chunks += usize::from(delivery.num_bytes > 0);
            token_at += delivery.num_tokens;
            byte_at += delivery.num_bytes;
            answer.reasoning.push_str(&part.reasoning);
            answer.deltas.extend(part.calls);
            if let Some((end, log)) = delivery.end {
                answer.whole = log.text();
                answer.whole_tokens = log.tokens();
                answer.logprobs = log.logprobs().values;
                answer.parsed = parsed;
                answer.end = Some(end);
            }
        }
    }
}

/// An engine with a fixed batch limit.
pub(super) fn with_rows(num_rows: usize) -> Config {
    let batch_limit = BatchLimitConfig { start: num_rows, tune: None, ..BatchLimitConfig::default() };
    Config { scheduler: scheduler::Config { batch_limit, ..scheduler::Config::default() }, ..Config::default() }
}

pub(super) fn draft(prompt: &str, max_tokens: usize) -> Draft {
    Draft {
        max_tokens: Some(max_tokens),
        seed: Some(0),
        // The tests repeat requests and expect that each is computed.
        sharing: Sharing::Off,
        ..Draft::of(Prompt::Text(prompt.into()))
    }
}

/// A request that runs until it is cancelled: its answer takes 50 s on `SLOW`.
pub(super) fn endless(prompt: &str) -> Draft {
    Draft { ignore_eos: true, ..draft(prompt, 8_000) }
}

/// Calls a function with a reply and waits for it.
pub(super) fn wait<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T> {
    let (sender, receiver): (_, Receiver<Result<T>>) = channel();
    call(Reply::new(move |result| drop(sender.send(result))));
    receiver.recv_timeout(PATIENCE).expect("every command gets a reply")
}
