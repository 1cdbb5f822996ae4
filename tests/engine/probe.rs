//! The time of an answer reveals whether another request with the same salt was sent before, and nothing about requests
//! with another salt. One run measures both, because a prober that finds nothing may be too insensitive.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use mlx_serving::engine::{Config, Draft, Prompt};
use mlx_serving::executor::sim::{Attention, Profile};
use mlx_serving::request::Sharing;
use mlx_serving::scheduler::plan::Overlap;

use super::support::{Caller, draft};

const NUM_TRIALS: u32 = 5_000;
/// The number of these trials with the victim's salt, which must succeed.
const NUM_CONTROLS: u32 = 1_250;

/// A device that takes little time for a prompt. Less time makes the prober's task harder.
const DEVICE: Profile = Profile {
    name: "probed",
    decode: Duration::from_micros(50),
    staircase: &[(1, 1.0)],
    prefill_floor: Duration::from_micros(300),
    prefill_per_token: Duration::ZERO,
    attention: Attention::FREE,
    command_buffers: &[],
    context_length: 256,
    kv_bytes_per_position: 0,
    weight_bytes: 0,
    overlap: Overlap::None,
};

fn of(tenant: &str, secret: u32) -> Draft {
    let prompt = Prompt::Tokens([1 + secret % 200, 1 + secret / 200].into());
    let cache_salt = Some(tenant.into());
    Draft { prompt, cache_salt, sharing: Sharing::Auto, ..draft("", 1) }
}

fn time(caller: &Caller, draft: Draft) -> Duration {
    caller.ask(draft).end.expect("ended").expect("well").timings.total
}

/// How well times separate two kinds of trials: the probability that a time of the first kind is shorter than a time of
/// the second. One half is guessing.
fn area_under_curve(asked: &[Duration], not_asked: &[Duration]) -> f64 {
    let shorter = |one: &Duration| {
        let wins = not_asked.iter().map(|other| match one.cmp(other) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        });
        wins.sum::<f64>()
    };
    asked.iter().map(shorter).sum::<f64>() / (asked.len() * not_asked.len()) as f64
}

#[test]
fn times_reveal_requests_of_the_same_tenant_and_not_of_another_one() {
    let caller = Caller::on(&Config::default(), DEVICE, Vec::new());
    let (mut own, mut others) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // In random order: with strict turns, any effect of period two would separate the kinds.
    let order = RandomState::new();
    for trial in 0..NUM_TRIALS + NUM_CONTROLS {
        let was_asked = order.hash_one(trial).is_multiple_of(2);
        // In both kinds of trials the victim's request is computed just before, so the engine and the device are in the
        // same state.
        caller.ask(of("victim", if was_asked { trial } else { trial + 2 * NUM_TRIALS }));
        let is_control = trial % (NUM_TRIALS / NUM_CONTROLS + 1) == 0;
        let (tenant, times) = if is_control { ("victim", &mut own) } else { ("attacker", &mut others) };
        times[usize::from(was_asked)].push(time(&caller, of(tenant, trial)));
    }
    let own = area_under_curve(&own[1], &own[0]);
    let others = area_under_curve(&others[1], &others[0]);
    // On a busy machine, threads are delayed for longer than the device takes for a prompt. At this bound a leak to
    // another tenant would still be five times as large as the next bound allows.
    assert!(own >= 0.75, "the prober is too insensitive: {own}");
    // Six standard deviations for this number of trials.
    assert!((0.45..=0.55).contains(&others), "times reveal requests of another tenant: {others}");
}
