//! A panic of the engine itself, wherever it looks at the clock: between the device and the account nobody can say what of a
//! step was told.

use crate::answers::Settings;
use crate::error::Code;
use crate::request::TokenId;
use crate::scheduler::plan::Overlap;

use super::stage::{Stage, ask};

/// Answers of several lengths.
const PROMPTS: [TokenId; 6] = [1, 2, 3, 4, 5, 6];

fn alone(prompt: TokenId) -> Vec<TokenId> {
    let mut stage = Stage::new(Settings::OFF);
    let reader = stage.submit(ask(prompt));
    stage.answer(reader).whole.1
}

/// Rows that had ended by the scheduler stayed with the runner for ever, others lacked a token.
#[test]
fn wherever_the_engine_panics_everybody_is_told_an_end_and_the_model_is_as_before() {
    let truth = PROMPTS.map(alone);
    for overlap in [Overlap::None, Overlap::Bounded, Overlap::Whole] {
        let has_panicked = (0..).map(|moment| {
            let mut stage = Stage::overlapping(overlap, 256);
            let readers = PROMPTS.map(|prompt| (stage.stream(ask(prompt)), stage.submit(ask(prompt))));
            stage.alarm.set(moment);
            stage.play();
            let has_panicked = stage.alarm.take();
            for ((streams, awaits), truth) in readers.into_iter().zip(&truth) {
                for reader in [streams, awaits] {
                    let given = &stage.given[&reader];
                    match given.end.as_ref().expect("it ended") {
                        Ok(_) => assert_eq!(&given.whole.1, truth, "at {moment}, {overlap:?}"),
                        Err(code) => assert!(has_panicked && *code == Code::BackendError, "at {moment}, {overlap:?}"),
                    }
                }
            }
            let again = PROMPTS.map(|prompt| stage.submit(ask(prompt)));
            stage.play();
            assert_eq!(again.map(|reader| stage.given[&reader].whole.1.clone()), truth, "at {moment}, {overlap:?}");
            assert_eq!((stage.num_pending(), stage.shared.readers.len()), (0, 0), "at {moment}, {overlap:?}");
            let stats = stage.shared.stats.snapshot(&stage.shared.answers);
            assert_eq!(
                stats.completed + stats.failed,
                stats.requests,
                "at {moment}, {overlap:?}: each is counted once"
            );
            assert_eq!(
                stats.recoveries,
                u64::from(has_panicked),
                "at {moment}, {overlap:?}: the device begins anew once"
            );
            let unloaded = stage.unload();
            stage.turn();
            unloaded.try_recv().expect("nothing runs").expect("unloaded");
            has_panicked
        });
        let num_panics = has_panicked.take_while(|&has_panicked| has_panicked).count();
        assert!(num_panics > 50, "{num_panics} moments, {overlap:?}");
    }
}
