use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::answers::{Claim, Fingerprint, Terms};
use crate::constraint::{Constraint, Grammar, Matcher};
use crate::request::{
    CallEnd, CallRules, CallStop, Markup, Priority, ReasoningTags, Request, SamplingParams, Sharing, StopRules,
};

/// The inputs of a claim.
#[derive(Debug, Clone)]
struct Subject {
    model: Fingerprint,
    request: Request,
    terms: Terms,
}

impl Subject {
    /// A sampled answer with a seed, so that every field has an effect.
    fn sampled() -> Self {
        Self {
            model: Fingerprint::new(b"files", "device"),
            request: Request {
                prompt: [1, 2, 3].into(),
                sampling: SamplingParams {
                    temperature: 0.7,
                    top_p: 0.9,
                    top_k: 40,
                    min_p: 0.1,
                    repetition_penalty: 1.1,
                    repetition_context: 20,
                    presence_penalty: 0.5,
                    frequency_penalty: 0.5,
                    seed: 7,
                },
                logit_bias: [(1, 2.0), (3, 4.0)].into(),
                logprobs: None,
                stop: StopRules {
                    max_tokens: 64,
                    end_tokens: [2].into(),
                    min_tokens: 0,
                    stop_sequences: vec!["end".into()],
                    include_stop: false,
                    calls: None,
                },
                continues_text: false,
                markup: Markup::default(),
                constraint: None,
                scripted: None,
                deadline: None,
                priority: Priority::Default,
                tenant: None,
                prefix_scope: None,
                pin: None,
            },
            terms: Terms { sharing: Sharing::Auto, salt: None, is_seeded: true, choice: 0 },
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn claim(&self) -> Option<Claim> {
        Claim::new(self.model, &self.request, &self.terms)
    }

    fn key(&self) -> super::super::Key {
        self.claim().expect("the answer may be shared").key
    }

    /// A reference for the key without hashing: all fields with an effect, as text.
    fn distinction(&self) -> String {
        let Self { model, request, terms } = self;
        let SamplingParams { temperature, presence_penalty, seed, .. } = request.sampling;
        let seed = terms.is_seeded.then_some(seed).ok_or(terms.choice);
        let sampled = (temperature > 0.0).then_some((temperature, seed));
        let StopRules { max_tokens, end_tokens, min_tokens, stop_sequences, include_stop, calls: _ } = &request.stop;
        let includes = *include_stop && !stop_sequences.is_empty();
        let (ends, bias): (BTreeSet<_>, BTreeMap<_, _>) =
            (end_tokens.iter().collect(), request.logit_bias.iter().map(|(token, bias)| (token, bias + 0.0)).collect());
        let stop = format!("{max_tokens} {ends:?} {min_tokens} {stop_sequences:?} {includes}");
        let penalty = presence_penalty + 0.0;
        let Request { prompt, logprobs, .. } = request;
        format!("{model:?} {prompt:?} {sampled:?} {penalty} {bias:?} {logprobs:?} {stop} {:?}", terms.salt)
    }
}

type Change = fn(&mut Subject);

fn constraint(spec: &str) -> Constraint {
    struct Nothing;
    impl Grammar for Nothing {
        fn matcher(&self) -> Box<dyn Matcher> {
            unreachable!("a key needs no matcher")
        }
    }
    Constraint::new(spec, Arc::new(Nothing))
}

#[test]
fn equal_constraints_have_one_key() {
    let key = |spec: &str| Subject::sampled().with(|it| it.request.constraint = Some(constraint(spec))).key();
    assert_eq!(key("one"), key("one"));
    assert_ne!(key("one"), key("other"));
}

fn call_stop(end: CallEnd, tool: &str) -> CallStop {
    CallStop { rules: CallRules { end: Some(end), is_exclusive: false }, tools: [tool.to_owned()].into() }
}

const THINK: ReasoningTags = ReasoningTags { open: "<think>", close: "</think>", has_begun: false };

#[test]
fn the_position_of_reasoning_changes_the_key_only_with_stop_sequences() {
    let key = |reasoning_tags: Option<ReasoningTags>| {
        let plain = Subject::sampled().with(|it| it.request.stop.stop_sequences.clear());
        plain.with(|it| it.request.markup.reasoning_tags = reasoning_tags).key()
    };
    assert_eq!(key(None), key(Some(THINK)));
}

#[test]
fn every_field_that_can_change_an_answer_changes_its_key() {
    let changes: [(&str, Change); 39] = [
        ("constraint", |it| it.request.constraint = Some(constraint("{\"regex\":\"a\"}"))),
        ("files", |it| it.model = Fingerprint::new(b"other files", "device")),
        ("device", |it| it.model = Fingerprint::new(b"files", "another device")),
        ("a token of the prompt", |it| it.request.prompt = [1, 2, 4].into()),
        ("order of the prompt", |it| it.request.prompt = [2, 1, 3].into()),
        ("length of the prompt", |it| it.request.prompt = [1, 2, 3, 0].into()),
        ("temperature", |it| it.request.sampling.temperature = 0.700_000_05),
        ("top_p", |it| it.request.sampling.top_p = 0.900_000_04),
        ("top_k", |it| it.request.sampling.top_k = 41),
        ("min_p", |it| it.request.sampling.min_p = 0.2),
        ("repetition_penalty", |it| it.request.sampling.repetition_penalty = 1.2),
        ("no repetition_penalty", |it| it.request.sampling.repetition_penalty = 1.0),
        ("repetition_context", |it| it.request.sampling.repetition_context = 21),
        ("presence_penalty", |it| it.request.sampling.presence_penalty = -0.5),
        ("frequency_penalty", |it| it.request.sampling.frequency_penalty = -0.5),
        ("logit_bias", |it| it.request.logit_bias = [(1, 2.0)].into()),
        ("a token of logit_bias", |it| it.request.logit_bias = [(1, 2.0), (4, 4.0)].into()),
        ("a value of logit_bias", |it| it.request.logit_bias = [(1, 2.0), (3, 5.0)].into()),
        ("logprobs", |it| it.request.logprobs = Some(0)),
        ("one of the logprobs", |it| it.request.logprobs = Some(1)),
        ("all logprobs", |it| it.request.logprobs = Some(20)),
        ("min_tokens", |it| it.request.stop.min_tokens = 1),
        ("seed", |it| it.request.sampling.seed = 8),
        ("greedy", |it| it.request.sampling.temperature = 0.0),
        ("max_tokens", |it| it.request.stop.max_tokens = 65),
        ("end_tokens", |it| it.request.stop.end_tokens = [2, 4].into()),
        ("stop_sequences", |it| it.request.stop.stop_sequences.clear()),
        ("a stop sequence", |it| it.request.stop.stop_sequences = vec!["End".into()]),
        ("the start of its text", |it| it.request.continues_text = true),
        ("markup of calls", |it| it.request.markup.calls = true),
        ("markup of reasoning", |it| it.request.markup.reasoning = true),
        ("reasoning without stop sequences", |it| it.request.markup.reasoning_tags = Some(THINK)),
        ("reasoning that has begun", |it| {
            it.request.markup.reasoning_tags = Some(ReasoningTags { has_begun: true, ..THINK });
        }),
        ("include_stop", |it| it.request.stop.include_stop = true),
        ("salt", |it| it.terms.salt = Some("tenant".into())),
        ("the end after a call", |it| it.request.stop.calls = Some(call_stop(CallEnd::FirstCall, "f"))),
        ("the end after a call of another tool", |it| it.request.stop.calls = Some(call_stop(CallEnd::FirstCall, "g"))),
        ("the end at a repeated call", |it| it.request.stop.calls = Some(call_stop(CallEnd::RepeatedCall, "f"))),
        ("calls or text", |it| {
            let mut calls = call_stop(CallEnd::RepeatedCall, "f");
            calls.rules.is_exclusive = true;
            it.request.stop.calls = Some(calls);
        }),
    ];
    let mut keys = HashMap::from([(Subject::sampled().key(), "nothing")]);
    for (name, change) in changes {
        if let Some(same) = keys.insert(Subject::sampled().with(change).key(), name) {
            panic!("a change of {name} gives the key of a change of {same}");
        }
    }
}

#[test]
fn fields_that_cannot_change_an_answer_do_not_change_its_key() {
    let same: [(&str, Change); 6] = [
        ("order of logit_bias", |it| it.request.logit_bias = [(3, 4.0), (1, 2.0)].into()),
        ("end_tokens twice", |it| it.request.stop.end_tokens = [2, 2].into()),
        ("deadline", |it| it.request.deadline = Some(Instant::now())),
        ("priority", |it| it.request.priority = Priority::Urgent),
        ("tenant", |it| it.request.tenant = Some("tenant".into())),
        ("sharing", |it| it.terms.sharing = Sharing::Force),
    ];
    for (name, change) in same {
        assert_eq!(Subject::sampled().with(change).key(), Subject::sampled().key(), "{name}");
    }
}

#[test]
fn sampling_params_do_not_change_the_key_of_a_greedy_answer() {
    let greedy = Subject::sampled().with(|it| it.request.sampling.temperature = 0.0);
    let same: [(&str, Change); 7] = [
        ("choice", |it| it.terms.choice = 1),
        ("top_k", |it| it.request.sampling.top_k = 1),
        ("min_p", |it| it.request.sampling.min_p = 0.5),
        ("minus zero", |it| it.request.sampling.temperature = -0.0),
        ("top_p", |it| it.request.sampling.top_p = 0.5),
        ("seed", |it| it.request.sampling.seed = 8),
        ("no seed", |it| it.terms.is_seeded = false),
    ];
    for (name, change) in same {
        assert_eq!(greedy.clone().with(change).key(), greedy.key(), "{name}");
    }
}

#[test]
fn params_without_effect_do_not_change_the_key() {
    let quiet =
        Subject::sampled().with(|it| it.request.sampling = SamplingParams { seed: 7, ..SamplingParams::GREEDY });
    let same: [(&str, Change); 3] = [
        ("the context of no repetition penalty", |it| it.request.sampling.repetition_context = 5),
        ("presence_penalty", |it| it.request.sampling.presence_penalty = -0.0),
        ("frequency_penalty", |it| it.request.sampling.frequency_penalty = -0.0),
    ];
    for (name, change) in same {
        assert_eq!(quiet.clone().with(change).key(), quiet.key(), "{name}");
    }
    assert_ne!(
        quiet.clone().with(|it| it.request.sampling.presence_penalty = 0.1).key(),
        quiet.key(),
        "the penalty has an effect on greedy answers"
    );
}

#[test]
fn only_reproducible_answers_are_shared_unless_sharing_is_forced() {
    let greedy: Change = |it| it.request.sampling.temperature = 0.0;
    let unseeded: Change = |it| it.terms.is_seeded = false;
    let cases: [(Change, Sharing, Option<bool>); 6] = [
        (greedy, Sharing::Auto, Some(true)),
        (|_| (), Sharing::Auto, Some(true)),
        (unseeded, Sharing::Auto, None),
        (unseeded, Sharing::Force, Some(false)),
        (greedy, Sharing::Off, None),
        (|_| (), Sharing::Off, None),
    ];
    for (index, (change, sharing, reproducible)) in cases.into_iter().enumerate() {
        let claim = Subject::sampled().with(change).with(|it| it.terms.sharing = sharing).claim();
        assert_eq!(claim.map(|claim| claim.is_reproducible), reproducible, "case {index}");
    }
}

#[test]
fn a_seed_chosen_by_the_engine_is_not_part_of_the_key_but_a_chosen_seed_is() {
    let forced = |seed, is_seeded| {
        Subject::sampled().with(|it| {
            it.request.sampling.seed = seed;
            it.terms = Terms { sharing: Sharing::Force, is_seeded, ..Terms::default() };
        })
    };
    assert_eq!(forced(1, false).key(), forced(2, false).key());
    assert_ne!(forced(1, false).key(), forced(1, true).key());
    assert_ne!(
        forced(1, false).with(|it| it.terms.choice = 1).key(),
        forced(1, false).key(),
        "each choice has its own answer"
    );
    assert_eq!(
        forced(1, true).with(|it| it.terms.choice = 1).key(),
        forced(1, true).key(),
        "with a chosen seed, choices differ by their seeds"
    );
    assert_eq!(forced(1, false).claim().expect("forced").seed, None, "the summary has the seed of the shared answer");
}

#[test]
fn a_greedy_request_gets_its_own_seed_reported() {
    let greedy = Subject::sampled().with(|it| it.request.sampling.temperature = 0.0);
    assert_eq!(greedy.claim().expect("greedy").seed, Some(7));
}

/// 20,000 requests made of few values: many are identical, and many would be equal if values were joined without lengths.
/// Among these 2·10⁸ pairs, two requests have the same key exactly if their references are equal.
#[test]
fn two_requests_have_the_same_key_exactly_if_their_effective_fields_are_equal() {
    let mut runner = TestRunner::deterministic();
    let strategy = subjects();
    let mut keys = HashMap::new();
    let mut distinctions = HashMap::new();
    for _ in 0..20_000 {
        let subject = strategy.new_tree(&mut runner).expect("generates").current();
        let (key, distinction) = (subject.key(), subject.distinction());
        let known = keys.entry(key).or_insert_with(|| distinction.clone());
        assert_eq!(*known, distinction, "two requests share a key");
        assert_eq!(*distinctions.entry(distinction).or_insert(key), key, "one request has two keys");
    }
    assert!((5_000..19_900).contains(&keys.len()), "{} of 20,000 differ: too few or too many", keys.len());
}

fn subjects() -> impl Strategy<Value = Subject> {
    let tokens = || prop::collection::vec(0_u32..3, 0..4);
    // Composed and decomposed letters, a ligature, texts that are joins of others, and zero bytes, which can end texts.
    let texts = || prop::sample::select(vec!["", "a", "b", "ab", "é", "e\u{301}", "ﬁ", "fi", "\0", "a\0"]);
    let sampling = (prop::sample::select(vec![0.0_f32, -0.0, 1.0, 1.0 - f32::EPSILON, f32::MIN_POSITIVE]), 0_u64..2);
    let penalty = prop::sample::select(vec![0.0_f32, -0.0, 0.5]);
    let bias = prop::collection::btree_map(0_u32..2, prop::sample::select(vec![0.0_f32, -0.0, 1.0]), 0..2);
    let logprobs = prop::option::of(0_u8..2);
    let stop = (1_usize..3, 0_usize..2, tokens(), prop::collection::vec(texts(), 0..3), any::<bool>());
    let salt = prop::option::of(texts());
    (
        prop::sample::select(vec!["", "d"]),
        tokens(),
        sampling,
        (penalty, bias, logprobs),
        stop,
        salt,
        (any::<bool>(), 0..2_u32),
    )
        .prop_map(
            |(
                device,
                prompt,
                (temperature, seed),
                (penalty, bias, logprobs),
                (max_tokens, min_tokens, ends, stops, include_stop),
                salt,
                (is_seeded, choice),
            )| Subject {
                model: Fingerprint::new(b"files", device),
                request: Request {
                    prompt: prompt.into(),
                    sampling: SamplingParams { temperature, seed, presence_penalty: penalty, ..SamplingParams::GREEDY },
                    logit_bias: bias.into_iter().collect(),
                    logprobs,
                    stop: StopRules {
                        max_tokens,
                        min_tokens,
                        end_tokens: ends.into(),
                        stop_sequences: stops.into_iter().map(str::to_owned).collect(),
                        include_stop,
                        calls: None,
                    },
                    continues_text: false,
                    markup: Markup::default(),
                    constraint: None,
                    scripted: None,
                    deadline: None,
                    priority: Priority::Default,
                    tenant: None,
                    prefix_scope: None,
                    pin: None,
                },
                terms: Terms { sharing: Sharing::Force, salt: salt.map(Arc::from), is_seeded, choice },
            },
        )
}
