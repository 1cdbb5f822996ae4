use super::*;

fn adaptive() -> Config {
    Config { window: WindowConfig::default(), ..with_rows(4) }
}

fn fixed(fast_path: bool) -> Config {
    let window = WindowConfig { fast_path, fixed: Duration::from_millis(2), adaptive: None };
    Config { window, ..with_rows(4) }
}

fn reasons(scheduler: &mut Scheduler) -> Vec<Reason> {
    scheduler.admissions().map(|record| record.reason).collect()
}

/// Runs steps of length `step` until the scheduler is idle. Returns the time at the end.
fn drain(scheduler: &mut Scheduler, mut now: Instant, step: Duration) -> Instant {
    loop {
        match decide_at(scheduler, now) {
            (Decision::Run, plan) => {
                now += step;
                commit_after(scheduler, &answer(&plan, END), step);
            }
            (Decision::WaitUntil(until), _) => now = until,
            (Decision::Idle, _) => return now,
        }
    }
}

#[test]
fn a_lone_request_on_an_idle_engine_runs_at_once_every_time() {
    let mut scheduler = Scheduler::new(adaptive());
    let mut now = start();
    for id in 0..50 {
        scheduler.add(seq(id), request(1, 2), now);
        assert_eq!(decide_at(&mut scheduler, now).0, Decision::Run, "request {id} armed a timer");
        let plan = StepOutput { step: id * 2, tokens: vec![(seq(id), END)], ..StepOutput::default() };
        commit(&mut scheduler, &plan);
        now = drain(&mut scheduler, now + STEP, STEP);
    }
    assert_eq!(reasons(&mut scheduler), [Reason::FastPath; 50]);
}

#[test]
fn a_fixed_window_holds_several_waiting_requests() {
    let mut scheduler = Scheduler::new(fixed(true));
    scheduler.add(seq(1), request(1, 2), start());
    scheduler.add(seq(2), request(1, 2), after(1));
    assert_eq!(
        decide_at(&mut scheduler, after(1)).0,
        Decision::WaitUntil(after(2)),
        "the window starts at the first arrival"
    );
    assert_eq!(ids(&plan_at(&mut scheduler, after(2))), [1, 2]);
    assert_eq!(reasons(&mut scheduler), [Reason::Window; 2]);
}

#[test]
fn without_the_fast_path_even_a_lone_request_waits_for_the_fixed_window() {
    let mut scheduler = Scheduler::new(fixed(false));
    scheduler.add(seq(1), request(1, 2), start());
    assert_eq!(decide_at(&mut scheduler, start()).0, Decision::WaitUntil(after(2)));
    assert_eq!(ids(&plan_at(&mut scheduler, after(2))), [1]);
}

#[test]
fn a_window_ends_when_the_batch_is_full_or_a_request_is_urgent() {
    let mut scheduler = Scheduler::new(fixed(false));
    (1..=4).for_each(|id| scheduler.add(seq(id), request(1, 2), start()));
    assert_eq!(ids(&plan(&mut scheduler)), [1, 2, 3, 4]);
    assert_eq!(reasons(&mut scheduler), [Reason::Full; 4]);
    let mut scheduler = Scheduler::new(fixed(false));
    scheduler.add(seq(1), Request { priority: Priority::Urgent, ..request(1, 2) }, start());
    assert_eq!(ids(&plan(&mut scheduler)), [1]);
    assert_eq!(reasons(&mut scheduler), [Reason::Urgent]);
}

#[test]
fn while_a_sequence_runs_requests_join_at_the_next_step_without_a_window() {
    let mut scheduler = Scheduler::new(fixed(false));
    scheduler.add(seq(1), request(1, 9), start());
    plan_at(&mut scheduler, after(2));
    scheduler.add(seq(2), request(1, 9), after(3));
    assert_eq!(ids(&plan_at(&mut scheduler, after(3))), [1, 2]);
    assert_eq!(reasons(&mut scheduler), [Reason::Window, Reason::Joined]);
}

/// Runs a burst of four requests, 0.1 ms apart, on a device whose steps take 50 ms. Returns the time at the end.
fn burst(scheduler: &mut Scheduler, first: u64, at: Instant) -> Instant {
    let arrival = |id: u64| at + Duration::from_micros(100) * u32::try_from(id - first).expect("few");
    scheduler.add(seq(first), request(1, 2), arrival(first));
    let (decision, plan) = decide_at(scheduler, at);
    (first + 1..first + 4).for_each(|id| scheduler.add(seq(id), request(1, 2), arrival(id)));
    if decision == Decision::Run {
        commit_after(scheduler, &answer(&plan, END), Duration::from_millis(50));
    }
    drain(scheduler, arrival(first + 3), Duration::from_millis(50))
}

#[test]
fn after_several_bursts_the_first_request_of_a_burst_waits_for_the_others() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..adaptive() });
    let mut now = start();
    for id in 0..20 {
        now = burst(&mut scheduler, id * 4, now + Duration::from_secs(1));
    }
    let reasons = reasons(&mut scheduler);
    assert_eq!(reasons[0], Reason::FastPath, "before any measurement");
    assert!(reasons[76..].iter().all(|&reason| reason == Reason::Full), "{:?}", &reasons[60..]);
}

#[test]
fn a_request_that_the_scheduler_sees_late_has_the_reason_fast_path() {
    let mut scheduler = Scheduler::new(adaptive());
    scheduler.add(seq(1), request(1, 1), start());
    plan_at(&mut scheduler, after(500));
    assert_eq!(reasons(&mut scheduler), [Reason::FastPath]);
}

#[test]
fn an_engine_that_is_seldom_idle_does_not_wait_for_expected_requests() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..adaptive() });
    let mut now = start();
    for id in 0..40 {
        // A burst takes at least 100 ms. So the engine is first idle for a tenth of the time, and later for most of it.
        let pause = Duration::from_millis(if id < 20 { 10 } else { 1_000 });
        now = burst(&mut scheduler, id * 4, now + pause);
    }
    let waited = |reasons: &[Reason]| reasons.iter().filter(|&&reason| reason == Reason::Full).count();
    let reasons = reasons(&mut scheduler);
    assert_eq!(waited(&reasons[40..80]), 0, "{:?}", &reasons[40..80]);
    assert_eq!(waited(&reasons[120..]), 40, "{:?}", &reasons[120..]);
}

#[test]
fn an_idle_engine_waits_for_accepted_requests_if_steps_are_long() {
    let mut scheduler = Scheduler::new(adaptive());
    scheduler.add(seq(0), request(1, 1), start());
    drain(&mut scheduler, start(), Duration::from_millis(50));
    scheduler.add(seq(1), request(1, 2), after(1_000));
    let decision = scheduler.next(after(1_000), 1, &mut Plan::default());
    assert_eq!(decision, Decision::WaitUntil(after(1_001)), "at most the medium window");
    scheduler.add(seq(2), request(1, 2), after(1_000));
    assert_eq!(ids(&plan_at(&mut scheduler, after(1_000))), [1, 2], "no other request was accepted");
}

#[test]
fn an_idle_engine_does_not_wait_if_steps_are_short() {
    let mut scheduler = Scheduler::new(adaptive());
    scheduler.add(seq(0), request(1, 1), start());
    drain(&mut scheduler, start(), Duration::from_micros(400));
    scheduler.add(seq(1), request(1, 2), after(1_000));
    assert_eq!(scheduler.next(after(1_000), 5, &mut Plan::default()), Decision::Run);
}

#[test]
fn only_requests_that_wait_at_an_idle_start_count_for_the_tier() {
    let mut scheduler = Scheduler::new(Config { window: WindowConfig::default(), ..with_rows(16) });
    let mut now = start();
    for id in 0..4 {
        scheduler.add(seq(id * 10), request(1, 2), now);
        let first = plan_at(&mut scheduler, now);
        assert_eq!(ids(&first), [id * 10]);
        (1..9).for_each(|other| scheduler.add(seq(id * 10 + other), request(1, 2), now + STEP));
        commit(&mut scheduler, &answer(&first, 1));
        now = drain(&mut scheduler, now + STEP, STEP) + Duration::from_secs(1);
    }
    assert_eq!(
        (scheduler.counters().tier_samples, scheduler.window.tier()),
        (4, Tier::Low),
        "the eight requests that joined do not count"
    );
}

#[test]
fn the_tier_follows_the_queue_depth_with_hysteresis() {
    let mut window = super::super::window::Window::new(WindowConfig::default());
    let mut tiers = |depths: &[usize]| {
        for &depth in depths {
            window.sample_depth(depth);
        }
        (window.tier(), window.length())
    };
    assert_eq!(tiers(&[]), (Tier::Medium, Duration::from_millis(1)));
    assert_eq!(tiers(&[1, 1]).0, Tier::Medium, "two samples are not enough");
    assert_eq!(tiers(&[1]), (Tier::Low, Duration::from_micros(750)));
    assert_eq!(tiers(&[20, 20]).0, Tier::Low);
    assert_eq!(tiers(&[20]), (Tier::High, Duration::from_millis(2)));
    assert_eq!(tiers(&[6, 20, 6, 20, 6, 20]).0, Tier::High);
    assert_eq!(window.num_switches, 2);
}

#[test]
fn a_load_between_two_tiers_seldom_switches_the_tier() {
    let mut window = super::super::window::Window::new(WindowConfig::default());
    (0..1_000usize).for_each(|i| window.sample_depth([1, 4, 7, 2, 9, 5, 1, 6][i * 7 % 8]));
    assert!(window.num_switches <= 50, "{} of {}", window.num_switches, window.num_samples);
}
