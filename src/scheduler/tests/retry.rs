//! What happens to the sequences of a failed step.

use super::*;

fn retrying(max_attempts: usize) -> Config {
    let retry = RetryConfig { max_attempts, ..Config::default().retry };
    Config { retry, ..with_rows(8) }
}

/// The wait of a sequence after a failed step, in milliseconds. The step is in flight.
fn fail(scheduler: &mut Scheduler, now: Instant) -> f64 {
    assert_eq!(scheduler.recover(now), [], "it runs again");
    let (Decision::WaitUntil(at), _) = decide_at(scheduler, now) else { panic!("nothing else runs") };
    at.saturating_duration_since(now).as_secs_f64() * 1e3
}

#[test]
fn a_sequence_without_a_token_runs_again_after_a_wait_that_doubles_and_is_lost_with_its_third_attempt() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(3, 2), start());
    plan(&mut scheduler);
    let first = fail(&mut scheduler, start());
    assert!((75.0..=125.0).contains(&first), "{first} ms");
    let later = after(125);
    assert_eq!(ids(&plan_at(&mut scheduler, later)), [1]);
    let second = fail(&mut scheduler, later);
    assert!((150.0..=250.0).contains(&second), "{second} ms");
    assert_eq!(ids(&plan_at(&mut scheduler, after(375))), [1]);
    assert_eq!(scheduler.recover(after(375)), [seq(1)]);
    assert!(scheduler.is_empty());
    assert_eq!(scheduler.counters().retries, 2);
}

#[test]
fn the_answer_of_a_later_attempt_is_complete() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(3, 2), start());
    plan(&mut scheduler);
    fail(&mut scheduler, start());
    let again = plan_at(&mut scheduler, after(125));
    assert_eq!(&*again.admit[0].prompt, [1, 1, 1]);
    assert_eq!(commit(&mut scheduler, &answer(&again, 7))[0].finish, None);
    let last = plan_at(&mut scheduler, after(130));
    assert_eq!(commit(&mut scheduler, &answer(&last, 7))[0].finish, Some(FinishReason::Length));
    assert!(scheduler.is_empty());
}

#[test]
fn a_sequence_with_a_token_is_lost_at_once() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(2, 5), start());
    step(&mut scheduler);
    scheduler.add(seq(2), request(2, 5), start());
    assert_eq!(ids(&plan(&mut scheduler)), [1, 2]);
    assert_eq!(scheduler.recover(start()), [seq(1)], "the other one has no token yet");
    assert_eq!(ids(&plan_at(&mut scheduler, after(125))), [2]);
}

#[test]
fn a_half_read_prompt_is_read_again_from_its_beginning() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(10, 2), start());
    let first = plan(&mut scheduler);
    commit(&mut scheduler, &answer(&first, 1));
    assert_eq!(plan(&mut scheduler).rows[0].start, 4);
    fail(&mut scheduler, start());
    let again = plan_at(&mut scheduler, after(125));
    assert_eq!((again.rows[0].start, again.admit.len()), (0, 1));
}

#[test]
fn while_one_waits_others_run() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(2, 5), start());
    plan(&mut scheduler);
    fail(&mut scheduler, start());
    scheduler.add(seq(2), request(2, 50), after(10));
    assert_eq!(ids(&plan_at(&mut scheduler, after(10))), [2]);
    assert_eq!((scheduler.load().num_queued, scheduler.load().num_running), (1, 1));
}

#[test]
fn waits_are_spread() {
    let mut scheduler = Scheduler::new(retrying(3));
    (1..=4).for_each(|id| scheduler.add(seq(id), request(1, 2), start()));
    assert_eq!(ids(&plan(&mut scheduler)).len(), 4);
    assert_eq!(scheduler.recover(start()), []);
    let (mut now, mut times) = (start(), Vec::new());
    loop {
        match decide_at(&mut scheduler, now) {
            (Decision::WaitUntil(at), _) => {
                now = at;
                times.push(at);
            }
            (Decision::Run, plan) => drop(commit(&mut scheduler, &answer(&plan, END))),
            (Decision::Idle, _) => break,
        }
    }
    assert_eq!(times.len(), 4, "each at its own time");
    assert!(times[3] - times[0] > Duration::from_millis(5), "{times:?}");
}

#[test]
fn a_sequence_that_waits_expires_at_its_deadline() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), Request { deadline: Some(after(20)), ..request(2, 5) }, start());
    plan(&mut scheduler);
    assert_eq!(scheduler.recover(start()), []);
    assert_eq!(decide(&mut scheduler), Decision::WaitUntil(after(20)));
    assert_eq!(expire(&mut scheduler, after(20)), [(seq(1), Expiry::Deadline)]);
    assert!(scheduler.is_empty());
}

#[test]
fn a_sequence_that_waits_can_be_removed_and_gets_a_new_deadline() {
    let mut scheduler = Scheduler::new(retrying(3));
    scheduler.add(seq(1), request(2, 5), start());
    plan(&mut scheduler);
    fail(&mut scheduler, start());
    let urgency = Urgency { deadline: Some(after(5)), ..Urgency::default() };
    scheduler.revise(seq(1), urgency, start());
    assert_eq!(decide(&mut scheduler), Decision::WaitUntil(after(5)));
    assert!(scheduler.remove(seq(1)) && scheduler.is_empty());
    assert_eq!(decide(&mut scheduler), Decision::Idle);
}

#[test]
fn without_retry_the_first_failure_is_the_end() {
    let mut scheduler = Scheduler::new(retrying(1));
    scheduler.add(seq(1), request(2, 5), start());
    plan(&mut scheduler);
    assert_eq!(scheduler.recover(start()), [seq(1)]);
    assert_eq!(scheduler.counters().retries, 0);
}
