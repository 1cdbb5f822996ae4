use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::clock::ManualClock;
use crate::constraint::{AllowedTokens, Constraint, ConstraintError, Grammar, Matcher};
use crate::request::{SamplingParams, ScriptedTokens, TokenId};
use crate::scheduler::plan::Feed;

const END: TokenId = 99;

fn folder() -> ModelFolder {
    ModelFolder {
        path: "/".into(),
        config: serde_json::json!({}),
        generation_config: serde_json::json!({}),
        tokenizer_config: serde_json::json!({}),
        special_tokens_map: serde_json::json!({}),
        tensors: BTreeMap::new(),
        weight_files: Vec::new(),
        weight_bytes: 0,
    }
}

fn device(faults: Vec<Fault>) -> (Box<dyn Executor>, Arc<ManualClock>) {
    device_with(vec![vec![1, 2, 3], vec![4, 5], vec![6, 7, 8, 9]], faults)
}

fn device_with(sentences: Vec<Vec<TokenId>>, faults: Vec<Fault>) -> (Box<dyn Executor>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let script = Script::new(sentences, END).expect("there are sentences");
    let vocabulary = Box::new(move |_: &ModelFolder| Ok((script.clone(), 100)));
    let profile = Profile::named("m3-max/llama-3.2-3b-4bit").expect("it is listed");
    let backend = SimBackend::new(profile, clock.clone(), vocabulary).with_faults(faults);
    (backend.open(&folder(), None).expect("opens"), clock)
}

fn admission(id: u64, prompt: &[TokenId], sampling: SamplingParams) -> Admission {
    Admission { sampling, max_positions: 1_000, ..Admission::of(SequenceId(id), prompt) }
}

fn row(id: u64, start: usize, feed: Feed) -> Row {
    Row { sequence: SequenceId(id), start, feed, sample: true }
}

fn prefill(id: u64, prompt: &[TokenId], sampling: SamplingParams) -> Plan {
    let rows = vec![row(id, 0, Feed::Prompt { len: prompt.len() })];
    Plan { admit: vec![admission(id, prompt, sampling)], rows, ..Plan::default() }
}

fn say(device: &mut dyn Executor, prompt: &[TokenId], num_tokens: usize, sampling: SamplingParams) -> Vec<TokenId> {
    device.reset().expect("resets");
    let mut plan = prefill(1, prompt, sampling);
    let mut said = Vec::new();
    for position in 0..num_tokens {
        device.submit(&plan).expect("submits");
        said.push(device.collect().expect("collects").tokens[0].1);
        plan = Plan { rows: vec![row(1, prompt.len() + position, Feed::Sampled)], ..Plan::default() };
    }
    said
}

#[test]
fn the_same_prefix_is_continued_the_same_way_also_when_it_is_computed_again() {
    let (mut device, _) = device(Vec::new());
    let all = say(&mut *device, &[50, 51], 20, SamplingParams::GREEDY);
    assert_eq!(all, say(&mut *device, &[50, 51], 20, SamplingParams::GREEDY));
    for split in 1..20 {
        let prefix: Vec<_> = [50, 51].into_iter().chain(all[..split].iter().copied()).collect();
        assert_eq!(all[split..], say(&mut *device, &prefix, 20 - split, SamplingParams::GREEDY), "split at {split}");
    }
}

#[test]
fn words_depend_on_the_prompt_and_on_the_seed() {
    let (mut device, _) = device(Vec::new());
    let seeded = |seed| SamplingParams { temperature: 1.0, seed, ..SamplingParams::GREEDY };
    let greedy: Vec<_> = (0..8).map(|token| say(&mut *device, &[50 + token], 30, SamplingParams::GREEDY)).collect();
    assert!(greedy.iter().any(|said| *said != greedy[0]));
    let sampled: Vec<_> = (0..8).map(|seed| say(&mut *device, &[50], 30, seeded(seed))).collect();
    assert!(sampled.iter().any(|said| *said != sampled[0]));
}

#[test]
fn answers_come_to_an_end() {
    let (mut device, _) = device(Vec::new());
    assert!(say(&mut *device, &[50], 200, SamplingParams::GREEDY).contains(&END));
}

#[test]
fn steps_take_the_time_of_the_profile() {
    let (mut device, clock) = device(Vec::new());
    let start = clock.now();
    device.submit(&prefill(1, &[1, 2], SamplingParams::GREEDY)).expect("submits");
    assert_eq!(clock.now(), start, "a launch does not wait");
    device.collect().expect("collects");
    let read = clock.now() - start;
    // Three pairs of a token and a position take 0.1 µs.
    assert_eq!(read.as_micros(), 94_670);
    device.submit(&Plan { rows: vec![row(1, 2, Feed::Sampled)], ..Plan::default() }).expect("submits");
    device.collect().expect("collects");
    assert_eq!((clock.now() - start).as_micros(), read.as_micros() + 6_390);
}

/// The time of one step of a new device of this profile, in milliseconds.
fn millis(profile: &str, work: Work) -> f64 {
    Profile::named(profile).expect("it is listed").step_time(work).as_secs_f64() * 1e3
}

#[test]
fn rows_are_charged_for_the_positions_that_they_read() {
    let name = "m3-max/llama-3.2-3b-4bit";
    let rows = |num_positions| (0..8).fold(Work::default(), |sum, _| sum.plus(Work::decode(num_positions)));
    // 8 rows of 4,096 positions read 3.8 GB at 400 GB/s.
    let added = millis(name, rows(4_096)) - millis(name, rows(0));
    assert!((added - 9.4).abs() < 0.05, "{added} ms");
    // The second half of a prompt has three quarters of its pairs.
    let halves = [Work::prefill(0, 2_048), Work::prefill(2_048, 2_048)].map(|work| work.num_pairs);
    assert_eq!(halves[0] + halves[1], Work::prefill(0, 4_096).num_pairs);
    assert!(halves[1] > 2 * halves[0]);
    assert!(millis(name, Work::prefill(2_048, 2_048)) > millis(name, Work::prefill(0, 2_048)));
}

#[test]
fn submitting_waits_until_few_command_buffers_are_left() {
    let now = Instant::now();
    let at = |ms| now + Duration::from_millis(ms);
    let step = Duration::from_millis(100);
    let mut timeline = Timeline::default();
    assert_eq!(timeline.launch(now, step, 8), now, "there is room for 10");
    assert_eq!(timeline.launch(now, step, 8), at(75), "2 of the first 8 may be left");
    assert_eq!((timeline.collect(), timeline.collect()), (Some(at(100)), Some(at(200))));
    assert_eq!(timeline.launch(at(300), step, 100), at(390), "10 of 100 are left");
    assert_eq!(timeline.launch(at(390), step, 100), at(490));
}

#[test]
fn a_step_submitted_ahead_overlaps_with_the_host() {
    let (mut device, clock) = device(Vec::new());
    let start = clock.now();
    device.submit(&prefill(1, &[1, 2], SamplingParams::GREEDY)).expect("submits");
    device.submit(&Plan { rows: vec![row(1, 2, Feed::Sampled)], ..Plan::default() }).expect("submits");
    assert_eq!((clock.now() - start).as_millis(), 84, "one of nine command buffers is left");
    clock.advance(Duration::from_millis(10));
    device.collect().expect("collects");
    device.collect().expect("collects");
    assert_eq!((clock.now() - start).as_micros(), 94_670 + 6_390, "the host's 10 ms were hidden");
}

#[test]
fn staircases_make_rows_cheap_and_never_free_beyond_their_end() {
    for profile in PROFILES {
        let time = |num_rows| profile.step_time(Work { num_rows, ..Work::default() });
        let times: Vec<_> = (1..200).map(time).collect();
        assert!(times.is_sorted(), "{}", profile.name);
        assert_eq!(time(128), time(64) * 2);
    }
    for name in ["m3-max/llama-3.2-3b-4bit", "m3-max/llama-3.1-8b-4bit"] {
        let profile = Profile::named(name).expect("it is listed");
        let time = |num_rows| profile.step_time(Work { num_rows, ..Work::default() });
        assert_eq!(time(10), time(32));
    }
}

#[test]
fn faults_happen_at_their_step_and_the_device_lives_on() {
    let faults = vec![Fault { step: 0, kind: FaultKind::Submit }, Fault { step: 1, kind: FaultKind::Collect }];
    let (mut device, _) = device(faults);
    let plan = prefill(1, &[1], SamplingParams::GREEDY);
    assert_eq!(device.submit(&plan).expect_err("fails").code(), Code::BackendError);
    device.submit(&plan).expect("submits");
    assert_eq!(device.collect().expect_err("fails").code(), Code::BackendError);
    device.reset().expect("resets");
    device.submit(&plan).expect("submits");
    assert_eq!(device.collect().expect("collects").tokens.len(), 1);
}

#[test]
fn logits_that_are_no_numbers_leave_the_first_row_of_their_step_without_a_token() {
    let (mut device, _) = device(vec![Fault { step: 1, kind: FaultKind::Logits }]);
    device.submit(&prefill(1, &[1], SamplingParams::GREEDY)).expect("submits");
    device.submit(&Plan { step: 1, ..prefill(2, &[1], SamplingParams::GREEDY) }).expect("submits");
    assert_eq!(device.collect().expect("collects").tokens.len(), 1);
    let output = device.collect().expect("collects");
    assert_eq!((output.tokens, output.not_finite), (Vec::new(), vec![SequenceId(2)]));
}

#[test]
fn a_plan_that_only_drops_kv_is_no_step_and_cannot_fail() {
    let (mut device, _) = device(vec![Fault { step: 0, kind: FaultKind::Submit }]);
    device.submit(&Plan { release: vec![SequenceId(7)], ..Plan::default() }).expect("submits");
    assert!(device.collect().expect("collects").tokens.is_empty());
    device.submit(&prefill(1, &[1], SamplingParams::GREEDY)).expect_err("this is step 0");
}

#[test]
fn a_plan_no_device_could_carry_out_is_refused() {
    let (mut device, _) = device(Vec::new());
    let unknown = Plan { rows: vec![row(7, 0, Feed::Sampled)], ..Plan::default() };
    assert!(device.submit(&unknown).expect_err("fails").message().contains("unknown sequence"));
    let mut gap = prefill(1, &[1, 2, 3], SamplingParams::GREEDY);
    gap.rows[0].start = 1;
    assert!(device.submit(&gap).expect_err("fails").message().contains("in order"));
    let mut early = prefill(2, &[1, 2, 3], SamplingParams::GREEDY);
    early.rows[0].feed = Feed::Prompt { len: 2 };
    assert!(device.submit(&early).expect_err("fails").message().contains("before the end"));
}

#[test]
fn log_probabilities_are_of_a_true_distribution_and_the_same_when_computed_again() {
    let (mut device, _) = device(Vec::new());
    let mut reported = |prompt: &[TokenId], count| {
        device.reset().expect("resets");
        let mut plan = prefill(1, prompt, SamplingParams::GREEDY);
        plan.admit[0].logprobs = Some(count);
        device.submit(&plan).expect("submits");
        let output = device.collect().expect("collects");
        (output.tokens[0].1, output.logprobs[&SequenceId(1)].clone())
    };
    let (sampled, all) = reported(&[50, 51], 100);
    let sum: f64 = all[1..].iter().map(|it| f64::from(it.logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    assert!(all[1..].is_sorted_by(|a, b| a.logprob >= b.logprob), "the likeliest first");
    assert_eq!((all[0].token, all[0]), (sampled, all[1]), "a greedy token is the likeliest");
    let tokens: std::collections::BTreeSet<_> = all[1..].iter().map(|it| it.token).collect();
    assert_eq!((tokens.len(), tokens.last()), (100, Some(&99)), "each token of the vocabulary once");
    assert_eq!(reported(&[50, 51], 3).1, all[..4]);
    assert_eq!(reported(&[50, 51], 0).1, all[..1]);
    assert_ne!(reported(&[50, 52], 0).1[0], all[0], "they depend on what came before");
}

#[test]
fn rows_without_the_request_get_no_log_probabilities() {
    let (mut device, _) = device(Vec::new());
    device.submit(&prefill(1, &[50], SamplingParams::GREEDY)).expect("submits");
    assert!(device.collect().expect("collects").logprobs.is_empty());
}

/// What a device draws for a scripted answer, until it fails or `num_tokens` are drawn.
fn recite(admission: &Admission, num_tokens: usize) -> Vec<TokenId> {
    let (mut device, _) = device(Vec::new());
    let len = admission.prompt.len();
    let mut plan =
        Plan { admit: vec![admission.clone()], rows: vec![row(1, 0, Feed::Prompt { len })], ..Plan::default() };
    let mut drawn = Vec::new();
    for position in 0..num_tokens {
        device.submit(&plan).expect("submits");
        let output = device.collect().expect("collects");
        if output.faulted == [SequenceId(1)] {
            assert!(output.tokens.is_empty());
            break;
        }
        drawn.push(output.tokens[0].1);
        plan = Plan { rows: vec![row(1, len + position, Feed::Sampled)], ..Plan::default() };
    }
    drawn
}

fn scripted(tokens: &[TokenId], fails_after: Option<usize>) -> Admission {
    let scripted = Some(ScriptedTokens { tokens: tokens.into(), fails_after });
    Admission { scripted, end_tokens: [98, END].into(), ..admission(1, &[50, 51], SamplingParams::GREEDY) }
}

#[test]
fn a_scripted_answer_is_its_tokens_and_then_the_end() {
    assert_eq!(recite(&scripted(&[31, 32, 33], None), 4), [31, 32, 33, END]);
    assert_eq!(recite(&scripted(&[], None), 1), [END]);
    let other_end = Admission { end_tokens: [98].into(), ..scripted(&[31], None) };
    assert_eq!(recite(&other_end, 2), [31, 98]);
}

#[test]
fn a_scripted_answer_that_must_not_end_starts_again() {
    let endless = Admission { end_tokens: [].into(), ..scripted(&[31, 32], None) };
    assert_eq!(recite(&endless, 5), [31, 32, 31, 32, 31]);
    let long = Admission { min_tokens: 3, ..scripted(&[31, 32], None) };
    assert_eq!(recite(&long, 4), [31, 32, 31, END]);
    let empty = Admission { min_tokens: 2, ..scripted(&[], None) };
    assert_eq!(recite(&empty, 3), [1, 2, END]);
}

#[test]
fn a_scripted_answer_fails_after_its_number_of_tokens() {
    for num_tokens in 0..=3 {
        assert_eq!(recite(&scripted(&[31, 32, 33], Some(num_tokens)), 9), [31, 32, 33][..num_tokens]);
    }
}

#[test]
fn a_scripted_answer_that_is_computed_again_has_the_same_tokens() {
    let whole = scripted(&[31, 32, 33, 34], Some(3));
    for num_before in 0..3 {
        let known: Vec<_> = [50, 51, 31, 32, 33][..2 + num_before].to_vec();
        let again = Admission { prompt: known.into(), ..whole.clone() };
        assert_eq!(recite(&again, 9), [31, 32, 33][num_before..]);
    }
}

#[test]
fn only_the_row_of_a_scripted_answer_that_fails_has_no_token() {
    let (mut device, _) = device(Vec::new());
    let mut plan = prefill(2, &[50], SamplingParams::GREEDY);
    plan.admit.push(scripted(&[31], Some(0)));
    plan.rows.push(row(1, 0, Feed::Prompt { len: 2 }));
    device.submit(&plan).expect("submits");
    let output = device.collect().expect("collects");
    assert_eq!((output.tokens.len(), output.faulted), (1, vec![SequenceId(1)]));
}

#[test]
fn scripted_tokens_have_log_probabilities() {
    let (mut device, _) = device(Vec::new());
    let admit = vec![Admission { logprobs: Some(1), ..scripted(&[31], None) }];
    let plan = Plan { admit, rows: vec![row(1, 0, Feed::Prompt { len: 2 })], ..Plan::default() };
    device.submit(&plan).expect("submits");
    let logprobs = device.collect().expect("collects").logprobs.remove(&SequenceId(1)).expect("asked for");
    assert_eq!(logprobs.iter().map(|it| it.token).collect::<Vec<_>>(), [31, 31]);
}

/// Allows these tokens, at every position.
#[derive(Clone)]
struct Only(Vec<TokenId>);

impl Grammar for Only {
    fn matcher(&self) -> Box<dyn Matcher> {
        Box::new(self.clone())
    }
}

impl Matcher for Only {
    fn accept(&mut self, _: TokenId) -> std::result::Result<(), ConstraintError> {
        Ok(())
    }

    fn allowed(&mut self) -> std::result::Result<AllowedTokens, ConstraintError> {
        let bitmask = vec![self.0.iter().map(|token| 1_u32 << token).sum()];
        Ok(AllowedTokens { bitmask, may_end: false })
    }
}

/// A sequence that had generated one token of the second sentence was continued with the first one, and a constrained sequence
/// with another word.
#[test]
fn a_sequence_that_is_computed_again_after_any_token_continues_as_before() {
    let constraint = Constraint::new("only odd tokens", Arc::new(Only(vec![1, 3, 5])));
    for (constraint, min_tokens) in [(None, 0), (None, 9), (Some(constraint), 0)] {
        let (mut device, _) = device_with(vec![vec![1, 2, 3], vec![1, 4], vec![1, 5]], Vec::new());
        let mut generate = |generated: &[TokenId], num_tokens: usize| {
            device.reset().expect("resets");
            let prompt: Vec<_> = [50, 51].iter().chain(generated).copied().collect();
            let admitted = Admission {
                num_prompt: 2,
                constraint: constraint.clone(),
                min_tokens,
                ..admission(1, &prompt, SamplingParams::GREEDY)
            };
            let rows = vec![row(1, 0, Feed::Prompt { len: prompt.len() })];
            let mut plan = Plan { admit: vec![admitted], rows, ..Plan::default() };
            let mut tokens = generated.to_vec();
            while tokens.len() < num_tokens {
                device.submit(&plan).expect("submits");
                tokens.push(device.collect().expect("collects").tokens[0].1);
                plan = Plan { rows: vec![row(1, 1 + tokens.len(), Feed::Sampled)], ..Plan::default() };
            }
            tokens
        };
        let all = generate(&[], 20);
        for num_generated in 1..20 {
            assert_eq!(generate(&all[..num_generated], 20), all, "after {num_generated} tokens");
        }
    }
}

#[test]
fn sampling_parameters_that_no_device_can_use_are_refused() {
    let (mut device, _) = device(Vec::new());
    for sampling in [
        SamplingParams { top_p: 0.0, ..SamplingParams::GREEDY },
        SamplingParams { temperature: f32::NAN, ..SamplingParams::GREEDY },
        SamplingParams { min_p: 1.5, ..SamplingParams::GREEDY },
    ] {
        let error = device.submit(&prefill(1, &[1], sampling)).expect_err("fails");
        assert!(error.message().contains("sampling parameters"), "{sampling:?}");
    }
}
