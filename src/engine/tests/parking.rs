//! Rows whose readers are behind.

use crate::engine::command::Command;
use crate::engine::core::Next;
use crate::scheduler::plan::Overlap;

use super::stage::{NUM_TOKENS, Stage, ask};

#[test]
fn a_row_is_parked_once_though_a_step_was_planned_ahead() {
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let mut stage = Stage::overlapping(overlap, 4);
        let reader = stage.stream(ask(6));
        let num_parks = |stage: &Stage| stage.around.stats.snapshot(&stage.around.answers).parks;
        while stage.turn() == Next::Turn {}
        assert_eq!(num_parks(&stage), 1, "{overlap:?}");
        assert!(stage.around.readers.credit(reader, NUM_TOKENS), "it was behind");
        stage.core.take(Command::Unpark(reader));
        assert!(stage.answer(reader).end.is_some());
        assert_eq!(num_parks(&stage), 1, "{overlap:?}");
    }
}
