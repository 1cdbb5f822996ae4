//! Drives the core of the engine without its thread: the test submits requests, runs turns and moves the clock, and the
//! harness records what each reader received.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::answers::{AnswerCache, AnswerLog, Claim, Fingerprint, ReaderId, Settings, Terms};
use crate::clock::{Clock, ManualClock};
use crate::config;
use crate::engine::Config;
use crate::engine::answer_parser::Readers;
use crate::engine::asked::Asked;
use crate::engine::budget::{Budget, Ledger};
use crate::engine::command::{Command, Opened, Reply, Submission, UnloadedAnswers, Unloading};
use crate::engine::core::{Core, Next};
use crate::engine::ids::ModelKey;
use crate::engine::ids::WorkerId;
use crate::engine::labels::ModelLabel;
use crate::engine::pending::Caller;
use crate::engine::permit::{Permit, Permits};
use crate::engine::router::Router;
use crate::engine::sample::{ModelStats, Sample};
use crate::engine::shared::SharedState;
use crate::engine::slots::SharedSlots;
use crate::engine::stats::Stats;
use crate::error::{Code, Error};
use crate::executor::LoadControl;
use crate::executor::sim::{Attention, Fault, Profile, Script, SimBackend, SimLoad};
use crate::hub::{self, ModelFolder};
use crate::prefix_store::PrefixStore;
use crate::request::{
    PrefixScope, Priority, Progress, Request, RequestId, SamplingParams, SequenceId, Sharing, Summary, TokenId,
};
use crate::scheduler::plan::Overlap;
use crate::scheduler::{self, WindowConfig};
use crate::text::ModelText;

use super::loader::Loader;
use super::panicking_clock::PanickingClock;

/// The largest number of tokens of an answer.
pub(super) const NUM_TOKENS: usize = 12;
/// The largest number of prompt tokens in a step.
pub(super) const CHUNK: usize = 16;
/// The least time after which a step counts as stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Time that a step takes.
pub(super) const STEP: Duration = Duration::from_millis(1);

pub(super) const MODEL: ModelKey = ModelKey(0);
/// The second model of some tests. Its steps take `TIMES_SLOWER` times as long.
pub(super) const SLOW: ModelKey = ModelKey(1);
pub(super) const TIMES_SLOWER: u32 = 23;

pub(super) const PROFILE: Profile = Profile {
    name: "test-device",
    decode: STEP,
    staircase: &[(1, 1.0), (64, 1.0)],
    prefill_floor: Duration::ZERO,
    prefill_per_token: Duration::ZERO,
    attention: Attention::FREE,
    command_buffers: &[],
    context_length: 4_096,
    kv_bytes_per_position: 0,
    weight_bytes: 0,
    overlap: Overlap::None,
};

static FOLDER: LazyLock<(ModelFolder, Arc<ModelText>)> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/conformance/fixtures/walk-byte-level");
    let folder = hub::open_folder(&path).expect("a model folder");
    let text = Arc::new(ModelText::open(&folder).expect("a tokenizer"));
    (folder, text)
});

/// Answers whose tokens are single letters. Some are shorter than `NUM_TOKENS`.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let text = &FOLDER.1;
    let sentences = ["abc", "defghi", "jk", "lmnopqrstuvw"].map(|it| text.encode_rendered(it).expect("letters"));
    Script::new(sentences.to_vec(), 0).expect("there are words")
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) model: ModelKey,
    /// The token that the prompt repeats. Different prompts have different answers.
    pub(super) prompt: TokenId,
    pub(super) salt: Option<&'static str>,
    pub(super) sharing: Sharing,
    /// A request without a seed is greedy, unless `sharing` is `Force`: then it samples with its number as the seed.
    pub(super) seed: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: Priority,
    /// Length of the prompt in tokens.
    pub(super) prompt_len: usize,
    pub(super) wants_progress: bool,
}

pub(super) fn spec(prompt: TokenId) -> Spec {
    Spec {
        model: MODEL,
        prompt,
        salt: None,
        sharing: Sharing::Auto,
        seed: None,
        timeout: None,
        priority: Priority::Default,
        prompt_len: 1,
        wants_progress: false,
    }
}

/// What one reader received.
#[derive(Debug, Default, Clone)]
pub(super) struct Received {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenId>,
    pub(super) end: Option<Result<Summary, Code>>,
    pub(super) progress: Vec<Progress>,
    /// The whole answer, as its end reports it.
    pub(super) whole: (String, Vec<TokenId>),
    /// The answer's log.
    pub(super) log: Option<Arc<AnswerLog>>,
}

/// What tests vary of the engine and its device.
pub(super) struct Options {
    pub(super) faults: Vec<Fault>,
    pub(super) chunk: usize,
    /// Bytes of KV of all models.
    pub(super) kv_bytes: Option<u64>,
    pub(super) disk: Option<Arc<PrefixStore>>,
}

pub(super) const DEFAULT: Options = Options { faults: Vec::new(), chunk: CHUNK, kv_bytes: None, disk: None };

/// A device with the time of a clock.
fn device(profile: Profile, clock: &Arc<ManualClock>) -> SimBackend {
    SimBackend::new(profile, Arc::clone(clock) as Arc<dyn Clock>, Box::new(|_| Ok((SCRIPT.clone(), 256))))
}

pub(super) struct Harness {
    pub(super) core: Core,
    pub(super) loader: Loader,
    pub(super) shared: SharedState,
    pub(super) clock: Arc<ManualClock>,
    pub(super) panics: Arc<PanickingClock>,
    pub(super) received: HashMap<ReaderId, Received>,
    /// When the thread that drains was woken.
    pub(super) wakes: Arc<Mutex<Vec<Instant>>>,
    permits: Arc<Permits>,
    fingerprint: Fingerprint,
    num_submitted: u64,
}

impl Harness {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with(settings, 256)
    }

    /// With streams that may run `buffer_tokens` ahead of their reader.
    pub(super) fn with(settings: Settings, buffer_tokens: usize) -> Self {
        Self::failing(settings, buffer_tokens, Vec::new())
    }

    /// With a device that fails at the given steps.
    pub(super) fn failing(settings: Settings, buffer_tokens: usize, faults: Vec<Fault>) -> Self {
        Self::on(PROFILE, settings, buffer_tokens, Options { faults, ..DEFAULT })
    }

    /// With a device that accepts steps ahead as `overlap` says.
    pub(super) fn overlapping(overlap: Overlap, buffer_tokens: usize) -> Self {
        Self::on(Profile { overlap, ..PROFILE }, Settings::default(), buffer_tokens, DEFAULT)
    }

    /// With `chunk` prompt tokens per step.
    pub(super) fn reading(chunk: usize) -> Self {
        Self::on(PROFILE, Settings::OFF, 256, Options { chunk, ..DEFAULT })
    }

    /// With `kv_bytes` bytes of KV for all models; a position takes 1 byte.
    pub(super) fn with_kv(kv_bytes: u64) -> Self {
        let options = Options { kv_bytes: Some(kv_bytes), ..DEFAULT };
        Self::on(Profile { kv_bytes_per_position: 1, ..PROFILE }, Settings::OFF, 256, options)
    }

    pub(super) fn on(profile: Profile, settings: Settings, buffer_tokens: usize, options: Options) -> Self {
        let clock = Arc::new(ManualClock::default());
        let panics = Arc::new(PanickingClock::new(Arc::clone(&clock)));
        let wakes = Arc::<Mutex<Vec<_>>>::default();
        let (woken, wake_clock) = (Arc::clone(&wakes), Arc::clone(&clock));
        let wake = Box::new(move || woken.lock().expect("not poisoned").push(wake_clock.now()));
        let shared = SharedState {
            disk: Arc::new(options.disk.map_or_else(OnceLock::new, OnceLock::from)),
            clock: Arc::clone(&panics) as Arc<dyn Clock>,
            readers: Arc::new(Readers::new(buffer_tokens, wake)),
            answers: Arc::new(AnswerCache::new(settings)),
            stats: Arc::new(Stats::new(clock.now(), STUCK_AFTER)),
            slots: Arc::new(SharedSlots::new(1_000_000, None)),
            router: Arc::new(Router::new(config::Settings::default().workers)),
        };
        let device = |profile| device(profile, &clock);
        let slow = device(Profile { decode: STEP * TIMES_SLOWER, ..profile });
        let devices = [slow, device(profile).with_faults(options.faults)].into();
        // Without a window, a request starts with the next turn.
        let window = WindowConfig { fast_path: true, fixed: Duration::ZERO, adaptive: None };
        let config = Config::default();
        let scheduler = scheduler::Config { window, prefill_chunk: options.chunk, ..config.scheduler };
        let config = Config { scheduler, kv_bytes: options.kv_bytes, ..config };
        let ledger = Ledger::new(Budget::new(&config));
        let core = Core::new(&config, WorkerId(0), Arc::default(), Arc::clone(&ledger), shared.clone());
        let loader = Loader::new(devices, ledger);
        let fingerprint = Fingerprint::new(&[0; 32], PROFILE.name);
        let permits = Permits::new(1_000_000, 1_000_000, Arc::clone(&shared.slots));
        let received = HashMap::new();
        let mut harness =
            Self { core, loader, shared, clock, panics, received, wakes, permits, fingerprint, num_submitted: 0 };
        harness.load(MODEL);
        harness
    }

    /// Loads a model on the next device; its load has ended when this returns.
    fn load(&mut self, key: ModelKey) {
        self.begin_load(key, Reply::new(|opened| assert!(opened.is_ok(), "the model opens")));
        self.core.turn();
    }

    /// Sends the engine a model whose weights are prepared, as a load thread does. The load can be aborted with what it returns.
    pub(super) fn begin_load(&mut self, key: ModelKey, reply: Reply<Opened>) -> LoadControl {
        let loading = self.loader.loading((key, self.label(key)), &FOLDER, reply);
        let control = loading.control.clone();
        self.core.take(Command::Load(Box::new(loading)));
        control
    }

    /// Replaces the devices of later loads by one that loads its model as `load` says.
    pub(super) fn add_device(&mut self, load: SimLoad) {
        self.loader.devices = vec![device(PROFILE, &self.clock).with_load(load)];
    }

    /// Loads the second model.
    pub(super) fn load_slow(&mut self) {
        self.load(SLOW);
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Submits a request: it is answered from the cache or sent to the engine thread.
    pub(super) fn submit(&mut self, spec: Spec) -> ReaderId {
        let (submission, permit) = self.ticket(spec);
        let asked = submission.asked;
        let cached = submission.claim.and_then(|claim| Some((claim, self.shared.cached(&claim)?)));
        if let Some((claim, answer)) = cached {
            drop(permit);
            self.shared.serve(asked, &claim, answer);
        } else {
            let command = self.route(submission, permit);
            self.core.take(command);
        }
        asked.reader
    }

    /// A request that was not answered from the cache and is not yet sent to the engine thread.
    pub(super) fn prepare(&mut self, spec: Spec) -> (ReaderId, Command) {
        let (submission, permit) = self.ticket(spec);
        (submission.asked.reader, self.route(submission, permit))
    }

    fn ticket(&mut self, spec: Spec) -> (Submission, Permit) {
        let number = self.num_submitted;
        self.num_submitted += 1;
        let seed = spec.seed.unwrap_or(number);
        let temperature = if spec.seed.is_some() || spec.sharing == Sharing::Force { 1.0 } else { 0.0 };
        let mut request = Request {
            sampling: SamplingParams { temperature, seed, ..SamplingParams::GREEDY },
            deadline: spec.timeout.map(|timeout| self.now() + timeout),
            priority: spec.priority,
            prefix_scope: (spec.sharing != Sharing::Off).then(|| PrefixScope(spec.salt.map(Arc::from))),
            ..Request::of(vec![spec.prompt; spec.prompt_len], NUM_TOKENS)
        };
        request.stop.end_tokens = [0].into();
        let salt = spec.salt.map(Arc::from);
        let terms = Terms { sharing: spec.sharing, salt, is_seeded: spec.seed.is_some(), choice: 0 };
        let claim = Claim::new(self.fingerprint, &request, &terms);
        let log = Arc::new(AnswerLog::new(RequestId(number.to_string().into())));
        let reader = self.shared.readers.add(Arc::clone(&log), self.now());
        if spec.wants_progress {
            self.shared.readers.want_progress(reader);
        }
        let permit = self.permits.try_take(1, Caller::default(), self.now()).expect("a permit").remove(0);
        let sequence = SequenceId(number);
        let asked = Asked { reader, label: self.label(spec.model), at: self.now() };
        self.shared.stats.submitted(asked.label, 1);
        (Submission { model: spec.model, sequence, asked, request, claim, writer: None, log }, permit)
    }

    /// The command with a request, as the router sends it.
    fn route(&self, submission: Submission, permit: Permit) -> Command {
        let mut sent = None;
        let keep = |_, command| {
            sent = Some(command);
            Ok(())
        };
        assert!(self.shared.router.send(submission, permit, keep).is_ok());
        sent.expect("a command")
    }

    pub(super) fn stream(&mut self, spec: Spec) -> ReaderId {
        let reader = self.submit(spec);
        self.shared.readers.stream(reader);
        reader
    }

    pub(super) fn cancel(&mut self, reader: ReaderId) {
        self.core.take(Command::Cancel(reader));
    }

    pub(super) fn release(&mut self, reader: ReaderId) {
        self.shared.readers.remove(reader);
        self.core.take(Command::Abandon(reader));
    }

    /// Runs one turn of the engine thread and records what it delivers.
    pub(super) fn turn(&mut self) -> Next {
        let next = self.core.turn();
        self.drain();
        self.check_counts();
        next
    }

    /// Each request is counted in exactly one state.
    pub(super) fn check_counts(&self) {
        let stats = self.shared.stats.snapshot(&self.shared.answers);
        let ended = stats.completed + stats.cancelled + stats.failed + stats.rejected.sum();
        let present = stats.preparing + stats.queued + stats.running + stats.joined;
        assert_eq!(ended + present, stats.submitted, "{stats:?}");
        assert_eq!(stats.errors.sum(), stats.failed + stats.rejected.sum(), "each error has a code: {stats:?}");
        let has_ended = self.received.values().filter(|received| received.end.is_some()).count() as u64;
        assert!(has_ended <= ended, "an end is counted before it is delivered: {stats:?}");
    }

    /// The label of a model's metrics.
    pub(super) fn label(&self, key: ModelKey) -> ModelLabel {
        self.shared.stats.label(&format!("model-{}", key.0))
    }

    pub(super) fn sample(&self) -> Sample {
        self.shared.stats.sample(&self.shared.answers, self.now())
    }

    /// The figures of each loaded model.
    pub(super) fn models(&self) -> Vec<(ModelKey, ModelStats)> {
        self.sample().models
    }

    pub(super) fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// Runs turns until the engine waits for a command, moving the clock to each deadline.
    pub(super) fn run(&mut self) {
        loop {
            match self.turn() {
                Next::Turn => {}
                Next::Wait(Some(until)) => self.clock.sleep_until(until),
                Next::Wait(None) | Next::Leave => return,
            }
        }
    }

    /// Runs to the end and returns what a reader received.
    pub(super) fn answer(&mut self, reader: ReaderId) -> Received {
        self.run();
        self.received[&reader].clone()
    }

    /// Unloads the first model, with its cached answers. The reply arrives on the channel.
    pub(super) fn unload(&mut self) -> Receiver<Result<(), Error>> {
        self.unload_with(UnloadedAnswers::Remove)
    }

    pub(super) fn unload_with(&mut self, answers: UnloadedAnswers) -> Receiver<Result<(), Error>> {
        let (sender, receiver) = channel();
        let how = Unloading { at: self.now() + Duration::from_hours(1), answers };
        self.core.take(Command::Unload(MODEL, how, Reply::new(move |result| drop(sender.send(result)))));
        receiver
    }

    /// Requests that have not ended.
    pub(super) fn num_pending(&self) -> usize {
        self.permits.num_taken()
    }

    pub(super) fn drain(&mut self) {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        let (mut token_at, mut byte_at) = (0, 0);
        for delivery in self.shared.readers.drain(&mut tokens, &mut text) {
            let received = self.received.entry(delivery.reader).or_default();
            assert!(received.end.is_none(), "nothing is delivered after the end");
            if let Some(progress) = delivery.progress {
                assert!(received.tokens.is_empty(), "progress is reported before the first token");
                received.progress.push(progress);
            }
            received.tokens.extend(&tokens[token_at..token_at + delivery.num_tokens]);
            received.text.push_str(&text[byte_at..byte_at + delivery.num_bytes]);
            token_at += delivery.num_tokens;
            byte_at += delivery.num_bytes;
            if let Some((end, log)) = delivery.end {
                received.whole = (log.text(), log.tokens());
                received.log = Some(log);
                received.end = Some(end.map_err(|error: Error| error.code()));
            }
        }
    }

    /// Prompt tokens that the device read: with prompts of one token, the number of generations started.
    pub(super) fn num_generations(&self) -> u64 {
        self.shared.stats.snapshot(&self.shared.answers).prompt_tokens
    }
}

impl Received {
    pub(super) fn summary(&self) -> &Summary {
        self.end.as_ref().expect("the answer ended").as_ref().expect("without an error")
    }

    pub(super) fn error(&self) -> Option<Code> {
        self.end.as_ref().expect("the answer ended").as_ref().err().copied()
    }
}
