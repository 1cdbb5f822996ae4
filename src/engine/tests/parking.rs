//! Rows whose readers are behind.

use crate::engine::command::Command;
use crate::engine::core::Next;
use crate::scheduler::plan::Overlap;

use super::stage::{NUM_TOKENS, Stage, ask};

fn num_parks(stage: &Stage) -> u64 {
    stage.shared.stats.snapshot(&stage.shared.answers).parks
}

#[test]
fn a_row_is_parked_once_though_a_step_was_planned_ahead() {
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let mut stage = Stage::overlapping(overlap, 4);
        let reader = stage.stream(ask(6));
        while stage.turn() == Next::Turn {}
        assert_eq!(num_parks(&stage), 1, "{overlap:?}");
        assert!(stage.shared.readers.credit(reader, NUM_TOKENS), "it was behind");
        stage.core.take(Command::Unpark(reader));
        assert!(stage.answer(reader).end.is_some());
        assert_eq!(num_parks(&stage), 1, "{overlap:?}");
    }
}

/// Reads an answer as late as it may be; the row is parked again and again.
fn read_late(overlap: Overlap, window: usize) {
    let mut stage = Stage::overlapping(overlap, window);
    let reader = stage.stream(ask(6));
    let credit = window.div_ceil(2);
    for round in 1.. {
        while stage.turn() == Next::Turn {}
        if stage.given[&reader].end.is_some() {
            assert!(round > 1, "{overlap:?}, {window}: it was parked");
            return;
        }
        let num_consumed = (round - 1) * credit;
        assert_eq!(stage.given[&reader].tokens.len() - num_consumed, window, "{overlap:?}, {window}");
        assert_eq!(num_parks(&stage), round as u64, "{overlap:?}, {window}");
        assert!(stage.shared.readers.credit(reader, credit), "{overlap:?}, {window}: it was behind");
        stage.core.take(Command::Unpark(reader));
    }
}

/// A step that was planned ahead brought a token beyond the window. A window of two has no room for the two steps that an
/// idle device is given beside a token that was read.
#[test]
fn a_parked_row_stays_within_its_window_however_far_ahead_steps_are_planned() {
    for window in 3..=8 {
        for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
            read_late(overlap, window);
        }
    }
}
