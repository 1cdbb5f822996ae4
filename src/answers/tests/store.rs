use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::{Answers, Claim, Dedup, Fingerprint, LayerCounts, PromptCache, Settings, Terms, Way};
use crate::request::{Request, SamplingParams, Sharing, TokenId, TokenLogprob};

use super::{finished, log};

const SECOND: Duration = Duration::from_secs(1);

/// Answers with a clock that is moved by hand.
struct Kept {
    answers: Answers,
    now: Instant,
}

fn kept(settings: Settings) -> Kept {
    Kept { answers: Answers::new(settings), now: Instant::now() }
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

pub(super) fn drawn(prompt: u32) -> Claim {
    claim_of(model("a"), prompt, SamplingParams { temperature: 1.0, ..SamplingParams::GREEDY })
}

/// What is told with a token by a log that was made for one of the most probable ones.
pub(super) fn odds(token: TokenId) -> [TokenLogprob; 2] {
    [(token, -1.5), (token + 1, -0.25)].map(|(token, logprob)| TokenLogprob { token, logprob })
}

impl Kept {
    fn keep(&self, claim: Claim, num_tokens: u32) {
        self.keep_since(self.answers.epoch(), claim, num_tokens);
    }

    fn keep_since(&self, epoch: u64, claim: Claim, num_tokens: u32) {
        let log = log("first");
        (0..num_tokens).for_each(|token| log.append(token, "text", &[]));
        log.close("", Ok(finished()));
        self.answers.keep(&claim, epoch, Arc::new(log), self.now);
    }

    fn way(&self, claim: Claim) -> Option<Way> {
        self.answers.find(&claim, self.now).map(|found| found.way)
    }

    fn num_found(&self, claims: impl Iterator<Item = Claim>) -> usize {
        claims.filter(|claim| self.way(*claim).is_some()).count()
    }
}

#[test]
fn an_answer_is_given_again_in_the_dedup_window_then_from_the_prompt_cache_then_not_any_more() {
    let mut kept = kept(Settings::default());
    kept.keep(greedy(1), 5);
    assert_eq!(kept.way(greedy(1)), Some(Way::Dedup));
    assert_eq!(kept.way(greedy(2)), None);
    kept.now += SECOND;
    assert_eq!(kept.way(greedy(1)), Some(Way::PromptCache));
    kept.now += Duration::from_mins(5);
    assert_eq!(kept.way(greedy(1)), None);
}

#[test]
fn an_answer_that_would_be_drawn_anew_is_given_in_the_dedup_window_only() {
    let mut kept = kept(Settings::default());
    kept.keep(drawn(1), 5);
    assert_eq!(kept.way(drawn(1)), Some(Way::Dedup));
    kept.now += SECOND;
    assert_eq!(kept.way(drawn(1)), None);
}

#[test]
fn each_lifetime_can_be_switched_off_alone() {
    let no_dedup = Settings { dedup: Dedup { enabled: false, ..dedup() }, ..Settings::default() };
    let no_cache = Settings { prompt_cache: PromptCache { enabled: false, ..prompt_cache() }, ..Settings::default() };
    let mut cached = kept(no_dedup);
    cached.keep(greedy(1), 5);
    cached.keep(drawn(1), 5);
    assert_eq!((cached.way(greedy(1)), cached.way(drawn(1))), (Some(Way::PromptCache), None));
    cached.answers.configure(Settings::OFF);
    assert_eq!(cached.way(greedy(1)), None, "at run time, too");
    let mut recent = kept(no_cache);
    recent.keep(greedy(1), 5);
    assert_eq!(recent.way(greedy(1)), Some(Way::Dedup));
    recent.now += SECOND;
    assert_eq!(recent.way(greedy(1)), None);
    cached.now += SECOND;
}

#[test]
fn all_three_budgets_hold_after_every_answer() {
    let budgets = [
        PromptCache { max_entries: 7, ..prompt_cache() },
        PromptCache { max_tokens: 70, ..prompt_cache() },
        PromptCache { max_bytes: 3_000, ..prompt_cache() },
    ];
    for prompt_cache in budgets {
        let kept = kept(Settings { prompt_cache, ..Settings::default() });
        for prompt in 0..200 {
            kept.keep(greedy(prompt), 10);
            let counts = kept.answers.counts();
            assert!(counts.num_entries <= prompt_cache.max_entries as u64, "{counts:?}");
            assert!(counts.num_tokens <= prompt_cache.max_tokens as u64, "{counts:?}");
            assert!(counts.num_bytes <= prompt_cache.max_bytes as u64, "{counts:?}");
        }
        let found = kept.num_found((0..200).map(greedy));
        assert!((5..=7).contains(&found), "{found} answers for {prompt_cache:?}");
        assert_eq!(kept.num_found((195..200).map(greedy)), 5, "the newest are among them");
    }
}

#[test]
fn what_was_not_asked_for_longest_goes_first() {
    let prompt_cache = PromptCache { max_entries: 3, ..prompt_cache() };
    let kept = kept(Settings { prompt_cache, ..Settings::default() });
    (0..3).for_each(|prompt| kept.keep(greedy(prompt), 1));
    kept.way(greedy(0)).expect("it is there");
    kept.keep(greedy(3), 1);
    let left: Vec<_> = (0..4).filter(|prompt| kept.way(greedy(*prompt)).is_some()).collect();
    assert_eq!(left, [0, 2, 3]);
}

#[test]
fn an_answer_larger_than_a_budget_is_not_kept_and_drives_nothing_out() {
    let prompt_cache = PromptCache { max_tokens: 100, ..prompt_cache() };
    let kept = kept(Settings { prompt_cache, ..Settings::default() });
    kept.keep(greedy(1), 10);
    kept.keep(greedy(2), 101);
    assert_eq!((kept.way(greedy(1)), kept.way(greedy(2))), (Some(Way::Dedup), None));
    assert_eq!(kept.answers.counts().num_tokens, 10);
}

#[test]
fn answers_for_the_dedup_window_alone_have_their_own_limit() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let kept = kept(settings);
    (0..20).for_each(|prompt| kept.keep(drawn(prompt), 1));
    (0..20).for_each(|prompt| kept.keep(greedy(prompt), 1));
    let left: Vec<_> = (0..20).filter(|prompt| kept.way(drawn(*prompt)).is_some()).collect();
    assert_eq!(left, [15, 16, 17, 18, 19]);
    assert_eq!(kept.num_found((0..20).map(greedy)), 20);
}

#[test]
fn an_answer_for_the_dedup_window_alone_outlives_its_own_repetition() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let kept = kept(settings);
    for time in 1..=7 {
        kept.keep(drawn(1), 1);
        assert_eq!(kept.way(drawn(1)), Some(Way::Dedup), "kept {time} times");
    }
}

#[test]
fn an_answer_that_is_computed_often_takes_one_place_of_the_dedup_window() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let kept = kept(settings);
    kept.keep(drawn(1), 1);
    (0..7).for_each(|_| kept.keep(drawn(2), 1));
    assert_eq!((kept.way(drawn(1)), kept.way(drawn(2))), (Some(Way::Dedup), Some(Way::Dedup)));
}

#[test]
fn an_answer_that_expired_does_not_take_along_the_one_that_came_after_it() {
    let settings = Settings { dedup: Dedup { max_entries: 5, ..dedup() }, ..Settings::default() };
    let mut kept = kept(settings);
    let now = kept.now;
    kept.now = now.checked_sub(SECOND * 2).expect("the machine runs for longer");
    kept.keep(drawn(1), 1);
    kept.now = now;
    (1..=5).for_each(|prompt| kept.keep(drawn(prompt), 1));
    assert_eq!(kept.num_found((1..=5).map(drawn)), 5);
}

#[test]
fn memory_comes_back_after_a_hundred_thousand_answers() {
    let kept = kept(Settings::default());
    for prompt in 0..100_000 {
        kept.keep(greedy(prompt), 2);
    }
    assert_eq!(kept.answers.counts().num_entries, 10_000);
    kept.answers.clear();
    let counts = kept.answers.counts();
    assert_eq!((counts.num_entries, counts.num_tokens, counts.num_bytes), (0, 0, 0));
}

#[test]
fn clearing_forgets_what_is_kept_and_what_was_begun_before() {
    let kept = kept(Settings::default());
    kept.keep(greedy(1), 5);
    let before = kept.answers.epoch();
    kept.answers.clear();
    assert_eq!(kept.way(greedy(1)), None);
    kept.keep_since(before, greedy(1), 5);
    assert_eq!(kept.way(greedy(1)), None);
    kept.keep(greedy(1), 5);
    assert_eq!(kept.way(greedy(1)), Some(Way::Dedup));
}

#[test]
fn the_answers_of_an_unloaded_model_vanish_and_no_others() {
    let kept = kept(Settings::default());
    let other = claim_of(model("b"), 1, SamplingParams::GREEDY);
    kept.keep(greedy(1), 5);
    kept.keep(other, 5);
    kept.answers.forget(model("a"));
    assert_eq!((kept.way(greedy(1)), kept.way(other)), (None, Some(Way::Dedup)));
    assert_eq!(kept.answers.counts().num_entries, 1);
}

#[test]
fn other_settings_keep_what_still_fits_them() {
    let kept = kept(Settings::default());
    (0..10).for_each(|prompt| kept.keep(greedy(prompt), 5));
    let prompt_cache = PromptCache { max_entries: 4, ..prompt_cache() };
    kept.answers.configure(Settings { prompt_cache, ..Settings::default() });
    assert_eq!(kept.num_found((0..10).map(greedy)), 4);
    assert_eq!(kept.answers.counts().num_entries, 4);
}

#[test]
fn lifetimes_are_asked_in_their_order_and_counted_where_they_are_on() {
    let kept = kept(Settings::default());
    for way in [Way::Coalesced, Way::Dedup, Way::PromptCache, Way::Computed] {
        kept.answers.count(way);
    }
    let counts = kept.answers.counts();
    assert_eq!(counts.coalescing, LayerCounts { hits: 1, misses: 3 });
    assert_eq!(counts.dedup, LayerCounts { hits: 1, misses: 2 });
    assert_eq!(counts.prompt_cache, LayerCounts { hits: 1, misses: 1 });
    assert_eq!(counts.num_shared(), 3);
    kept.answers.configure(Settings::OFF);
    kept.answers.count(Way::Computed);
    assert_eq!(kept.answers.counts().num_shared(), 3);
    assert_eq!(kept.answers.counts().prompt_cache.misses, 1);
}

#[test]
fn log_probabilities_count_among_the_bytes() {
    let num_bytes = |num_logprobs: Option<u8>| {
        let kept = kept(Settings::default());
        let log = log("first").with_logprobs(num_logprobs);
        let told: Vec<_> = num_logprobs.map(|_| odds(1)).into_iter().flatten().collect();
        (0..100).for_each(|token| log.append(token, "text", &told));
        log.close("", Ok(finished()));
        kept.answers.keep(&greedy(1), kept.answers.epoch(), Arc::new(log), kept.now);
        kept.answers.counts().num_bytes
    };
    assert_eq!(num_bytes(Some(1)) - num_bytes(None), 100 * 2 * 8, "eight bytes each");
}
