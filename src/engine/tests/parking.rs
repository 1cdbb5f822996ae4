//! Parking of rows whose readers have no credit.

use crate::engine::command::Command;
use crate::engine::core::Next;
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, NUM_TOKENS, spec};

fn num_parks(harness: &Harness) -> u64 {
    harness.shared.stats.snapshot(&harness.shared.answers).parks
}

#[test]
fn a_row_is_parked_once_even_if_a_step_was_planned_ahead() {
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let mut harness = Harness::overlapping(overlap, 4);
        let reader = harness.stream(spec(6));
        while harness.turn() == Next::Turn {}
        assert_eq!(num_parks(&harness), 1, "{overlap:?}");
        assert!(harness.shared.readers.credit(reader, NUM_TOKENS), "it was behind");
        harness.core.take(Command::Unpark(reader));
        assert!(harness.answer(reader).end.is_some());
        assert_eq!(num_parks(&harness), 1, "{overlap:?}");
    }
}

/// Gives credit only when the row is parked, until the answer ends.
fn read_late(overlap: Overlap, window: usize) {
    let mut harness = Harness::overlapping(overlap, window);
    let reader = harness.stream(spec(6));
    let credit = window.div_ceil(2);
    for round in 1.. {
        while harness.turn() == Next::Turn {}
        if harness.received[&reader].end.is_some() {
            assert!(round > 1, "{overlap:?}, {window}: it was parked");
            return;
        }
        let num_consumed = (round - 1) * credit;
        assert_eq!(harness.received[&reader].tokens.len() - num_consumed, window, "{overlap:?}, {window}");
        assert_eq!(num_parks(&harness), round as u64, "{overlap:?}, {window}");
        assert!(harness.shared.readers.credit(reader, credit), "{overlap:?}, {window}: it was behind");
        harness.core.take(Command::Unpark(reader));
    }
}

/// Regression: a step that was planned ahead added a token beyond the window. The smallest window is 3: an idle device
/// gets two steps, and one token was read before.
#[test]
fn a_parked_row_stays_within_its_window_with_steps_planned_ahead() {
    for window in 3..=8 {
        for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
            read_late(overlap, window);
        }
    }
}
