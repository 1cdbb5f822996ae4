//! The key of an answer: a hash over everything that can change what is said or reported. Two requests with one key get
//! one answer, so a field that is left out would serve one user's answer to another: requests are taken apart without
//! `..`, and a new field does not compile until it is either encoded or said to be without effect.

use std::sync::Arc;

use blake3::Hasher;

use crate::request::{Markup, Request, SamplingParams, Sharing, StopRules, TokenId};

/// Keys of another version of this library, or of another encoding, are other keys.
const CONTEXT: &str = concat!("mlx-serving ", env!("CARGO_PKG_VERSION"), " answer key 3");

/// What an answer is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) [u8; 32]);

/// What a loaded model is told apart by: its files, and the device that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    /// The model of these files on this device.
    pub fn new(files: &[u8], device: &str) -> Self {
        let mut encoder = Encoder::new();
        encoder.bytes(files);
        encoder.bytes(device.as_bytes());
        Self(encoder.finish())
    }
}

/// What a caller said about sharing its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether it is shared at all.
    pub sharing: Sharing,
    /// Only requests with the same salt share; none is a salt of its own.
    pub salt: Option<Arc<str>>,
    /// Whether the caller chose the seed, so that a drawn answer is reproducible.
    pub is_seeded: bool,
    /// Which of the answers to one request, from 0: what tells those apart whose seeds nobody chose.
    pub choice: u32,
}

/// A request that may share an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The answer it asks for.
    pub key: Key,
    /// The model that gives it.
    pub model: Fingerprint,
    /// Whether computing it again gives the same, so that it may be kept for long.
    pub is_reproducible: bool,
    /// The seed the caller is told, if it is not that of the answer.
    pub seed: Option<u64>,
}

impl Claim {
    /// What a request may share, if it may.
    pub fn new(model: Fingerprint, request: &Request, terms: &Terms) -> Option<Self> {
        let is_greedy = request.sampling.is_greedy();
        let is_reproducible = is_greedy || terms.is_seeded;
        let may_share = match terms.sharing {
            Sharing::Off => false,
            Sharing::Auto => is_reproducible,
            Sharing::Force => true,
        };
        may_share.then(|| Self {
            key: key(model, request, terms),
            model,
            is_reproducible,
            seed: is_reproducible.then_some(request.sampling.seed),
        })
    }
}

fn key(model: Fingerprint, request: &Request, terms: &Terms) -> Key {
    // Deadline and priority affect timing, not content, so they are not part of the key. The salt, not the tenant, decides
    // which requests share.
    let Request {
        prompt,
        sampling,
        logit_bias,
        logprobs,
        stop,
        continues_text,
        markup,
        guide,
        deadline: _,
        priority: _,
        tenant: _,
    } = request;
    // Whether to share is not part of what is shared.
    let Terms { sharing: _, salt, is_seeded, choice } = terms;
    let mut encoder = Encoder::new();
    encoder.bytes(&model.0);
    encoder.optional(salt.as_deref(), |encoder, salt| encoder.bytes(salt.as_bytes()));
    encoder.tokens(prompt);
    encode_sampling(&mut encoder, *sampling, is_seeded.then_some(sampling.seed).ok_or(*choice));
    encode_bias(&mut encoder, logit_bias);
    encoder.optional(*logprobs, |encoder, count| encoder.number(count.into()));
    encode_stop(&mut encoder, stop);
    encoder.number((*continues_text).into());
    let Markup { calls, reasoning, thought } = *markup;
    encoder.number(calls.into());
    encoder.number(reasoning.into());
    // Where reasoning is makes a difference to stop sequences alone.
    encoder.optional(thought.filter(|_| !stop.stop_sequences.is_empty()), |encoder, thought| {
        encoder.bytes(thought.open.as_bytes());
        encoder.bytes(thought.close.as_bytes());
        encoder.number(thought.has_begun.into());
    });
    encoder.optional(guide.as_ref(), |encoder, guide| encoder.bytes(guide.spec().as_bytes()));
    Key(encoder.finish())
}

/// Greedy answers do not depend on how others would be drawn, nor any on how far a penalty of nothing looks back. A seed
/// that was drawn for the caller tells nothing apart, but which choice it is does.
fn encode_sampling(encoder: &mut Encoder, sampling: SamplingParams, seed_or_choice: Result<u64, u32>) {
    let (is_greedy, penalizes_repetition) = (sampling.is_greedy(), sampling.penalizes_repetition());
    let SamplingParams {
        temperature,
        top_p,
        top_k,
        min_p,
        repetition_penalty,
        repetition_context,
        presence_penalty,
        frequency_penalty,
        seed: _,
    } = sampling;
    encoder.optional((!is_greedy).then_some(()), |encoder, ()| {
        encoder.float(temperature);
        encoder.float(top_p);
        encoder.float(min_p);
        encoder.number(top_k.into());
        encoder.number(seed_or_choice.is_ok().into());
        encoder.number(seed_or_choice.unwrap_or_else(u64::from));
    });
    encoder.optional(penalizes_repetition.then_some(repetition_penalty), |encoder, penalty| {
        encoder.float(penalty);
        encoder.number(repetition_context.into());
    });
    encoder.float(presence_penalty);
    encoder.float(frequency_penalty);
}

/// Their order says nothing: each token is named once.
fn encode_bias(encoder: &mut Encoder, bias: &[(TokenId, f32)]) {
    let mut bias = bias.to_vec();
    bias.sort_unstable_by_key(|(token, _)| *token);
    encoder.number(bias.len() as u64);
    for (token, value) in bias {
        encoder.number(token.into());
        encoder.float(value);
    }
}

fn encode_stop(encoder: &mut Encoder, stop: &StopRules) {
    let StopRules { max_tokens, end_tokens, min_tokens, stop_sequences, include_stop } = stop;
    let mut end_tokens = end_tokens.to_vec();
    end_tokens.sort_unstable();
    end_tokens.dedup();
    encoder.number(*max_tokens as u64);
    encoder.number(*min_tokens as u64);
    encoder.tokens(&end_tokens);
    encoder.number(stop_sequences.len() as u64);
    for sequence in stop_sequences {
        encoder.bytes(sequence.as_bytes());
    }
    // Without any, there is none to include.
    encoder.number((*include_stop && !stop_sequences.is_empty()).into());
}

/// Writes values so that no two lists of values look alike: numbers have eight bytes, everything else its length first.
struct Encoder(Hasher);

impl Encoder {
    fn new() -> Self {
        static BASE: std::sync::LazyLock<Hasher> = std::sync::LazyLock::new(|| Hasher::new_derive_key(CONTEXT));
        Self(BASE.clone())
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Minus zero is zero.
    fn float(&mut self, value: f32) {
        self.number((value + 0.0).to_bits().into());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// The hasher likes large pieces: a token at a time would take it five times as long.
    fn tokens(&mut self, tokens: &[TokenId]) {
        const PIECE: usize = 1_024;
        let mut bytes = [0; PIECE * size_of::<TokenId>()];
        self.number(tokens.len() as u64);
        for piece in tokens.chunks(PIECE) {
            for (to, token) in bytes.chunks_exact_mut(size_of::<TokenId>()).zip(piece) {
                to.copy_from_slice(&token.to_le_bytes());
            }
            self.0.update(&bytes[..size_of_val(piece)]);
        }
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
