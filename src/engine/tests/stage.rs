//! Requests that come to the engine thread in an order that the test chooses.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::answers::{AnswerLog, Answers, Claim, Fingerprint, ReaderId, Readers, Settings, Terms};
use crate::clock::{Clock, ManualClock};
use crate::engine::Config;
use crate::engine::command::{Command, Loading, ModelKey, Reply, Submission};
use crate::engine::core::{Core, Next};
use crate::engine::permit::Permits;
use crate::engine::runner::SharedState;
use crate::engine::slots::SharedSlots;
use crate::error::{Code, Error};
use crate::executor::sim::{Fault, Profile, Script, SimBackend};
use crate::executor::{Backend, Executor};
use crate::hub::{self, ModelFolder};
use crate::request::{Priority, Progress, Request, RequestId, SamplingParams, SequenceId, Sharing, Summary, TokenId};
use crate::scheduler::plan::Overlap;
use crate::scheduler::{self, WindowConfig};
use crate::text::ModelText;

/// Tokens of every answer on the stage, its last one ends the turn.
pub(super) const NUM_TOKENS: usize = 12;
/// Tokens of prompts that a step reads.
pub(super) const CHUNK: usize = 16;
/// Time that a step takes.
pub(super) const STEP: Duration = Duration::from_millis(1);

pub(super) const MODEL: ModelKey = ModelKey(0);
/// The second model, where there is one: its device is so many times slower.
pub(super) const SLOW: ModelKey = ModelKey(1);
pub(super) const TIMES_SLOWER: u32 = 23;

/// The device that is played.
const PROFILE: Profile = Profile {
    name: "stage",
    decode: STEP,
    staircase: &[(1, 1.0), (64, 1.0)],
    prefill_floor: Duration::ZERO,
    prefill_per_token: Duration::ZERO,
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

/// Words of one letter each; some sentences are over before an answer may be.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let text = &FOLDER.1;
    let sentences = ["abc", "defghi", "jk", "lmnopqrstuvw"].map(|it| text.encode_rendered(it).expect("letters"));
    Script::new(sentences.to_vec(), 0).expect("there are words")
});

/// What a request is made of here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub(super) model: ModelKey,
    /// Requests with another prompt have another answer.
    pub(super) prompt: TokenId,
    pub(super) salt: Option<&'static str>,
    pub(super) sharing: Sharing,
    /// Drawn, with a seed of its own.
    pub(super) seed: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: Priority,
    /// Tokens of the prompt.
    pub(super) prompt_len: usize,
    pub(super) wants_progress: bool,
}

pub(super) fn ask(prompt: TokenId) -> Ask {
    Ask {
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

/// What one reader was given.
#[derive(Debug, Default, Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenId>,
    pub(super) end: Option<Result<Summary, Code>>,
    pub(super) progress: Vec<Progress>,
    /// The whole answer, as its end reports it.
    pub(super) whole: (String, Vec<TokenId>),
    /// Where that is said.
    pub(super) log: Option<Arc<AnswerLog>>,
}

/// The engine's own clock; the device looks at the one that is moved. Panics when it was asked so many times.
pub(super) struct Alarm {
    clock: Arc<ManualClock>,
    num_left: AtomicU64,
}

impl Alarm {
    const OFF: u64 = u64::MAX;

    /// Lets it panic once, after it told the time so many times more.
    pub(super) fn set(&self, num_left: u64) {
        self.num_left.store(num_left, Ordering::SeqCst);
    }

    /// Sets it off. Says whether it had panicked.
    pub(super) fn take(&self) -> bool {
        self.num_left.swap(Self::OFF, Ordering::SeqCst) == Self::OFF
    }

    /// Without the hook, whose words would be many.
    fn count(&self) {
        let left = |left: u64| if left == Self::OFF { None } else { Some(left.wrapping_sub(1)) };
        if self.num_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) == Ok(0) {
            resume_unwind(Box::new("the alarm"));
        }
    }
}

impl Clock for Alarm {
    fn now(&self) -> Instant {
        self.count();
        self.clock.now()
    }

    fn sleep_until(&self, until: Instant) {
        self.clock.sleep_until(until);
    }

    fn thread_time(&self) -> Duration {
        self.count();
        self.clock.thread_time()
    }
}

/// What is played on the stage.
struct Play {
    faults: Vec<Fault>,
    chunk: usize,
    /// Bytes of KV of all models.
    kv_bytes: Option<u64>,
}

/// A device for each model, the first one last.
struct Devices(Vec<SimBackend>);

impl Backend for Devices {
    fn weight_bytes(&self, model: &ModelFolder, free_bytes: Option<u64>) -> crate::error::Result<u64> {
        self.0.last().expect("no more models than devices").weight_bytes(model, free_bytes)
    }

    fn open(&mut self, model: &ModelFolder, free_bytes: Option<u64>) -> crate::error::Result<Box<dyn Executor>> {
        self.0.pop().expect("no more models than devices").open(model, free_bytes)
    }
}

pub(super) struct Stage {
    pub(super) core: Core,
    pub(super) shared: SharedState,
    pub(super) clock: Arc<ManualClock>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) given: HashMap<ReaderId, Given>,
    permits: Arc<Permits>,
    fingerprint: Fingerprint,
    num_submitted: u64,
}

impl Stage {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with(settings, 256)
    }

    pub(super) fn with(settings: Settings, window: usize) -> Self {
        Self::failing(settings, window, Vec::new())
    }

    /// With a device that fails so.
    pub(super) fn failing(settings: Settings, window: usize, faults: Vec<Fault>) -> Self {
        Self::on(PROFILE, settings, window, Play { faults, chunk: CHUNK, kv_bytes: None })
    }

    /// With a device that takes so much while it runs a step.
    pub(super) fn overlapping(overlap: Overlap, window: usize) -> Self {
        Self::on(
            Profile { overlap, ..PROFILE },
            Settings::default(),
            window,
            Play { faults: Vec::new(), chunk: CHUNK, kv_bytes: None },
        )
    }

    /// With so many tokens of prompts a step.
    pub(super) fn reading(chunk: usize) -> Self {
        Self::on(PROFILE, Settings::OFF, 256, Play { faults: Vec::new(), chunk, kv_bytes: None })
    }

    /// With so many bytes of KV for all models, of which a position takes one.
    pub(super) fn remembering(kv_bytes: u64) -> Self {
        let play = Play { faults: Vec::new(), chunk: CHUNK, kv_bytes: Some(kv_bytes) };
        Self::on(Profile { kv_bytes_per_position: 1, ..PROFILE }, Settings::OFF, 256, play)
    }

    fn on(profile: Profile, settings: Settings, window: usize, play: Play) -> Self {
        let clock = Arc::new(ManualClock::default());
        let alarm = Arc::new(Alarm { clock: Arc::clone(&clock), num_left: AtomicU64::new(Alarm::OFF) });
        let shared = SharedState {
            clock: Arc::clone(&alarm) as Arc<dyn Clock>,
            readers: Arc::new(Readers::new(window, Box::new(|| ()))),
            answers: Arc::new(Answers::new(settings)),
            stats: Arc::default(),
            slots: Arc::new(SharedSlots::new(1_000_000)),
        };
        let device = |profile| {
            SimBackend::new(profile, Arc::clone(&clock) as Arc<dyn Clock>, Box::new(|_| Ok((SCRIPT.clone(), 256))))
        };
        let slow = device(Profile { decode: STEP * TIMES_SLOWER, ..profile });
        let backend = Devices([slow, device(profile).with_faults(play.faults)].into());
        // A request begins with the next turn: what is tested here does not wait for company.
        let window = WindowConfig { fast_path: true, fixed: Duration::ZERO, adaptive: None };
        let config = Config::default();
        let scheduler = scheduler::Config { window, prefill_chunk: play.chunk, ..config.scheduler };
        let config = Config { scheduler, kv_bytes: play.kv_bytes, ..config };
        let mut core = Core::new(&config, Box::new(backend), shared.clone());
        let (folder, text) = FOLDER.clone();
        let reply = Reply::new(|opened| assert!(opened.is_ok(), "the model opens"));
        let (files, coming) = ([0; 32], Arc::default());
        core.take(Command::Load(Box::new(Loading { key: MODEL, folder, text, files, coming, reply })));
        let fingerprint = Fingerprint::new(&[0; 32], PROFILE.name);
        let permits = Permits::new(1_000_000, 1_000_000, Arc::clone(&shared.slots));
        Self { core, shared, clock, alarm, given: HashMap::new(), permits, fingerprint, num_submitted: 0 }
    }

    /// Loads the second model.
    pub(super) fn load_slow(&mut self) {
        let (folder, text) = FOLDER.clone();
        let reply = Reply::new(|opened| assert!(opened.is_ok(), "the model opens"));
        let (files, coming) = ([0; 32], Arc::default());
        self.core.take(Command::Load(Box::new(Loading { key: SLOW, folder, text, files, coming, reply })));
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A request goes its way, past what is kept.
    pub(super) fn submit(&mut self, ask: Ask) -> ReaderId {
        let (reader, submission) = self.prepare(ask);
        let serve = |claim| self.shared.serve(reader, &claim);
        if !submission.claim.is_some_and(serve) {
            self.core.take(Command::Submit(Box::new(submission)));
        }
        reader
    }

    /// A request that found nothing kept, on its way to the engine thread.
    pub(super) fn prepare(&mut self, ask: Ask) -> (ReaderId, Submission) {
        let number = self.num_submitted;
        self.num_submitted += 1;
        let seed = ask.seed.unwrap_or(number);
        let temperature = if ask.seed.is_some() || ask.sharing == Sharing::Force { 1.0 } else { 0.0 };
        let mut request = Request {
            sampling: SamplingParams { temperature, seed, ..SamplingParams::GREEDY },
            deadline: ask.timeout.map(|timeout| self.now() + timeout),
            priority: ask.priority,
            ..Request::of(vec![ask.prompt; ask.prompt_len], NUM_TOKENS)
        };
        request.stop.end_tokens = [0].into();
        let salt = ask.salt.map(Arc::from);
        let terms = Terms { sharing: ask.sharing, salt, is_seeded: ask.seed.is_some(), choice: 0 };
        let claim = Claim::new(self.fingerprint, &request, &terms);
        let log = Arc::new(AnswerLog::new(RequestId(number.to_string().into())));
        let reader = self.shared.readers.add(Arc::clone(&log), self.now());
        if ask.wants_progress {
            self.shared.readers.want_progress(reader);
        }
        let permit = self.permits.try_take(1, self.now()).expect("a permit").remove(0);
        let sequence = SequenceId(number);
        self.shared.stats.submitted(1);
        (reader, Submission { model: ask.model, sequence, reader, request, claim, log, permit })
    }

    pub(super) fn stream(&mut self, ask: Ask) -> ReaderId {
        let reader = self.submit(ask);
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

    /// One turn of the engine thread, and what it delivers.
    pub(super) fn turn(&mut self) -> Next {
        let next = self.core.turn();
        self.drain();
        self.check_counts();
        next
    }

    /// Each request is counted in one place.
    pub(super) fn check_counts(&self) {
        let stats = self.shared.stats.snapshot(&self.shared.answers);
        let ended = stats.completed + stats.cancelled + stats.failed + stats.rejected.sum();
        let present = stats.preparing + stats.queued + stats.running + stats.joined;
        assert_eq!(ended + present, stats.submitted, "{stats:?}");
        let has_ended = self.given.values().filter(|given| given.end.is_some()).count() as u64;
        assert!(has_ended <= ended, "who has an answer finds it in the figures: {stats:?}");
    }

    pub(super) fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// Turns until nothing can be done, and past every deadline.
    pub(super) fn play(&mut self) {
        loop {
            match self.turn() {
                Next::Turn => {}
                Next::Wait(Some(until)) => self.clock.sleep_until(until),
                Next::Wait(None) | Next::Leave => return,
            }
        }
    }

    /// Plays to the end; what a reader was given.
    pub(super) fn answer(&mut self, reader: ReaderId) -> Given {
        self.play();
        self.given[&reader].clone()
    }

    /// Gives what the reply will be.
    pub(super) fn unload(&mut self) -> Receiver<Result<(), Error>> {
        let (tell, told) = channel();
        self.core.take(Command::Unload(MODEL, Reply::new(move |result| drop(tell.send(result)))));
        told
    }

    /// Requests that have not ended.
    pub(super) fn num_pending(&self) -> usize {
        self.permits.num_taken()
    }

    pub(super) fn drain(&mut self) {
        let (mut tokens, mut text) = (Vec::new(), String::new());
        let (mut token_at, mut byte_at) = (0, 0);
        for delivery in self.shared.readers.drain(&mut tokens, &mut text) {
            let given = self.given.entry(delivery.reader).or_default();
            assert!(given.end.is_none(), "nothing comes after the end");
            if let Some(progress) = delivery.progress {
                assert!(given.tokens.is_empty(), "it is told before the first token");
                given.progress.push(progress);
            }
            given.tokens.extend(&tokens[token_at..token_at + delivery.num_tokens]);
            given.text.push_str(&text[byte_at..byte_at + delivery.num_bytes]);
            token_at += delivery.num_tokens;
            byte_at += delivery.num_bytes;
            if let Some((end, log)) = delivery.end {
                given.whole = (log.text(), log.tokens());
                given.log = Some(log);
                given.end = Some(end.map_err(|error: Error| error.code()));
            }
        }
    }

    /// Generations that were begun: the device reads a prompt of one token for each.
    pub(super) fn num_generations(&self) -> u64 {
        self.shared.stats.snapshot(&self.shared.answers).prompt_tokens
    }
}

impl Given {
    pub(super) fn summary(&self) -> &Summary {
        self.end.as_ref().expect("it ended").as_ref().expect("well")
    }

    pub(super) fn error(&self) -> Option<Code> {
        self.end.as_ref().expect("it ended").as_ref().err().copied()
    }
}
