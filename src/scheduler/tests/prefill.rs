use super::super::prefill::{Beside, Prefill};
use super::*;

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// Knows a device whose prompts cost `fixed` a step and `each` a token, in milliseconds.
fn taught(fixed: f64, each: f64) -> Prefill {
    let mut prefill = Prefill::new(512, 2.0);
    for tokens in [16, 64, 256, 512] {
        prefill.observe(tokens, ms(fixed + each * tokens as f64), Duration::ZERO);
    }
    prefill
}

#[test]
fn while_nobody_decodes_a_step_takes_a_whole_chunk() {
    assert_eq!(taught(5.0, 0.1).budget(Beside::Nobody), 512);
}

#[test]
fn beside_rows_that_decode_a_chunk_takes_no_longer_than_their_step() {
    let prefill = taught(0.0, 0.125);
    assert_eq!(prefill.budget(Beside::Decoding(Some(ms(10.01)))), 80);
    assert_eq!(taught(4.0, 0.125).budget(Beside::Decoding(Some(ms(10.01)))), 48, "its fixed part counts");
    assert_eq!(prefill.budget(Beside::Decoding(Some(ms(0.1)))), 16, "there is always some");
}

#[test]
fn where_no_chunk_is_short_enough_they_are_disturbed_rarely_instead() {
    assert_eq!(
        taught(80.01, 0.5).budget(Beside::Decoding(Some(ms(6.0)))),
        160,
        "as much for tokens as for the step itself"
    );
}

#[test]
fn before_anything_is_known_a_chunk_is_small() {
    assert_eq!(Prefill::new(512, 2.0).budget(Beside::Decoding(Some(ms(10.0)))), 64);
    assert_eq!(taught(0.0, 0.1).budget(Beside::Decoding(None)), 64);
}

#[test]
fn joining_together_pays_where_a_step_with_prompts_has_a_large_fixed_part() {
    assert_eq!(taught(0.0, 0.1).joining(16, 0.3, Some(ms(10.0))), 1);
    assert_eq!(taught(80.0, 0.1).joining(16, 0.3, Some(ms(20.0))), 6, "√(2 · 0.3 · 16 · 4) = 6.2");
    assert_eq!(taught(8_000.0, 0.1).joining(16, 0.3, Some(ms(20.0))), 8, "at most half the places");
    assert_eq!(Prefill::new(512, 2.0).joining(16, 0.3, Some(ms(20.0))), 1);
    assert_eq!(taught(80.0, 0.1).joining(1, 0.3, Some(ms(20.0))), 1, "a batch of one has one place");
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    scheduler.add(seq(1), request(16_000, 2), start());
    assert_eq!(lens(&plan(&mut scheduler)), [(1, 64)]);
    scheduler.add(seq(2), request(20, 2), start());
    let shared = plan(&mut scheduler);
    assert_eq!(lens(&shared), [(1, 44), (2, 20)]);
    assert!(shared.rows[1].sample, "its first token comes with the very next step");
}

#[test]
fn short_prompts_do_not_starve_a_long_one() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    scheduler.add(seq(0), request(1_000, 2), start());
    for id in 1..100 {
        scheduler.add(seq(id), request(60, 1), start());
        let plan = plan(&mut scheduler);
        if let Some(row) = plan.rows.iter().find(|row| row.sequence == seq(0)) {
            assert!(row.sample || row.len() >= 32, "it is sure of half: {:?}", lens(&plan));
        }
        let output = answer(&plan, END);
        commit(&mut scheduler, &output);
        if output.tokens.iter().any(|&(id, _)| id == seq(0)) {
            return;
        }
    }
    panic!("the long prompt was never read");
}
