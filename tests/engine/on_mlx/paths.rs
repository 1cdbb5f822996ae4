//! The paths on which a model is computed, and an engine on each with conversations that the demo model answers clearly.

use std::sync::{Arc, OnceLock};

use mlx_serving::config::Precision;
use mlx_serving::engine::{Config, Draft, OpenBackend, Prompt};
use mlx_serving::executor::Backend;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend};
use mlx_serving::hub::open_folder;
use mlx_serving::request::TokenId;
use mlx_serving::text::ModelText;
use tempfile::TempDir;

use super::super::support::{Answer, Caller, draft, with_rows};
use super::faults::{Failing, Fault};
use super::folders::{Stored, demo};

/// The operations that compute the demo model, and the format of its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Path {
    pub(super) stored: Stored,
    attention: AttentionKind,
    precision: Precision,
}

/// Fused attention in float32, and MLX's own operations: in float32, and in the precision of the weights, as on a Mac.
pub(super) const PATHS: [Path; 5] = [
    Path { stored: Stored::Float32, attention: AttentionKind::Auto, precision: Precision::Auto },
    Path { stored: Stored::Float32, attention: AttentionKind::Composed, precision: Precision::Auto },
    Path { stored: Stored::Float16, attention: AttentionKind::Composed, precision: Precision::Model },
    Path { stored: Stored::Bfloat16, attention: AttentionKind::Composed, precision: Precision::Model },
    Path { stored: Stored::FourBits, attention: AttentionKind::Composed, precision: Precision::Model },
];

/// Each token of the answers leads by at least this log-probability, on every path. Rounding changes it by far less, so answers
/// are equal for any number of rows and any chunks of a prompt.
const LEAD: f32 = 1.0;

/// The answers of each path.
type Alone = [OnceLock<Arc<Vec<Answer>>>; PATHS.len()];

static SHORT: Alone = [const { OnceLock::new() }; PATHS.len()];
static LONG: Alone = [const { OnceLock::new() }; PATHS.len()];

pub(super) const QUESTIONS: [&str; 6] = [
    "What is 12 + 7?",
    "Reverse the word 'stone'.",
    "Spell the word 'garden'.",
    "What is the capital of France?",
    "What is the capital of Japan?",
    "What day comes after Monday?",
];

/// Turns of 225 tokens before a question. The answer crosses the border of a KV block at 256 positions.
const HISTORY: [&str; 18] = [
    "What is the capital of Japan?",
    "The capital of Japan is Tokyo.",
    "Spell the word 'cat'.",
    "c-a-t.",
    "What day comes after Monday?",
    "Tuesday comes after Monday.",
    "What is the capital of France?",
    "The capital of France is Paris.",
    "Spell the word 'garden'.",
    "'garden' is spelled g-a-r-d-e-n.",
    "What is the capital of Spain?",
    "The capital of Spain is Madrid.",
    "What day comes after Friday?",
    "Saturday comes after Friday.",
    "What is 2 + 3?",
    "2 + 3 = 5.",
    "Spell the word 'sun'.",
    "s-u-n.",
];

impl Path {
    fn backend(self) -> mlx_serving::error::Result<MlxBackend> {
        Ok(MlxBackend::new()?.with_attention(self.attention).precision(self.precision, None))
    }

    /// Opens models on this path, on devices with these failures.
    pub(super) fn opens(self, faults: Vec<Fault>) -> OpenBackend {
        Box::new(move || Ok(Box::new(Failing { inner: self.backend()?, faults }) as Box<dyn Backend>))
    }

    /// An engine with the demo model.
    pub(super) fn serve(self, config: &Config) -> Served {
        self.serve_failing(config, Vec::new())
    }

    pub(super) fn serve_failing(self, config: &Config, faults: Vec<Fault>) -> Served {
        Served::of(config, self.opens(faults), demo(self.stored, None))
    }

    /// Memory for three KV blocks, and a tenth more, part of which is set aside for empty slots: rows that need two blocks each
    /// preempt each other.
    pub(super) fn three_blocks(self) -> u64 {
        33 * first_block(&self.serve(&without_memory())) / 10
    }

    /// Questions, each in a separate conversation.
    pub(super) fn short(self, served: &Served) -> Vec<Draft> {
        let count = if self.stored == Stored::FourBits { 4 } else { QUESTIONS.len() };
        QUESTIONS[..count].iter().map(|question| served.chat(&[*question], 40)).collect()
    }

    /// The first questions after a long history. A CPU reads prompts of quantized half precision at some 50 tokens a second.
    pub(super) fn long(self, served: &Served) -> Vec<Draft> {
        let count = if self.stored == Stored::FourBits { 2 } else { 4 };
        let draft = |question: &&str| served.chat(&[&HISTORY[..], &[*question]].concat(), 40);
        QUESTIONS[..count].iter().map(draft).collect()
    }

    /// The answers to [`Path::short`], one after another.
    pub(super) fn alone(self) -> Arc<Vec<Answer>> {
        self.once(&SHORT, |served| self.short(served))
    }

    /// The answers to [`Path::long`], one after another.
    pub(super) fn alone_long(self) -> Arc<Vec<Answer>> {
        self.once(&LONG, |served| self.long(served))
    }

    /// Computes the answers once, on a separate engine, for the first test that needs them.
    fn once(self, answers: &Alone, ask: impl Fn(&Served) -> Vec<Draft>) -> Arc<Vec<Answer>> {
        let at = PATHS.iter().position(|path| *path == self).expect("a listed path");
        Arc::clone(answers[at].get_or_init(|| Arc::new(self.ask_alone(ask))))
    }

    fn ask_alone(self, ask: impl Fn(&Served) -> Vec<Draft>) -> Vec<Answer> {
        let served = self.serve(&with_rows(1));
        let answer = |draft| {
            let answer = served.caller.ask(draft);
            assert!(answer.end.as_ref().expect("ended").is_ok(), "{self:?}: {:?}", answer.end);
            assert_eq!(answer.logprobs.len(), 3 * answer.whole_tokens.len());
            let unclear =
                answer.logprobs.chunks(3).find(|likeliest| likeliest[1].logprob - likeliest[2].logprob < LEAD);
            assert!(unclear.is_none(), "{self:?}: {unclear:?} in {:?}", answer.whole);
            answer
        };
        ask(&served).into_iter().map(answer).collect()
    }
}

/// An engine with a model, whose files are removed with it.
pub(super) struct Served {
    pub(super) caller: Caller,
    text: ModelText,
    _files: TempDir,
}

impl Served {
    pub(super) fn of(config: &Config, backend: OpenBackend, files: TempDir) -> Self {
        let text = ModelText::open(&open_folder(files.path()).expect("a folder")).expect("a tokenizer");
        Self { caller: Caller::open(config, backend, files.path().to_owned()), text, _files: files }
    }

    /// A greedy answer to a conversation of these turns.
    pub(super) fn chat(&self, turns: &[&str], max_tokens: usize) -> Draft {
        let roles = ["user", "assistant"].into_iter().cycle();
        let turn = |(turn, role): (&&str, &str)| format!("<|{role}|>{turn}<|end|>");
        let turns: String = turns.iter().zip(roles).map(turn).collect();
        greedy(self.text.encode_rendered(&format!("{turns}<|assistant|>")).expect("tokens"), max_tokens)
    }

    /// The answers to requests that are submitted together.
    pub(super) fn together(&self, drafts: &[Draft]) -> Vec<Answer> {
        let readers: Vec<_> = drafts.iter().map(|draft| self.caller.submit(draft.clone())).collect();
        readers.into_iter().map(|reader| self.caller.answer(reader)).collect()
    }

    /// The answers to choices of one request.
    pub(super) fn choices(&self, draft: Draft) -> Vec<Answer> {
        let readers = self.caller.engine.submit(self.caller.model, draft).expect("accepted");
        readers.into_iter().map(|reader| self.caller.answer(reader)).collect()
    }

    pub(super) fn preemptions(&self) -> u64 {
        self.caller.engine.sample().models[0].1.scheduler.counters.preemptions
    }

    /// Waits until every request has ended, and no KV is held that was not retained for later requests.
    pub(super) fn is_idle_and_empty(&self) {
        self.caller.when(|stats| stats.completed + stats.cancelled + stats.failed == stats.requests);
        self.caller.engine.forget_answers();
        self.caller
            .when(|stats| stats.completed + stats.cancelled + stats.failed == stats.requests && stats.kv_bytes == 0);
    }
}

/// A greedy continuation, with the log-probabilities of the two most probable tokens at each place.
pub(super) fn greedy(tokens: Vec<TokenId>, max_tokens: usize) -> Draft {
    Draft { prompt: Prompt::Tokens(tokens), temperature: Some(0.0), logprobs: Some(2), ..draft("", max_tokens) }
}

/// Memory for KV that is too small for any request.
pub(super) fn without_memory() -> Config {
    Config { kv_bytes: Some(1), ..Config::default() }
}

/// Bytes of the first KV block of a sequence, as an engine with too little memory reports them.
pub(super) fn first_block(served: &Served) -> u64 {
    let end = served.caller.ask(greedy(vec![7], 200)).end.expect("ended");
    let needed = end.expect_err("too little memory").requested().expect("the error has the bytes");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of bytes
    let bytes = needed as u64;
    bytes
}

pub(super) fn assert_same(path: Path, alone: &[Answer], others: &[Answer]) {
    assert_eq!(alone.len(), others.len());
    for (alone, other) in alone.iter().zip(others) {
        assert!(other.end.as_ref().expect("ended").is_ok(), "{path:?}: {:?}", other.end);
        assert_eq!(other.whole, alone.whole, "{path:?}");
        assert_eq!(other.whole_tokens, alone.whole_tokens, "{path:?}");
    }
}
