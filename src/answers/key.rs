//! The key of an answer: a hash over everything that can change the answer or what is reported with it. Two requests with
//! the same key get the same answer, so a missing field would give one user's answer to another. Requests are therefore
//! destructured without `..`: a new field does not compile until it is encoded or explicitly ignored.

use std::sync::Arc;

use blake3::Hasher;

use crate::request::{CallEnd, CallRules, CallStop, Markup, Request, SamplingParams, Sharing, StopRules, TokenId};

/// Other versions of this library and other encodings give other keys.
const CONTEXT: &str = concat!("mlx-serving ", env!("CARGO_PKG_VERSION"), " answer key 4");

/// The key of an answer in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) [u8; 32]);

/// Identifies a loaded model: its files, and the device that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a model with these files on this device.
    pub fn new(files: &[u8], device: &str) -> Self {
        let mut encoder = Encoder::new();
        encoder.bytes(files);
        encoder.bytes(device.as_bytes());
        Self(encoder.finish())
    }
}

/// How a caller allows its answer to be shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether it may be shared.
    pub sharing: Sharing,
    /// Only requests with the same salt share. Requests without a salt share with each other.
    pub salt: Option<Arc<str>>,
    /// Whether the caller chose the seed, so that a sampled answer is reproducible.
    pub is_seeded: bool,
    /// The index of the answer among those of its request, from 0. It distinguishes answers without a chosen seed.
    pub choice: u32,
}

/// A request that may share an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The key of the answer.
    pub key: Key,
    /// The model.
    pub model: Fingerprint,
    /// Whether computing the answer again gives the same, so that the prompt cache may hold it.
    pub is_reproducible: bool,
    /// The seed to report, if it is not the seed of the shared answer.
    pub seed: Option<u64>,
}

impl Claim {
    /// The claim of a request, if its answer may be shared.
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
    // Deadline, priority and reused KV affect timing, not content, so they are not part of the key. The salt, not the tenant,
    // decides which requests share. Identical requests share a scripted answer as they share any other.
    let Request {
        prompt,
        sampling,
        logit_bias,
        logprobs,
        stop,
        continues_text,
        markup,
        constraint,
        scripted: _,
        deadline: _,
        priority: _,
        tenant: _,
        prefix_scope: _,
        pin: _,
    } = request;
    // Whether to share does not change the answer.
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
    let Markup { calls, reasoning, reasoning_tags } = *markup;
    encoder.number(calls.into());
    encoder.number(reasoning.into());
    // The position of reasoning only matters to stop sequences and calls, which are not searched in it.
    let is_searched = !stop.stop_sequences.is_empty() || stop.calls.is_some();
    encoder.optional(reasoning_tags.filter(|_| is_searched), |encoder, reasoning_tags| {
        encoder.bytes(reasoning_tags.open.as_bytes());
        encoder.bytes(reasoning_tags.close.as_bytes());
        encoder.number(reasoning_tags.has_begun.into());
    });
    encoder.optional(constraint.as_ref(), |encoder, constraint| encoder.bytes(constraint.spec().as_bytes()));
    Key(encoder.finish())
}

/// Encodes the params that have an effect. A greedy answer does not depend on temperature, cuts and seed. An answer without
/// a repetition penalty does not depend on the context of that penalty. If the engine chose the seed, the index of the
/// choice is encoded in its place.
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

/// Sorted, because the order of the biases has no effect: each token appears once.
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
    let StopRules { max_tokens, end_tokens, min_tokens, stop_sequences, include_stop, calls } = stop;
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
    // Without stop sequences, `include_stop` has no effect.
    encoder.number((*include_stop && !stop_sequences.is_empty()).into());
    encoder.optional(calls.as_ref(), encode_call_stop);
}

fn encode_call_stop(encoder: &mut Encoder, CallStop { rules, tools }: &CallStop) {
    let CallRules { end, is_exclusive } = *rules;
    encoder.optional(end, |encoder, end| {
        encoder.number(match end {
            CallEnd::FirstCall => 0,
            CallEnd::RepeatedCall => 1,
        });
    });
    encoder.number(is_exclusive.into());
    encoder.number(tools.len() as u64);
    for tool in &**tools {
        encoder.bytes(tool.as_bytes());
    }
}

/// Encodes values so that two different lists of values never have the same bytes: numbers have eight bytes, all other
/// values start with their length.
struct Encoder(Hasher);

impl Encoder {
    fn new() -> Self {
        static BASE: std::sync::LazyLock<Hasher> = std::sync::LazyLock::new(|| Hasher::new_derive_key(CONTEXT));
        Self(BASE.clone())
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Minus zero is encoded as zero.
    fn float(&mut self, value: f32) {
        self.number((value + 0.0).to_bits().into());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Hashes tokens in chunks, which takes a fifth of the time of one token at a time.
    fn tokens(&mut self, tokens: &[TokenId]) {
        const CHUNK: usize = 1_024;
        let mut bytes = [0; CHUNK * size_of::<TokenId>()];
        self.number(tokens.len() as u64);
        for chunk in tokens.chunks(CHUNK) {
            for (to, token) in bytes.chunks_exact_mut(size_of::<TokenId>()).zip(chunk) {
                to.copy_from_slice(&token.to_le_bytes());
            }
            self.0.update(&bytes[..size_of_val(chunk)]);
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
