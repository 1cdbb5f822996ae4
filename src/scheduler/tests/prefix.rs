use super::plan::Prefix;
use super::*;

/// Adds choices 1 to `num` of one request with a prompt of nine tokens.
fn add_choices(scheduler: &mut Scheduler, num: u64) {
    let request = request(9, 20);
    (1..=num).for_each(|id| scheduler.add(seq(id), request.clone(), start()));
}

/// The copied prefixes of a plan, as (new sequence, source, number of positions).
fn copies(plan: &Plan) -> Vec<(u64, u64, usize)> {
    let of = |prefix: Prefix| (prefix.of.0, prefix.num_positions);
    let copied = |admission: &plan::Admission| {
        admission.prefix.map(of).map(|(of, positions)| (admission.sequence.0, of, positions))
    };
    plan.admit.iter().filter_map(copied).collect()
}

#[test]
fn choices_of_a_request_read_its_prompt_once() {
    let mut scheduler = Scheduler::new(with_rows(4));
    add_choices(&mut scheduler, 3);
    assert_eq!(lens(&step(&mut scheduler)), [(1, 4)], "the other choices wait for the one that reads");
    assert_eq!(lens(&step(&mut scheduler)), [(1, 4)]);
    let third = step(&mut scheduler);
    assert_eq!(lens(&third), [(1, 1), (2, 1), (3, 1)], "all positions but the last one are copied");
    assert_eq!(copies(&third), [(2, 1, 8), (3, 1, 8)]);
    assert!(third.rows.iter().all(|row| row.start == 8 && row.sample && row.feed == Feed::Prompt { len: 1 }));
    assert_eq!(lens(&step(&mut scheduler)), [(1, 1), (2, 1), (3, 1)], "then each choice decodes alone");
}

#[test]
fn every_choice_reads_a_prompt_of_one_token() {
    let mut scheduler = Scheduler::new(with_rows(4));
    let request = request(1, 20);
    (1..=2).for_each(|id| scheduler.add(seq(id), request.clone(), start()));
    let first = step(&mut scheduler);
    assert_eq!((lens(&first), copies(&first)), (vec![(1, 1), (2, 1)], vec![]));
}

#[test]
fn an_equal_prompt_of_another_request_is_not_copied() {
    let mut scheduler = Scheduler::new(with_rows(4));
    (1..=2).for_each(|id| scheduler.add(seq(id), request(4, 20), start()));
    let mut plans = (0..4).map(|_| step(&mut scheduler));
    assert!(plans.all(|plan| copies(&plan).is_empty()));
}

#[test]
fn another_choice_reads_the_prompt_if_the_one_that_read_is_removed() {
    let mut scheduler = Scheduler::new(with_rows(4));
    add_choices(&mut scheduler, 3);
    step(&mut scheduler);
    scheduler.remove(seq(1));
    let second = step(&mut scheduler);
    assert_eq!((lens(&second), second.rows[0].start), (vec![(2, 4)], 0));
    step(&mut scheduler);
    assert_eq!(copies(&step(&mut scheduler)), [(3, 2, 8)]);
}

#[test]
fn a_choice_that_starts_after_the_others_have_ended_reads_the_prompt_itself() {
    let mut scheduler = Scheduler::new(with_rows(1));
    add_choices(&mut scheduler, 2);
    (0..2).for_each(|_| drop(step(&mut scheduler)));
    let last = plan(&mut scheduler);
    commit(&mut scheduler, &answer(&last, END));
    let next = step(&mut scheduler);
    assert_eq!((lens(&next), copies(&next)), (vec![(2, 4)], vec![]));
}

#[test]
fn a_choice_that_lost_its_kv_copies_the_prompt_and_recomputes_only_its_answer() {
    let kv = KvLimit { bytes: 4 * 16, bytes_per_position: 1, block: 16, growth: KvGrowth::default() };
    let mut scheduler = Scheduler::new(Config { kv: Some(kv), ..with_rows(4) });
    add_choices(&mut scheduler, 2);
    (0..4).for_each(|_| drop(step(&mut scheduler)));
    scheduler.park(seq(2), start());
    scheduler.add(seq(3), request(9, 20), start());
    while step(&mut scheduler).release != [seq(2)] {}
    scheduler.remove(seq(3));
    scheduler.unpark(seq(2), start());
    let again = plan(&mut scheduler).admit.remove(0);
    assert_eq!((again.prefix, again.num_prompt), (Some(Prefix { of: seq(1), num_positions: 9, takes_over: false }), 9));
    assert!(again.prompt.len() > 9, "the generated tokens are part of it");
}

/// A model with layers whose window has this many positions.
fn with_window(positions: usize) -> Config {
    let window = Some(KvWindow { positions, least: positions, bytes_per_position: 1 });
    let kv = KvLimit {
        bytes: 1 << 20,
        bytes_per_position: 2,
        block: 16,
        growth: KvGrowth { doubles: true, window, spare_share: None },
    };
    Config { kv: Some(kv), ..with_rows(4) }
}

#[test]
fn choices_copy_a_prompt_that_fits_into_the_window() {
    let mut scheduler = Scheduler::new(with_window(20));
    add_choices(&mut scheduler, 2);
    let plans = [(); 3].map(|()| copies(&step(&mut scheduler)));
    assert_eq!(plans, [vec![], vec![], vec![(2, 1, 8)]]);
}

#[test]
fn choices_copy_a_prompt_that_fills_the_window_before_it_moves() {
    let mut scheduler = Scheduler::new(with_window(8));
    add_choices(&mut scheduler, 2);
    let plans = [(); 6].map(|()| step(&mut scheduler));
    assert_eq!(plans.iter().flat_map(copies).collect::<Vec<_>>(), [(2, 1, 8)]);
}

#[test]
fn a_choice_reads_a_prompt_whose_positions_have_left_the_window_of_the_others() {
    let mut scheduler = Scheduler::new(Config { kv: with_window(8).kv, ..with_rows(2) });
    add_choices(&mut scheduler, 3);
    let mut plans = Vec::new();
    while !scheduler.is_empty() {
        plans.push(step(&mut scheduler));
    }
    let begun: Vec<_> = plans.iter().flat_map(|plan| &plan.admit).map(|admission| admission.sequence).collect();
    assert_eq!(begun, [seq(1), seq(2), seq(3)]);
    assert_eq!(plans.iter().flat_map(copies).collect::<Vec<_>>(), [(2, 1, 8)], "the third one reads it itself");
}
