//! What can be told from how long an answer takes: whether somebody who shares it has asked the same before, and nothing
//! about those who do not share. Both are measured in one run, since a probe that finds nothing may just be blunt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use mlx_serving::engine::{Config, Draft, Prompt};
use mlx_serving::executor::sim::Profile;
use mlx_serving::request::Sharing;
use mlx_serving::scheduler::plan::Overlap;

use super::support::{Caller, draft};

const NUM_TRIALS: u32 = 5_000;
/// Among them, trials that must find something.
const NUM_CONTROLS: u32 = 1_250;

/// A device that takes a little time for a prompt: the less it takes, the harder is the probe's task.
const DEVICE: Profile = Profile {
    name: "probed",
    decode: Duration::from_micros(50),
    staircase: &[(1, 1.0)],
    prefill_floor: Duration::from_micros(300),
    prefill_per_token: Duration::ZERO,
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

/// How well times tell one kind of trial from the other: the chance that one of the first is shorter than one of the
/// second. One half is guessing.
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
fn a_tenant_cannot_tell_from_times_what_another_one_has_asked_but_can_of_itself() {
    let caller = Caller::on(&Config::default(), DEVICE, Vec::new());
    let (mut own, mut others) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // In no order: where the two kinds take turns, whatever else happens every other time tells them apart.
    let order = RandomState::new();
    for trial in 0..NUM_TRIALS + NUM_CONTROLS {
        let was_asked = order.hash_one(trial).is_multiple_of(2);
        // Something new is computed for the victim just before, either way: the engine is as warm, the device as busy.
        caller.ask(of("victim", if was_asked { trial } else { trial + 2 * NUM_TRIALS }));
        let is_control = trial % (NUM_TRIALS / NUM_CONTROLS + 1) == 0;
        let (tenant, times) = if is_control { ("victim", &mut own) } else { ("attacker", &mut others) };
        times[usize::from(was_asked)].push(time(&caller, of(tenant, trial)));
    }
    let own = area_under_curve(&own[1], &own[0]);
    let others = area_under_curve(&others[1], &others[0]);
    assert!(own >= 0.95, "the probe is blunt: {own}");
    // Six standard deviations of so many trials.
    assert!((0.45..=0.55).contains(&others), "a tenant can tell what another one asked: {others}");
}
