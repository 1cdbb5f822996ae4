//! A panic of the engine itself, at every place where it reads the clock. Parts of a step may be accounted already, so every
//! row of the model must end.

use crate::answers::Settings;
use crate::error::Code;
use crate::request::TokenId;
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, spec};

/// Prompts whose answers have several lengths.
const PROMPTS: [TokenId; 6] = [1, 2, 3, 4, 5, 6];

fn alone(prompt: TokenId) -> Vec<TokenId> {
    let mut harness = Harness::new(Settings::OFF);
    let reader = harness.submit(spec(prompt));
    harness.answer(reader).whole.1
}

/// Regression: rows that the scheduler had ended stayed with the runner for ever, and other rows lost a token.
#[test]
fn every_reader_gets_an_end_and_the_model_continues_wherever_the_engine_panics() {
    let truth = PROMPTS.map(alone);
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let has_panicked = (0..).map(|moment| {
            let mut harness = Harness::overlapping(overlap, 256);
            let readers = PROMPTS.map(|prompt| (harness.stream(spec(prompt)), harness.submit(spec(prompt))));
            harness.panics.panic_after(moment);
            harness.run();
            let has_panicked = harness.panics.disarm();
            for ((streams, awaits), truth) in readers.into_iter().zip(&truth) {
                for reader in [streams, awaits] {
                    let received = &harness.received[&reader];
                    match received.end.as_ref().expect("the answer ended") {
                        Ok(_) => assert_eq!(&received.whole.1, truth, "at {moment}, {overlap:?}"),
                        Err(code) => assert!(has_panicked && *code == Code::BackendError, "at {moment}, {overlap:?}"),
                    }
                }
            }
            let again = PROMPTS.map(|prompt| harness.submit(spec(prompt)));
            harness.run();
            assert_eq!(
                again.map(|reader| harness.received[&reader].whole.1.clone()),
                truth,
                "at {moment}, {overlap:?}"
            );
            assert_eq!((harness.num_pending(), harness.shared.readers.len()), (0, 0), "at {moment}, {overlap:?}");
            let stats = harness.shared.stats.snapshot(&harness.shared.answers);
            assert_eq!(
                stats.completed + stats.failed,
                stats.requests,
                "at {moment}, {overlap:?}: each request is counted once"
            );
            assert_eq!(stats.recoveries, u64::from(has_panicked), "at {moment}, {overlap:?}: the device is reset once");
            let unloaded = harness.unload();
            harness.turn();
            unloaded.try_recv().expect("nothing runs").expect("unloaded");
            has_panicked
        });
        let num_panics = has_panicked.take_while(|&has_panicked| has_panicked).count();
        assert!(num_panics > 50, "{num_panics} panics, {overlap:?}");
    }
}
