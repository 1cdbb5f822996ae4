use std::time::Duration;

use mlx_serving::executor::sim::Profile;
use mlx_serving::scheduler::plan::Overlap;

use crate::bench::policy::Policy;
use crate::bench::simulation::{Host, Report, Setup, simulate};
use crate::bench::traffic::{Arrivals, Lengths};

fn setup() -> Setup {
    Setup {
        profile: Profile::named("m3-max/llama-3.2-3b-4bit").expect("it is listed"),
        policy: Policy::Default,
        arrivals: Arrivals::Poisson(1.0),
        lengths: Lengths::Chat,
        span: Duration::from_mins(1),
        host: Host::ENGINE,
        kv_bytes: None,
    }
}

#[expect(clippy::large_types_passed_by_value, reason = "each test makes its own setup")]
fn run(setup: Setup) -> Report {
    simulate(&setup, 1).expect("a simulated device does not fail")
}

#[test]
fn every_policy_serves_the_same_requests_to_their_end() {
    let reports = Policy::COMPARED.map(|policy| run(Setup { policy, ..setup() }).served);
    assert!(reports[0].requests > 30 && reports[0].tokens > 5_000);
    for served in &reports {
        assert_eq!((served.requests, served.tokens), (reports[0].requests, reports[0].tokens));
    }
}

#[test]
fn without_batches_no_two_requests_share_a_step() {
    for policy in [Policy::OneAtATime, Policy::Original] {
        assert!((run(Setup { policy, ..setup() }).mean_rows - 1.0).abs() < 1e-9);
    }
    assert!(run(setup()).mean_rows > 1.5);
}

#[test]
fn the_engines_time_after_a_step_is_hidden_by_submitting_ahead() {
    let seconds = |overlap, host_ms| {
        let profile = Profile { overlap, ..setup().profile };
        let host = Host { fixed: Duration::from_millis(host_ms), per_row: Duration::ZERO };
        let lengths = Lengths::Fixed { prompt: 32, answer: 500 };
        run(Setup { profile, host, lengths, arrivals: Arrivals::Users(1), span: Duration::from_secs(1), ..setup() })
            .served
            .seconds
    };
    let bare = seconds(Overlap::None, 0);
    assert!(
        (seconds(Overlap::None, 4) - bare - 500.0 * 0.004).abs() < 0.01,
        "without it, every step is followed by 4 ms"
    );
    assert!(seconds(Overlap::Bounded, 4) - bare < 0.01, "with it, only the last");
}

#[test]
fn with_little_memory_requests_are_recomputed_and_none_is_lost() {
    let arrivals = Arrivals::Users(16);
    let report = run(Setup { kv_bytes: Some(400 << 20), arrivals, ..setup() });
    assert!(report.preemptions > 0);
    assert!(report.served.ttft_ms.is_some_and(|ttft| ttft.p99 > 0.0));
}
