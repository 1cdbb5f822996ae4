use super::super::prefill::{Beside, Prefill};
use super::*;

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// Measurements of a device whose prompts cost `fixed` per step and `each` per token, in milliseconds.
fn taught(fixed: f64, each: f64) -> Prefill {
    let mut prefill = Prefill::new(512, 2.0);
    for tokens in [16, 64, 256, 512] {
        prefill.observe(tokens, ms(fixed + each * tokens as f64), Duration::ZERO);
    }
    prefill
}

/// Measurements of a device on which a chunk costs `floor`, or `each` per token if that is more, in milliseconds.
fn with_floor(floor: f64, each: f64) -> Prefill {
    let mut prefill = Prefill::new(512, 2.0);
    for tokens in [16, 40, 64, 100, 132, 160, 260, 512] {
        prefill.observe(tokens, ms(floor.max(each * tokens as f64)), Duration::ZERO);
    }
    prefill
}

fn beside(decoding: f64) -> Beside {
    Beside::Decoding(Some(ms(decoding)))
}

#[test]
fn a_prompt_alone_is_read_in_whole_chunks() {
    assert_eq!(taught(5.0, 0.1).budget(Beside::Nothing, 2_000), 512);
}

#[test]
fn several_prompts_are_read_in_the_smallest_chunks_that_are_nearly_as_fast_as_the_largest() {
    assert_eq!(
        taught(0.0, 0.1).budget(Beside::Prompts, 2_000),
        16,
        "without a fixed cost the smallest chunk is as fast as any"
    );
    let budget = taught(5.0, 0.1).budget(Beside::Prompts, 2_000);
    assert!((228..=256).contains(&budget), "228 in 27.8 ms, at nine tenths of 512 in 56.2 ms: {budget}");
    let budget = with_floor(88.0, 0.67).budget(Beside::Prompts, 2_000);
    assert!((118..=140).contains(&budget), "up to 131 tokens cost the same: {budget}");
    assert_eq!(Prefill::new(512, 2.0).budget(Beside::Prompts, 2_000), 512, "no measurement");
}

#[test]
fn beside_rows_that_decode_a_chunk_takes_no_longer_than_their_step() {
    let prefill = taught(0.0, 0.125);
    let is_near = |budget: usize, most: usize| assert!(budget <= most && budget * 9 >= most * 8, "{budget} of {most}");
    is_near(prefill.budget(beside(10.0), 2_000), 80);
    is_near(taught(4.0, 0.125).budget(beside(10.0), 2_000), 48);
    is_near(with_floor(46.7, 1.6).budget(beside(62.6), 2_000), 39);
}

#[test]
fn a_prompt_is_read_in_chunks_that_suit_the_streams_of_another_model() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 512, ..with_rows(1) });
    scheduler.add(seq(1), request(4_000, 1), start());
    // A token takes a tenth of a millisecond.
    for _ in 0..3 {
        let plan = plan(&mut scheduler);
        commit_after(&mut scheduler, &answer(&plan, 1), ms(0.1 * plan.num_tokens() as f64));
    }
    scheduler.set_streams_beside(Some(ms(10.0)));
    let beside = step(&mut scheduler).num_tokens();
    assert!((80..=100).contains(&beside), "{beside} tokens take as long as one step of the streams");
    scheduler.set_streams_beside(None);
    assert_eq!(step(&mut scheduler).num_tokens(), 512);
}

/// Small chunks were no measurement of larger ones, so each chunk was twice the previous one, up to 512 tokens in a step.
#[test]
fn no_chunk_beside_streams_of_another_model_takes_longer_than_the_step_target() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 512, ..with_rows(1) });
    scheduler.set_streams_beside(Some(ms(0.1)));
    scheduler.add(seq(1), request(2_000, 1), start());
    let mut num_read = 0;
    while num_read < 2_000 {
        let plan = plan(&mut scheduler);
        let took = ms(8.0 + plan.num_tokens() as f64);
        assert!(took <= Config::default().batch_limit.step_target, "{took:?} at {num_read}");
        num_read += plan.num_tokens();
        commit_after(&mut scheduler, &answer(&plan, 1), took);
    }
}

#[test]
fn if_no_chunk_is_short_enough_larger_chunks_delay_decoding_rows_less_often() {
    let budget = taught(80.0, 0.5).budget(beside(6.0), 2_000);
    assert!((112..=125).contains(&budget), "99 at half the speed of 512, and a tenth more time: {budget}");
    let budget = with_floor(88.0, 0.67).budget(beside(6.0), 2_000);
    assert!((118..=145).contains(&budget), "all chunks that cost as much as the smallest: {budget}");
}

#[test]
fn a_small_rest_is_added_to_a_chunk_if_another_step_would_take_longer() {
    let prefill = with_floor(88.0, 0.67);
    assert_eq!(prefill.budget(beside(6.0), 161), 161);
    assert!(prefill.budget(beside(6.0), 400) < 150, "400 tokens take several steps anyway");
    assert!(
        with_floor(46.7, 1.6).budget(beside(62.6), 50) < 40,
        "a chunk is short enough for decoding rows, so no rest is added"
    );
}

#[test]
fn larger_and_smaller_chunks_than_were_measured_are_tried() {
    let mut prefill = Prefill::new(512, 2.0);
    for _ in 0..40 {
        let tokens = prefill.budget(beside(6.0), 2_000);
        prefill.observe(tokens, ms(88f64.max(0.67 * tokens as f64)), Duration::ZERO);
    }
    let budget = prefill.budget(beside(6.0), 2_000);
    assert!((100..=150).contains(&budget), "starting from 64, it finds that 131 tokens cost the same: {budget}");
    let mut prefill = Prefill::new(512, 2.0);
    for _ in 0..40 {
        let tokens = prefill.budget(beside(10.0), 2_000);
        prefill.observe(tokens, ms(0.5 * tokens as f64), Duration::ZERO);
    }
    assert!((16..=20).contains(&prefill.budget(beside(10.0), 2_000)));
}

#[test]
fn before_any_measurement_a_chunk_beside_decoding_rows_is_small() {
    assert_eq!(Prefill::new(512, 2.0).budget(beside(10.0), 2_000), 64);
    assert_eq!(taught(0.0, 0.1).budget(Beside::Decoding(None), 2_000), 64);
}

#[test]
fn more_prompts_join_together_if_a_step_with_prompts_has_a_larger_fixed_cost() {
    assert_eq!(taught(0.0, 0.1).joining(16, 0.3, Some(ms(10.0))), 1);
    assert_eq!(taught(80.0, 0.1).joining(16, 0.3, Some(ms(20.0))), 6, "√(2 · 0.3 · 16 · 4) = 6.2");
    assert_eq!(taught(8_000.0, 0.1).joining(16, 0.3, Some(ms(20.0))), 8, "at most half of the rows");
    assert_eq!(Prefill::new(512, 2.0).joining(16, 0.3, Some(ms(20.0))), 1);
    assert_eq!(taught(80.0, 0.1).joining(1, 0.3, Some(ms(20.0))), 1, "a batch limit of 1 has one row");
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    scheduler.add(seq(1), request(16_000, 2), start());
    assert_eq!(lens(&plan(&mut scheduler)), [(1, 64)]);
    scheduler.add(seq(2), request(20, 2), start());
    let shared = plan(&mut scheduler);
    assert_eq!(lens(&shared), [(1, 44), (2, 20)]);
    assert!(shared.rows[1].sample, "the next step samples its first token");
}

#[test]
fn short_prompts_do_not_starve_a_long_one() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    scheduler.add(seq(0), request(1_000, 2), start());
    for id in 1..100 {
        scheduler.add(seq(id), request(60, 1), start());
        let plan = plan(&mut scheduler);
        if let Some(row) = plan.rows.iter().find(|row| row.sequence == seq(0)) {
            assert!(
                row.sample || 4 * row.len() >= plan.num_tokens(),
                "the oldest prompt gets at least a quarter: {:?}",
                lens(&plan)
            );
        }
        let output = answer(&plan, END);
        commit(&mut scheduler, &output);
        if output.tokens.iter().any(|&(id, _)| id == seq(0)) {
            return;
        }
    }
    panic!("the long prompt was never read");
}

#[test]
fn prompts_with_the_fewest_tokens_left_go_first() {
    let mut scheduler = Scheduler::new(Config { prefill_chunk: 64, ..with_rows(4) });
    [400, 30, 20, 90].into_iter().zip(1..).for_each(|(len, id)| scheduler.add(seq(id), request(len, 2), start()));
    assert_eq!(lens(&plan(&mut scheduler)), [(1, 16), (2, 28), (3, 20)], "the oldest prompt gets a quarter");
}
