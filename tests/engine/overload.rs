//! What was accepted is kept, however little may wait.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mlx_serving::engine::{Config, Reply};
use mlx_serving::error::Result;

use super::support::{Caller, SLOW, draft, wait};

fn with_queue(max_pending: usize) -> Config {
    Config { max_pending, ..Config::default() }
}

/// Keeps the text thread busy until the gate is dropped; `reply` is told what became of it.
fn hold(caller: &Caller, reply: impl FnOnce(Result<()>) + Send + 'static) -> Sender<()> {
    let (gate, closed) = channel::<()>();
    let (signal, begun) = channel();
    let job = move |_: &_| {
        signal.send(()).expect("somebody waits for it");
        closed.recv().ok();
        Ok(())
    };
    caller.engine.with_text(caller.model, job, Reply::new(reply));
    begun.recv().expect("it begins");
    gate
}

/// Shutdown went first where there was no room behind them.
#[test]
fn shutdown_waits_for_accepted_requests_however_few_texts_may_wait() {
    for max_pending in 1..=4 {
        let caller = Caller::with(&with_queue(max_pending), SLOW, Vec::new());
        let gate = hold(&caller, drop);
        let readers: Vec<_> = (0..max_pending).map(|id| caller.submit(draft(&format!("question {id}"), 5))).collect();
        wait(|reply| {
            caller.engine.shutdown(Duration::from_mins(1), reply);
            drop(gate);
        })
        .expect("shuts down");
        for reader in readers {
            caller.answer(reader).end.expect("ended").expect("well");
        }
    }
}
