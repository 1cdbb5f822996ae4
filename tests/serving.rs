//! What the serving bench computes, and what its simulation shows of the engine. The bench is a program without a test
//! harness; its rooms are tested here.

#[path = "../bench/serving/main.rs"]
#[expect(dead_code, reason = "a program: its entry and its list of cells are not run here")]
mod bench;

mod serving {
    mod ledger;
    mod original;
    mod random;
    mod simulation;
    mod statistics;
    mod traffic;
}
