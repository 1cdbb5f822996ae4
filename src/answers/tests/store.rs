use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::{AnswerCache, CacheOutcome, Claim, Dedup, Fingerprint, LayerCounts, PromptCache, Settings, Terms};
use crate::request::{Request, SamplingParams, Sharing, TokenId, TokenLogprob};

use super::{finished, log};

const SECOND: Duration = Duration::from_secs(1);

/// An answer cache with a manual clock.
struct Cached {
    answers: AnswerCache,
    now: Instant,
}

fn cached(settings: Settings) -> Cached {
    Cached { answers: AnswerCache::new(settings), now: Instant::now() }
}

fn dedup() -> Dedup {
    Settings::default().dedup
}

fn prompt_cache() -> PromptCache {
    Settings::default().prompt_cache
}

fn claim_of(model: Fingerprint, prompt: u32, sampling: SamplingParams) -> Claim {
    let request = Request { sampling, ..Request::of([prompt], 9) };
    Claim::new(model, &request, &Terms { sharing: Sharing::Force, ..Terms::default() }).expect("forced")
}

fn model(name: &str) -> Fingerprint {
    Fingerprint::new(name.as_bytes(), "device")
}

pub(super) fn greedy(prompt: u32) -> Claim {
    claim_of(model("a"), prompt, SamplingParams::GREEDY)
}

pub(super) fn sampled(prompt: u32) -> Claim {
    claim_of(model("a"), prompt, SamplingParams { temperature: 1.0, ..SamplingParams::GREEDY })
}

/// The log-probabilities of a token, in a log with one of the most probable tokens.
pub(super) fn logprobs_of(token: TokenId) -> [TokenLogprob; 2] {
    [(token, -1.5), (token + 1, -0.25)].map(|(token, logprob)| TokenLogprob { token, logprob })
}

impl Cached {
    fn insert(&self, claim: Claim, num_tokens: u32) {
        self.insert_since(self.answers.epoch(), claim, num_tokens);
    }

    fn insert_since(&self, epoch: u64, claim: Claim, num_tokens: u32) {
        let log = log("first");
        (0..num_tokens).for_each(|token| log.append(token, "text", &[]));
        log.close("", Ok(finished()));
        self.answers.insert(&claim, epoch, Arc::new(log), self.now);
    }

    fn outcome(&self, claim: Claim) -> Option<CacheOutcome> {
        self.answers.find(&claim, self.now).map(|found| found.outcome)
    }

    fn num_found(&self, claims: impl Iterator<Item = Claim>) -> usize {
        claims.filter(|claim| self.outcome(*claim).is_some()).count()
    }
}

#[test]
fn an_answer_is_found_by_dedup_then_in_the_prompt_cache_and_then_not_any_more() {
    let mut cached = cached(Settings::default());
    cached.insert(greedy(1), 5);
    assert_eq!(cached.outcome(greedy(1)), Some(CacheOutcome::Dedup));
    assert_eq!(cached.outcome(greedy(2)), None);
    cached.now += SECOND;
    assert_eq!(cached.outcome(greedy(1)), Some(CacheOutcome::PromptCache));
    cached.now += Duration::from_mins(5);
    assert_eq!(cached.outcome(greedy(1)), None);
}

#[test]
fn an_answer_that_is_not_reproducible_is_found_by_dedup_only() {
    let mut cached = cached(Settings::default());
    cached.insert(sampled(1), 5);
    assert_eq!(cached.outcome(sampled(1)), Some(CacheOutcome::Dedup));
    cached.now += SECOND;
    assert_eq!(cached.outcome(sampled(1)), None);
}

#[test]
fn each_layer_can_be_disabled_alone() {
    let no_dedup = Settings { dedup: Dedup { enabled: false, ..dedup() }, ..Settings::default() };
    let no_cache = Settings { prompt_cache: PromptCache { enabled: false, ..prompt_cache() }, ..Settings::default() };
    let mut without_dedup = cached(no_dedup);
    without_dedup.insert(greedy(1), 5);
    without_dedup.insert(sampled(1), 5);
    assert_eq!(
        (without_dedup.outcome(greedy(1)), without_dedup.outcome(sampled(1))),
        (Some(CacheOutcome::PromptCache), None)
    );
    without_dedup.answers.configure(Settings::OFF);
    assert_eq!(without_dedup.outcome(greedy(1)), None, "settings can change at run time");
    let mut recent = cached(no_cache);
    recent.insert(greedy(1), 5);
    assert_eq!(recent.outcome(greedy(1)), Some(CacheOutcome::Dedup));
    recent.now += SECOND;
    assert_eq!(recent.outcome(greedy(1)), None);
    without_dedup.now += SECOND;
}

#[test]
fn all_three_budgets_hold_after_every_insertion() {
    let budgets = [
        PromptCache { max_entries: 7, ..prompt_cache() },
        PromptCache { max_tokens: 70, ..prompt_cache() },
        PromptCache { max_bytes: 3_000, ..prompt_cache() },
    ];
    for prompt_cache in budgets {
        let cached = cached(Settings { prompt_cache, ..Settings::default() });
        for prompt in 0..200 {
            cached.insert(greedy(prompt), 10);
            let counts = cached.answers.counts();
            assert!(counts.num_entries <= prompt_cache.max_entries as u64, "{counts:?}");
            assert!(counts.num_tokens <= prompt_cache.max_tokens as u64, "{counts:?}");
            assert!(counts.num_bytes <= prompt_cache.max_bytes as u64, "{counts:?}");
        }
        let found = cached.num_found((0..200).map(greedy));
        assert!((5..=7).contains(&found), "{found} answers for {prompt_cache:?}");
        assert_eq!(cached.num_found((195..200).map(greedy)), 5, "the newest answers are cached");
    }
}

#[test]
fn the_least_recently_used_answer_is_evicted_first() {
    let prompt_cache = PromptCache { max_entries: 3, ..prompt_cache() };
    let cached = cached(Settings { prompt_cache, ..Settings::default() });
    (0..3).for_each(|prompt| cached.insert(greedy(prompt), 1));
    cached.outcome(greedy(0)).expect("the answer is cached");
    cached.insert(greedy(3), 1);
    let left: Vec<_> = (0..4).filter(|prompt| cached.outcome(greedy(*prompt)).is_some()).collect();
    assert_eq!(left, [0, 2, 3]);
}

#[test]
fn an_answer_larger_than_a_budget_is_not_cached_and_evicts_nothing() {
    let prompt_cache = PromptCache { max_tokens: 100, ..prompt_cache() };
    let cached = cached(Settings { prompt_cache, ..Settings::default() });
    cached.insert(greedy(1), 10);
    cached.insert(greedy(2), 101);
    assert_eq!((cached.outcome(greedy(1)), cached.outcome(greedy(2))), (Some(CacheOutcome::Dedup), None));
    assert_eq!(cached.answers.counts().num_tokens, 10);
}

#[test]
fn answers_cached_for_dedup_alone_have_their_own_limit() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let cached = cached(settings);
    (0..20).for_each(|prompt| cached.insert(sampled(prompt), 1));
    (0..20).for_each(|prompt| cached.insert(greedy(prompt), 1));
    let left: Vec<_> = (0..20).filter(|prompt| cached.outcome(sampled(*prompt)).is_some()).collect();
    assert_eq!(left, [15, 16, 17, 18, 19]);
    assert_eq!(cached.num_found((0..20).map(greedy)), 20);
}

#[test]
fn an_answer_cached_for_dedup_alone_can_be_replaced_many_times() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let cached = cached(settings);
    for time in 1..=7 {
        cached.insert(sampled(1), 1);
        assert_eq!(cached.outcome(sampled(1)), Some(CacheOutcome::Dedup), "cached {time} times");
    }
}

#[test]
fn an_answer_that_is_computed_often_counts_once_against_the_dedup_limit() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let cached = cached(settings);
    cached.insert(sampled(1), 1);
    (0..7).for_each(|_| cached.insert(sampled(2), 1));
    assert_eq!(
        (cached.outcome(sampled(1)), cached.outcome(sampled(2))),
        (Some(CacheOutcome::Dedup), Some(CacheOutcome::Dedup))
    );
}

#[test]
fn the_eviction_of_an_expired_answer_keeps_a_newer_one_of_the_same_key() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let mut cached = cached(settings);
    let now = cached.now;
    cached.now = now.checked_sub(SECOND * 2).expect("the machine has run for longer");
    cached.insert(sampled(1), 1);
    cached.now = now;
    (1..=5).for_each(|prompt| cached.insert(sampled(prompt), 1));
    assert_eq!(cached.num_found((1..=5).map(sampled)), 5);
}

#[test]
fn clearing_frees_the_memory_of_a_hundred_thousand_answers() {
    let cached = cached(Settings::default());
    for prompt in 0..100_000 {
        cached.insert(greedy(prompt), 2);
    }
    assert_eq!(cached.answers.counts().num_entries, 10_000);
    cached.answers.clear();
    let counts = cached.answers.counts();
    assert_eq!((counts.num_entries, counts.num_tokens, counts.num_bytes), (0, 0, 0));
}

#[test]
fn clearing_removes_cached_answers_and_answers_that_started_before() {
    let cached = cached(Settings::default());
    cached.insert(greedy(1), 5);
    let before = cached.answers.epoch();
    cached.answers.clear();
    assert_eq!(cached.outcome(greedy(1)), None);
    cached.insert_since(before, greedy(1), 5);
    assert_eq!(cached.outcome(greedy(1)), None);
    cached.insert(greedy(1), 5);
    assert_eq!(cached.outcome(greedy(1)), Some(CacheOutcome::Dedup));
}

#[test]
fn unloading_a_model_removes_its_answers_and_no_others() {
    let cached = cached(Settings::default());
    let other = claim_of(model("b"), 1, SamplingParams::GREEDY);
    cached.insert(greedy(1), 5);
    cached.insert(other, 5);
    cached.answers.remove_model(model("a"));
    assert_eq!((cached.outcome(greedy(1)), cached.outcome(other)), (None, Some(CacheOutcome::Dedup)));
    assert_eq!(cached.answers.counts().num_entries, 1);
}

#[test]
fn new_settings_keep_the_answers_that_still_fit() {
    let cached = cached(Settings::default());
    (0..10).for_each(|prompt| cached.insert(greedy(prompt), 5));
    let prompt_cache = PromptCache { max_entries: 4, ..prompt_cache() };
    cached.answers.configure(Settings { prompt_cache, ..Settings::default() });
    assert_eq!(cached.num_found((0..10).map(greedy)), 4);
    assert_eq!(cached.answers.counts().num_entries, 4);
}

#[test]
fn layers_are_counted_in_order_and_only_while_they_are_enabled() {
    let cached = cached(Settings::default());
    for outcome in [CacheOutcome::Coalesced, CacheOutcome::Dedup, CacheOutcome::PromptCache, CacheOutcome::Computed] {
        cached.answers.count(outcome);
    }
    let counts = cached.answers.counts();
    assert_eq!(counts.coalescing, LayerCounts { hits: 1, misses: 3 });
    assert_eq!(counts.dedup, LayerCounts { hits: 1, misses: 2 });
    assert_eq!(counts.prompt_cache, LayerCounts { hits: 1, misses: 1 });
    assert_eq!(counts.num_shared(), 3);
    cached.answers.configure(Settings::OFF);
    cached.answers.count(CacheOutcome::Computed);
    assert_eq!(cached.answers.counts().num_shared(), 3);
    assert_eq!(cached.answers.counts().prompt_cache.misses, 1);
}

#[test]
fn log_probabilities_count_among_the_bytes() {
    let num_bytes = |num_logprobs: Option<u8>| {
        let cached = cached(Settings::default());
        let log = log("first").with_logprobs(num_logprobs);
        let logprobs: Vec<_> = num_logprobs.map(|_| logprobs_of(1)).into_iter().flatten().collect();
        (0..100).for_each(|token| log.append(token, "text", &logprobs));
        log.close("", Ok(finished()));
        cached.answers.insert(&greedy(1), cached.answers.epoch(), Arc::new(log), cached.now);
        cached.answers.counts().num_bytes
    };
    assert_eq!(num_bytes(Some(1)) - num_bytes(None), 100 * 2 * 8, "each entry has eight bytes");
}
